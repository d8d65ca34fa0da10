"""What the command line says of runs that died, and of what each line did (`--blame`)."""

import json
import math

import pytest

from fkdsl.base.spans import Source, Span
from fkdsl.cli.blame import blame_text
from fkdsl.cli.main import main
from fkdsl.inference.assess.blame import Blame, LineBlame
from tests.cli.test_cli import call

CONTRADICTION = """model m = table:
    "" -> "a": 0.5, "b": 0.3, "c": 0.2

program p(last: str = "b") -> str:
    lm = prompt("")
    t ~ lm
    condition t != "c"
    u ~ lm
    condition t == "a" or u == last
    condition u == "a" and len("LONG") > 0
    return lm.text
""".replace("LONG", "a very long condition, which is cut where the table has no more room for it")


def test_blame_is_a_table_on_stdout_and_an_object_in_json(capsys, tmp_path):
    (tmp_path / "p.fk").write_text(CONTRADICTION)
    status, out, _ = call(capsys, "run", str(tmp_path / "p.fk"), "--blame", "-p", "last=a")
    table = out[out.index("line ") :].splitlines()
    assert status == 0
    assert [row.split()[0] for row in table[1:4]] == ["7", "9", "10"]
    assert max(map(len, table)) == 100
    assert "(the language models)" in table[4]
    _, out, _ = call(capsys, "run", str(tmp_path / "p.fk"), "--blame", "-p", "last=a", "--json")
    blame = json.loads(out)["blame"]
    assert set(blame) == {
        "lines",
        "deaths",
        "conflicts",
        "seconds",
        "model_time_share",
        "other_time_share",
    }
    assert set(blame["lines"][0]) == {
        "file", "line", "column", "text", "deaths", "passed", "log_weight", "variance_share",
        "time_share",
    }  # fmt: skip
    assert blame["lines"][0]["log_weight"] == pytest.approx(math.log(0.8))
    _, out, _ = call(capsys, "run", str(tmp_path / "p.fk"), "-p", "last=a", "--json")
    assert "blame" not in json.loads(out)


@pytest.mark.parametrize("blame", [True, False])
def test_a_run_that_died_names_the_lines_that_cannot_hold_together(capsys, tmp_path, blame):
    text = CONTRADICTION.replace('condition t == "a" or', 'condition t == "b" and')
    (tmp_path / "p.fk").write_text(text)
    status, out, err = call(capsys, "run", str(tmp_path / "p.fk"), *(["--blame"] if blame else []))
    assert status == 3
    assert out == ""
    assert "error: every particle died" in err
    assert (
        "  these lines cannot hold together:\n"
        '    line 9: condition t == "b" and u == last\n    line 10:' in err
    )
    assert err.rstrip().endswith("= help: loosen one of these lines, or leave it out")
    assert ("line   log w" in err) is blame


def test_a_single_line_that_can_never_hold_is_spoken_of_as_one(capsys, tmp_path):
    drawn = CONTRADICTION[: CONTRADICTION.index("condition")]
    never = 'condition t == "c" and t == "a"\n    return lm.text\n'
    (tmp_path / "p.fk").write_text(drawn + never)
    status, _, err = call(capsys, "run", str(tmp_path / "p.fk"))
    assert status == 3
    assert "  this line can never hold:\n    line 7:" in err
    assert err.rstrip().endswith("= help: loosen this line, or leave it out")


DIES = """program p() -> int:
    a ~ uniform_int(0, 3)
    condition a > 2
    condition a < 1
    return a
"""


@pytest.mark.parametrize("flags", [[], ["--blame"]])
def test_a_run_that_died_says_so_in_json_too(tmp_path, capsys, flags):
    (tmp_path / "dies.fk").write_text(DIES)
    assert main(["run", str(tmp_path / "dies.fk"), "--json", *flags]) == 3
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["log_z"], found["posterior"]) == (None, [])
    assert [line["line"] for line in found["died"]["conflicts"][0]["lines"]] == [3, 4]
    assert ("blame" in found) == bool(flags)
    assert "every particle died" in err


def test_the_table_of_blame_says_what_the_guesses_of_look_ahead_are():
    """They are charged to the program, whose name says nothing to a reader."""
    source = Source("p.fk", "program p() -> str:\n    condition true\n")
    program, line = Span(source, 8, 9), Span(source, 24, 38)
    rows = (LineBlame(program, log_weight=1.5, variance_share=0.5), LineBlame(line))
    table = blame_text(Blame(rows, (), 1.0, None, None)).splitlines()
    assert table[1].endswith("(look-ahead: its guesses on the way, taken back later)")
    assert table[2].endswith("condition true")
