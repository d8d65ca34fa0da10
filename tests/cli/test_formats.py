"""`--format` and `--watch`: answers for pipes, and the particles as they grow."""

import csv
import io
import json
import re

import pytest

from fkdsl.cli.main import main

RECORDS = r"""
model m = table:
    "" -> "a,\"b": 0.5, "c\nd": 0.3, EOS: 0.2

program p() -> record:
    lm = prompt("", model=m)
    t ~ lm
    n ~ bernoulli(0.25)
    return {"text": lm.text, "n": n, "xs": ["é", lm.text]}

query long = len(value.text) > 1
infer smc(particles=16)
"""
HOSTILE = "[red]x[/red]\\x1b[2J\\u009b0m"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.fk").write_text(RECORDS)
    return tmp_path


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    assert status == 0, err
    return out, err


def test_each_format_has_the_answers_of_the_object(place, capsys):
    whole = json.loads(call(capsys, "exact", "p.fk", "--format", "json")[0])
    assert whole == {**json.loads(call(capsys, "exact", "p.fk", "--json")[0])} | {
        "seconds": whole["seconds"]
    }
    lines, _ = call(capsys, "exact", "p.fk", "--format", "jsonl")
    assert [json.loads(line) for line in lines.splitlines()] == whole["posterior"]
    table, err = call(capsys, "exact", "p.fk", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [
        {"value": {"text": r["text"], "n": json.loads(r["n"]), "xs": json.loads(r["xs"])}}
        | {"probability": float(r["probability"])}
        for r in rows
    ] == whole["posterior"]
    assert "log Z = 0.0000" in err
    assert "long = 0.8" in err
    text, _ = call(capsys, "exact", "p.fk", "--format", "text")
    assert len(text.splitlines()) == len(whole["posterior"])


def test_draws_take_the_answers_place(place, capsys):
    lines, _ = call(capsys, "run", "p.fk", "--format", "jsonl", "--samples", "5")
    draws = [json.loads(line) for line in lines.splitlines()]
    object, _ = call(capsys, "run", "p.fk", "--json", "--samples", "5")
    assert [d["value"] for d in draws] == json.loads(object)["samples"]
    assert all(d.keys() == {"value"} for d in draws)
    table, _ = call(capsys, "run", "p.fk", "--format", "csv", "--samples", "5")
    assert table.splitlines()[0] == "text,n,xs"


def test_an_error_of_a_json_call_is_json_however_json_was_asked_for(place, capsys):
    for flags in (["--json"], ["--format", "json"], ["--format=json"]):
        assert main(["run", "none.fk", *flags]) == 2
        assert json.loads(capsys.readouterr().out)["status"] == 2


def test_an_unknown_format_is_a_wrong_call(place, capsys):
    assert main(["run", "p.fk", "--format", "yaml"]) == 2
    assert "csv" in capsys.readouterr().err


def test_without_a_terminal_each_step_is_a_line(place, capsys):
    quiet, _ = call(capsys, "run", "p.fk", "--seed", "1")
    out, err = call(capsys, "run", "p.fk", "--seed", "1", "--watch")
    seconds = re.compile(r"[0-9.]+ s ")
    assert seconds.sub("", out) == seconds.sub("", quiet)
    lines = err.splitlines()
    assert [line.split()[:2] for line in lines] == [["step", str(t)] for t in range(3)]
    assert "ESS 16.0 of 16   16 alive   0 running" in lines[-1]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_particles_are_drawn_and_no_text_steers_it(place, monkeypatch, capsys):
    (place / "p.fk").write_text(RECORDS.replace("c\\nd", HOSTILE))
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["run", "p.fk", "--watch"]) == 0
    shown = terminal.getvalue()
    assert "ESS 16.0 of 16" in shown
    assert "[red]x[/red]" in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown


def test_a_run_that_dies_is_watched_to_its_end(place, capsys):
    (place / "p.fk").write_text(
        RECORDS.replace("    n ~", "    condition len(lm.text) > 9\n    n ~")
    )
    assert main(["run", "p.fk", "--watch", "--no-opt"]) == 3
    assert "all died" in capsys.readouterr().err
