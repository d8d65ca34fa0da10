"""`--each`: a run for each row of a file, in a file that is gone on with."""

import csv
import json

import pytest

from fkdsl.cli import each
from fkdsl.cli.main import main

PROGRAM = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, "c": 0.2

program p(n: int, word: str = "a") -> record:
    lm = prompt("abcabcabcabc")
    s ~ text(lm, max_tokens=n)
    condition contains(s, word)
    return {"s": s, "n": n}

query twice = count(value.s, "a") > 1
infer exact()
"""
ROWS = 'n,word,id,line\n1,b,x,1\none,b,y,2\n1,zz,z,3\n2,c,"two\nlines",4\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.fk").write_text(PROGRAM)
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def call(capsys, *flags):
    status = main(["run", "p.fk", "--each", *flags])
    return (status, *capsys.readouterr())


def test_each_row_has_an_answer_or_an_error_with_its_line(place, capsys):
    status, out, err = call(capsys, "rows.csv")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, [row["line"] for row in rows]) == (3, [2, 3, 4, 5])
    assert rows[0]["value"] == {"s": "b", "n": 1}
    assert rows[0]["row"] == {"n": "1", "word": "b", "id": "x", "line": "1"}
    assert rows[1]["error"] == "the parameter `n` takes an `int`, not 'one'"
    assert rows[2]["status"] == 3
    assert rows[3]["log_z"] == pytest.approx(-1.0216512475319814)  # 1 - 0.8^2
    assert rows[3]["queries"]["twice"]["mean"] == 0.0
    assert "rows.csv:3: the parameter `n` takes an `int`" in err
    assert "2 have no answer (lines 3, 4)" in err


def test_rows_share_a_model_and_the_beginnings_of_their_prompts(place, capsys):
    text = 'program p(w: str) -> str:\n    lm = prompt(f"Once upon a time there was {w}")\n'
    (place / "p.fk").write_text(text + "    t ~ lm\n    return lm.text\n")
    (place / "rows.csv").write_text("w\na cat\na cow\na cat\n")
    _, out, err = call(capsys, "rows.csv", "--particles", "2", "--samples", "2", "--seed", "5")
    rows = [json.loads(line) for line in out.splitlines()]
    first, second, third = (row["forwarded_tokens"] for row in rows)
    shared = 1 + len("Once upon a time there was a c")  # a token begins each text
    assert (first - second, third) == (shared, 0)
    assert [row["seed"] for row in rows] == [5, 6, 7]
    assert all(len(row["samples"]) == 2 for row in rows)
    assert "no model is named: `tiny`" in err


def test_the_same_call_goes_on_with_a_table_and_tries_again_what_failed(place, capsys):
    call(capsys, "rows.csv", "--out", "answers.csv")
    table = list(csv.DictReader((place / "answers.csv").open(newline="")))
    own = ["s", "answer.n", "probability", "log_z", "log_z_se", "twice", "error", "call"]
    assert list(table[0]) == ["run.line", "n", "word", "id", "line", *own]
    assert [row["run.line"] for row in table] == ["2", "3", "4", "5"]
    assert table[3]["id"] == "two\nlines"
    assert (table[0]["s"], table[0]["answer.n"], table[0]["error"]) == ("b", "1", "")
    (place / "rows.csv").write_text(ROWS + "3,a,w,5\n")
    status, _, err = call(capsys, "rows.csv", "--out", "answers.csv")
    assert "3 rows in" in err
    assert "2 were answered before" in err
    table = list(csv.DictReader((place / "answers.csv").open(newline="")))
    assert [row["run.line"] for row in table] == ["2", "5", "3", "4", "7"]
    assert status == 3


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.csv"])
def test_a_file_that_was_cut_short_is_gone_on_with(place, capsys, name):
    (place / "rows.csv").write_text('n,word,id\n1,a,"x\ny"\n2,c,"x\nz"\n')
    call(capsys, "rows.csv", "--out", name)
    whole = (place / name).read_text()
    for cut in (4, 30, len(whole) // 2, len(whole) - 3):
        (place / name).write_text(whole[:-cut])
        assert call(capsys, "rows.csv", "--out", name)[0] == 0
        again = (place / name).read_text()
        if name.endswith("csv"):
            assert again == whole
        else:
            values = [json.loads(line)["value"] for line in again.splitlines()]
            assert values == [json.loads(line)["value"] for line in whole.splitlines()]


def test_a_figure_that_is_not_known_is_an_empty_cell(place, capsys):
    (place / "p.fk").write_text(PROGRAM.replace("infer exact()", "infer importance(particles=1)"))
    (place / "rows.csv").write_text("n\n9\n")
    _, out, _ = call(capsys, "rows.csv", "--format", "csv")
    row = next(csv.DictReader(out.splitlines()))
    assert (row["probability"], row["log_z_se"], row["error"]) == ("", "", "")
    assert row["log_z"] != ""


def test_another_call_and_other_rows_are_refused(place, capsys):
    call(capsys, "rows.csv", "--out", "a.jsonl")
    status, _, err = call(capsys, "rows.csv", "--out", "a.jsonl", "--seed", "3")
    assert (status, "answers of another program or other flags" in err) == (2, True)
    (place / "rows.csv").write_text(ROWS.replace("1,b,x", "1,c,x"))
    status, _, err = call(capsys, "rows.csv", "--out", "a.jsonl")
    assert (status, "it has answers of other rows" in err) == (2, True)
    for text, why in (('{"a": 1}\n', "line 1 is"), ("my notes", "its last line is")):
        (place / "b.jsonl").write_text(text)
        status, _, err = call(capsys, "rows.csv", "--out", "b.jsonl")
        assert (status, f"{why} no answer of --each" in err) == (2, True)
        assert (place / "b.jsonl").read_text() == text


def test_an_interrupted_call_keeps_what_is_done(place, capsys, monkeypatch):
    (place / "rows.csv").write_text("n\n1\n2\n3\n")
    run, seen = each.run, []

    def second_is_interrupted(request, observe):
        seen.append(request)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return run(request, observe)

    monkeypatch.setattr(each, "run", second_is_interrupted)
    status, _, err = call(capsys, "rows.csv", "--out", "a.jsonl")
    assert (status, "1 of 3 rows are done" in err) == (130, True)
    assert len((place / "a.jsonl").read_text().splitlines()) == 1
    assert call(capsys, "rows.csv", "--out", "a.jsonl")[0] == 0
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["rows.csv", "-p", "n=2"], "`n` is a column of rows.csv, and -p gives it too"),
        (["rows.csv", "--trace", "t.jsonl"], "--trace is of one run"),
        (["rows.csv", "--json"], "--each has a line for each row"),
        (["rows.csv", "--out", "rows.csv"], "is a file of this call"),
        (["rows.csv", "--max-states", "-1"], "max_states"),
        (["none.csv"], "No such file"),
        (["p.fk"], "is no file of rows"),
        (["words.csv"], "no column of words.csv is a parameter of `p`"),
        (["word.csv"], "`p` needs its parameter `n`, which is no column of word.csv"),
        (["empty.csv"], "has no rows"),
        (["wide.csv"], "line 2 of 'wide.csv' has 3 fields"),
    ],
)
def test_a_wrong_call_is_refused_before_the_first_row(place, capsys, flags, said):
    files = {"words": "words\na\n", "word": "word\na\n", "empty": "n\n", "wide": "n,word\n1,2,3\n"}
    for name, text in files.items():
        (place / f"{name}.csv").write_text(text)
    status, out, err = call(capsys, *flags)
    assert (status, said in out + err) == (2, True), err
