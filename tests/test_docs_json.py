"""The JSON that the docs describe is the JSON that is printed: the same names, none more, none
less."""

import json
import re
from pathlib import Path

import pytest

from fkdsl.cli.main import main

DOCS = Path(__file__).parent.parent / "docs"
TOSSES = """model coin = table:
    "" -> "h": 0.5, "t": 0.5

program tosses(n: int = 3) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
        factor 0.7 if t == "h" else 0.0
        condition lm.text != "hhh"
    return lm.text

test "some mass":
    expect Z > 0
"""
CONTRADICTION = """program p() -> int:
    a ~ uniform_int(0, 3)
    condition a > 2
    condition a < 1
    return a
"""
MISTAKE = "program p() -> bool:\n    return True\n"


def described(page, begins):
    """The names in the indented block of a page that begins so."""
    text = (DOCS / page).read_text("utf-8")
    (block,) = re.findall(rf"^    {re.escape(begins)}.*\n(?:^ {{4,}}.*\n)*", text, re.MULTILINE)
    return set(re.findall(r'"(\w+)"', block))


def names(value, closed=()):
    """All names of objects in a value, but for what is below the `closed` ones, which programs and
    methods name."""
    if isinstance(value, dict):
        inner = (names(v, closed) for k, v in value.items() if k not in closed)
        return set(value).union(*inner)
    return set().union(*(names(v, closed) for v in value)) if isinstance(value, list) else set()


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """A function that calls a command in a folder with the programs above, and gives its JSON."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("tosses", TOSSES), ("dies", CONTRADICTION), ("mistake", MISTAKE)):
        Path(f"{name}.fk").write_text(text)

    def call(*command):
        main([*command, "--json"])
        return json.loads(capsys.readouterr().out)

    return call


RUN = '{"program", "method", "finished": true'
CUT = '{"program", "method", "finished": false'


def test_a_run(printed):
    assert names(printed("run", "tosses.fk")) == described("language.md", RUN)


def test_a_run_with_blame(printed):
    blame = printed("run", "dies.fk", "--blame")["blame"]
    assert {"blame", *names(blame)} == described("language.md", '"blame": {"lines"')


def test_a_run_that_is_cut_short(printed):
    found = printed("run", "tosses.fk", "--max-steps", "2")
    assert names(found) | {"value"} == described("inference.md", CUT)


def test_a_command_without_an_answer(printed):
    found = printed("run", "mistake.fk")
    assert names(found) == described("language.md", '{"status", "error"')


def test_test_blocks(printed):
    found = printed("test", "tosses.fk", "--runs", "5")
    closed = ("figures", "detectable")
    assert names(found, closed) == described("language.md", '{"tests"')


def test_a_comparison(printed):
    found = printed("compare", "tosses.fk", "--methods", "smc", "--runs", "2")
    assert names(found) == described("language.md", '{"program", "seed", "budget"')


def test_a_replay(printed):
    """Here nothing died, so no death is counted; the page names "text" below its block."""
    printed("run", "tosses.fk", "--trace", "run.jsonl")
    found = names(printed("replay", "run.jsonl"), closed=("options", "result"))
    assert found - {"text"} | {"count"} == described("trace.md", '{"program", "method", "options"')
