"""Flags that say two things, and other calls that used to be taken silently."""

import errno
import io
import shlex
import sys

import pytest

from fkdsl.base.errors import CallError
from fkdsl.cli.flags import command_parser
from fkdsl.cli.main import main
from fkdsl.cli.parsers import later_wins

PROGRAM = """
model m = table:
    "" -> "a": 0.5, "b": 0.4, EOS: 0.1

program p(n: int = 3) -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=n)
    condition matches(s, "(ab){2,}")
    return s

infer smc(particles=8)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "p.fk"
    path.write_text(PROGRAM)
    return str(path)


@pytest.mark.parametrize(
    "flags",
    [
        "--json --format csv",
        "--format csv --json",
        "--format=csv --format text",
        "-p n=3 -p n=4",
    ],
)
def test_two_flags_that_say_two_things_are_refused(flags):
    with pytest.raises(CallError, match=r"two things|given twice") as wrong:
        command_parser("run").parse_args(["run", "p.fk", *flags.split()])
    assert "leave one of them out" in wrong.value.help


@pytest.mark.parametrize(
    "flags",
    [
        "--json --format json",
        "--seed 1 --seed=1",
        "-p n=3 -p m=4",
        "-p n=3 -p n=3",
        "--json --json",
    ],
)
def test_flags_that_say_one_thing_are_taken(flags):
    command_parser("run").parse_args(["run", "p.fk", *flags.split()])


def test_a_line_of_a_session_changes_its_flags():
    with later_wins():
        words = [
            "--seed",
            "1",
            "-p",
            "n=3",
            "--json",
            "--seed",
            "2",
            "-p",
            "n=4",
            "--format",
            "csv",
        ]
        args = command_parser("repl").parse_args(["repl", "p.fk", *words])
    assert (args.seed, args.parameters, args.format, args.json) == (2, ["n=4"], "csv", False)


def test_a_text_with_too_few_tokens_is_said_to_have_too_few(file, capsys):
    assert main(["run", file]) == 3
    said = capsys.readouterr().err
    assert "line 8 asks for a text of at least 4 tokens, and the text may have 3" in said
    assert "never hold in so few tokens" in said
    assert "max_tokens=4" in said
    assert main(["run", file, "-p", "n=4"]) == 0


def test_a_program_is_no_twist(file, capsys):
    assert main(["run", file, "--twist", file]) == 2
    assert f"fkdsl tune {file}" in capsys.readouterr().err


class _Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_named(file, capsys, monkeypatch, flags):
    monkeypatch.setattr(sys, "stdout", _Full())
    assert main(["exact", file, "-p", "n=4", *flags]) == 2
    assert "standard output" in capsys.readouterr().err


@pytest.mark.parametrize(
    "schema",
    ['{"$ref": "#"}', '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}'],
)
def test_a_reference_that_leads_to_itself_alone_is_no_schema(schema, tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text(PROGRAM.replace('matches(s, "(ab){2,}")', f"valid_json(s, schema='{schema}')"))
    assert main(["check", str(path)]) == 1
    assert "leads to itself alone" in capsys.readouterr().err


def test_compare_names_its_methods_where_nobody_sees_the_progress(file, capsys):
    assert main(["compare", file, "-p", "n=4", "--runs", "1", "--methods", "smc,exact"]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == ["p: exact (1 of 2 methods)", "p: smc (2 of 2 methods)"]


@pytest.mark.parametrize("line", ["observe 'aaaa' ~ lm", "for i in range(9):\n        t ~ lm"])
def test_a_context_longer_than_its_model_reads_has_a_place(line, tmp_path, capsys):
    path = tmp_path / "p.fk"
    program = f"""
program p() -> str:
    lm = prompt("{"a" * 382}")
    t ~ lm
    {line}
    return t
"""
    path.write_text(program)
    assert main(["run", str(path), "--model", "tiny", "--particles", "2"]) == 1
    said = capsys.readouterr().err
    assert "tiny reads at most 384" in said
    assert f"{path}:{6 if 'for' in line else 5}:" in said


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("run FILE --top -1", "--top takes a whole number from 0 on, not '-1'"),
        ("run FILE --seed 1.5", "--seed takes a whole number, not '1.5'"),
        ("run FILE --samples 3 --top 4", "--samples prints draws"),
        ("run FILE --json --top 4", "--json prints all answers"),
        ("run FILE --ess nan", "ess must be between 0 and 1, not nan"),
        ("run FILE -p", "write -p NAME=VALUE"),
        ("run FILE -p n 3", "-p n has no value"),
        ("run FILE -p 'n = 3'", "has spaces round its ="),
        ("run FILE n=3", "a parameter is given by -p n=3"),
        ("run FILE --p n=3", "with one dash"),
        ("run FILE rows.csv", "write --each rows.csv"),
        ("run FILE --method SMC", "did you mean `smc`?"),
        ("run FILE --timeout 1m", "write seconds: --timeout 60"),
        ("FILE", "write `fkdsl run "),
        ("batch FILE rows.csv", "--each rows.csv"),
        ("run FILE --budget tokens=5 --budget 7", "--budget tokens is given twice"),
        ("test FILE --no-methods --runs 3", "--no-methods runs no method"),
        ("test FILE --seconds nan", "a test has a number of seconds above 0"),
        ("check FILE --json FILE", "write the files beside each other"),
        ("lsp --tcp 8080 --stdio", "say two things"),
        ("distil tiny --seed -1 --out x", "--seed takes a whole number from 0 on"),
        ("fmt CIRCLE", "symbolic links"),
        ("report CIRCLE -o x.html", "symbolic links"),
        ("run FILE --prefill FOLDER", "it is a folder, not a file"),
    ],
)
def test_wrong_values_are_said_to_be_wrong(call, says, file, tmp_path, capsys):
    circle = tmp_path / "circle.fk"
    circle.symlink_to(circle)
    words = {"FILE": file, "CIRCLE": str(circle), "FOLDER": str(tmp_path)}
    assert main([words.get(word, word) for word in shlex.split(call)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "= help: " in said
