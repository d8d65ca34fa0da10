"""`fkdsl repl`: one file, run again and again, its models loaded once."""

import io

import pytest

from fkdsl.cli.main import main
from fkdsl.cli.repl import Session
from fkdsl.models import registry

TABLE = """
model m = table:
    "" -> "a": 0.5, "b": 0.5

program p(n: int = 1) -> str:
    lm = prompt("", model=m)
    for i in range(n):
        t ~ lm
    return lm.text

infer smc(particles=4)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.fk").write_text(TABLE)
    return tmp_path


def test_a_line_is_a_run_and_no_mistake_ends_the_session(place, monkeypatch, capsys):
    lines = ["--particles 3", "--nope", 'a "', "set -p n=3", "", "exact", "check", "help", "quit"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\nnever\n"))
    assert main(["repl", "p.fk"]) == 0
    out, err = capsys.readouterr()
    assert "ESS 4.0 of 4   1 steps" in out
    assert "ESS 3.0 of 3   1 steps" in out
    assert "ESS 3.0 of 3   3 steps" in out  # the last run again, with what was set
    assert "exact()   3 steps" in out
    assert "p.fk: ok" in out
    assert "set FLAGS" in out
    assert "no option --nope" in err
    assert "close the quotes" in err
    assert "never" not in err


def test_the_file_is_read_anew_and_a_mistake_in_it_is_shown(place, capsys):
    session = Session("p.fk", ["p.fk"])
    assert session.line("") == 0
    (place / "p.fk").write_text(TABLE.replace("lm.text", "lm.txt"))
    assert session.line("") == 1
    assert "lm.txt" in capsys.readouterr().err
    (place / "p.fk").write_text(TABLE)
    assert session.line("") == 0


def test_models_are_loaded_once(place, monkeypatch, capsys):
    (place / "p.fk").write_text(TABLE.replace(", model=m", ""))
    loads = []
    real = registry.load_model

    def counted(*args, **named):
        loads.append(args)
        return real(*args, **named)

    monkeypatch.setattr("fkdsl.api.engines.load_model", counted)
    session = Session("p.fk", ["p.fk", "--model", "tiny", "--no-hint"])
    first = [session.line(""), capsys.readouterr().out.rpartition(" tokens in")[0]]
    second = [session.line(""), capsys.readouterr().out.rpartition(" tokens in")[0]]
    assert first == second == [0, first[1]]
    assert len(loads) == 1
    session.line("--dtype float64")
    assert len(loads) == 2


def test_a_mistake_of_a_call_is_told_as_it_is(place, capsys):
    """It was told as a line with an open quote."""
    session = Session("p.fk", ["p.fk"])
    assert session.line("--engine none") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: there is no engine `none`")
    assert "quotes" not in err
    assert session.line("-p 'x") == 2
    assert "this line is no call: No closing quotation" in capsys.readouterr().err
