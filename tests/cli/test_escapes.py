"""No character of a value, a name, a title or a line of a file steers the terminal that shows it;
JSON has the value itself, its characters written as escapes."""

import io
import json
import re
import sys

import pytest

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.base.shown import shown
from fkdsl.cli.main import main
from fkdsl.cli.progress import RunProgress

STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]"
)
EVIL = "\x1b]0;pwned\x07\x1b[31mred\x9b0m\r over \u202egnp.exe\u2066\u2028[red]x[/red]"
PROGRAM = """
model m = table:
    "" -> "a{evil}": 0.5, "b": 0.3, EOS: 0.2

program p(x: str = "{evil}") -> str:
    lm = prompt("{evil}", model=m)
    t ~ lm
    condition lm.text != "{evil}"
    factor 0.1 * len(x) if t == "b" else 0.0
    return "{evil}" + lm.text

test "{evil}":
    expect P(value == "{evil}") == 0.9

query q = contains(value, "{evil}")
infer smc(particles=4)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    literal = EVIL.encode("unicode_escape").decode("ascii")
    (tmp_path / "p.fk").write_text(PROGRAM.format(evil=literal))
    return tmp_path


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    return status, out, err


COMMANDS = {
    "run": ["run", "p.fk", "--blame", "--filtering", "--trace", "t.jsonl"],
    "exact": ["exact", "p.fk"],
    "explain": ["explain", "p.fk"],
    "compare": ["compare", "p.fk", "--runs", "1", "--budget", "50"],
    "test": ["test", "p.fk", "-v", "--no-methods"],
    "test without -v": ["test", "p.fk", "--no-methods"],
    "a program of that name": ["run", "p.fk", "--program", EVIL],
    "a model of that name": ["run", "p.fk", "--model", f"./{EVIL}"],
    "a file of that name": ["check", f"{EVIL}.fk"],
    "a query of that text": ["run", "p.fk", "--query", f"len({EVIL})"],
    "a parameter": ["run", "p.fk", "-p", f"x={EVIL}"],
    "a parameter of that name": ["run", "p.fk", "-p", f"{EVIL}=1"],
    "a command": [EVIL],
    "a flag": ["run", "p.fk", f"--{EVIL}"],
    "models": ["models", "info", f"./{EVIL}"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_prints_a_character_that_steers_the_terminal(name, place, capsys):
    status, out, err = call(capsys, *COMMANDS[name])
    assert status != 70
    assert STEERING.search(out) is None
    assert STEERING.search(err) is None
    assert "\\x1b" in out + err or name in (
        "compare",
        "a query of that text",
    )  # which show none of it


def test_a_trace_is_replayed_with_escapes(place, capsys):
    call(capsys, *COMMANDS["run"])
    status, out, err = call(capsys, "replay", "t.jsonl")
    assert status == 0
    assert "\\x1b" in out
    assert STEERING.search(out + err) is None


@pytest.mark.parametrize(
    "text",
    [
        f"program p() -> str:\n    return {EVIL}\n",
        f'program p() -> int:\n    return "{EVIL}"\n',
        f"# {EVIL}\nprogram p() -> int:\n    return x\n",
        "program p() -> int:\n    return unknown \x1b[2J\n",
    ],
)
def test_a_diagnostic_shows_no_character_of_its_line_that_steers(text, place, capsys):
    (place / f"q{EVIL[:8]}.fk").write_text(text, newline="")
    status, out, err = call(capsys, "check", f"q{EVIL[:8]}.fk")
    assert status == 1
    assert STEERING.search(out + err) is None
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(text, name=f"q{EVIL}.fk")
    assert STEERING.search(str(error.value)) is None


def test_errors_of_the_call_are_escaped_from_python_too_and_keep_their_message():
    error = CallError(f"no template: {EVIL}", f"try {EVIL}")
    assert STEERING.search(str(error)) is None
    assert EVIL in error.message


def test_json_has_the_value_itself(place, capsys):
    _, out, _ = call(capsys, "exact", "p.fk", "--json")
    values = [a["value"] for a in json.loads(out)["posterior"]]
    assert all(v.startswith(EVIL) for v in values)


def test_json_steers_no_terminal_either(place, capsys):
    text = "\x7f\x9b2J\u2028\U000e0041\ufeff"
    literal = text.encode("unicode_escape").decode("ascii")
    (place / "p.fk").write_text(f'program p() -> str:\n    return "{literal}é"\n')
    _, out, _ = call(capsys, "exact", "p.fk", "--json")
    assert STEERING.search(out) is None
    assert "é" in out
    assert json.loads(out)["posterior"][0]["value"] == text + "é"


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_bar_shows_markup_and_escapes_as_text(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "400")
    name = "[red]m[/red]\x1b]0;pwned\x07"
    with RunProgress(name) as progress, progress.loading(name, 10) as meter:
        meter.update(3)
        progress.advance(1, 2, f"note {name}")
    out = terminal.getvalue()
    assert "[red]m[/red]" in out
    assert "note [red]m[/red]" in out
    assert "\x1b]0;" not in out
    assert "\x07" not in out


def test_what_is_shown_is_shown_once():
    assert shown(shown(EVIL)) == shown(EVIL)
    assert shown("é 中 👩‍💻\n\t") == "é 中 👩‍💻\n\t"
