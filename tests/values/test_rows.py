"""`read_rows("file")`: what a data file's lines are as records, and what is said of one that has
none."""

import pytest

import fkdsl
from fkdsl.base.folders import Folder
from fkdsl.values.library.data import read_rows
from fkdsl.values.signatures import BuiltinError
from fkdsl.values.values import Record


def read(folder, name, content):
    (folder / name).write_bytes(content.encode("utf-8"))
    return read_rows(name, folder=folder)


def test_an_object_a_line_is_a_record_of_any_values(tmp_path):
    content = '\ufeff{"a": 1, "b": [true, null]}\r\n\n{"a": "x\u2028y"}'
    found = read(tmp_path, "a.jsonl", content)
    assert found == (Record({"a": 1, "b": (True, None)}), Record({"a": "x\u2028y"}))


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.TSV", "\t")])
def test_a_table_is_texts_by_the_names_of_its_first_line(tmp_path, name, comma):
    content = f'name{comma} age\r\n"Berg{comma} ""A"""{comma}36\r\n\r\nC{comma}\r\n'
    found = read(tmp_path, name, content)
    assert found == (
        Record({"name": f'Berg{comma} "A"', "age": "36"}),
        Record({"name": "C", "age": ""}),
    )


def test_a_file_that_was_changed_is_read_anew(tmp_path):
    assert len(read(tmp_path, "a.jsonl", '{"a": 1}')) == 1
    assert len(read(tmp_path, "a.jsonl", '{"a": 1}\n{"a": 2}')) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n[1]', "line 2 of 'a.jsonl' is no JSON object"),
        ("a.jsonl", '{"a": 1, "a": 2}', "line 1 .* no JSON object: .* the name 'a' twice"),
        ("a.jsonl", '{"a": 1}\n{"a": NaN}', "line 2 .* no JSON object: NaN is no JSON value"),
        ("a.jsonl", '{"a": 1}\n{"a": }', "line 2 .* object: Expecting value, at column 7"),
        ("a.jsonl", "[" * 100_000, "line 1"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", "line 3 of 'a.csv' has 3 fields, and there are 2 columns"),
        ("a.csv", "a,a\n", "does not name each column once"),
        ("a.csv", "", "does not name each column once"),
        ("a.csv", 'a\n"x', "line 2 of 'a.csv' is no CSV"),
        ("a.csv", "a\n" + "1\n" * 100_001, "more than 100,000 rows"),
        ("a.csv", "a\n" + "1" * 4_000_000, "cannot read"),
        ("a.txt", "a", "is no file of rows"),
    ],
)
def test_what_is_damaged_or_too_long_is_refused_with_its_line(tmp_path, name, content, said):
    with pytest.raises(BuiltinError, match=said) as refused:
        read(tmp_path, name, content)
    assert refused.value.code == "FK418"


def test_files_outside_of_the_folder_and_no_text_are_refused(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    read(tmp_path, "a.csv", "a\n1\n")
    with pytest.raises(BuiltinError, match="cannot read"):
        read_rows("../a.csv", folder=Folder(inner, inner))
    (tmp_path / "b.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(BuiltinError, match="UTF-8"):
        read_rows("b.csv", folder=tmp_path)


def test_examples_of_a_prompt_and_options_come_from_a_file(tmp_path):
    (tmp_path / "shots.csv").write_text("text,label\nfine,good\nawful,bad\n")
    text = (
        'model m = table:\n    "" -> " good": 0.75, " bad": 0.25\n'
        '    "good\\nso so:" -> " bad": 1.0\n\n'
        'program p(path: str = "shots.csv") -> str:\n'
        '    shots = [f"{r.text}: {r.label}\\n" for r in read_rows(path)]\n'
        '    lm = prompt(join(reversed(shots)) + "so so:")\n'
        '    c ~ choice(lm, distinct([f" {r.label}" for r in read_rows("shots.csv")]))\n'
        "    return c\n"
    )
    program = fkdsl.parse(text, folder=tmp_path)
    assert program.exact().posterior[0].value == " bad"
    with pytest.raises(fkdsl.ProgramError, match="FK418") as refused:
        fkdsl.parse(text.replace("shots.csv", "shot.csv"), folder=tmp_path)
    assert refused.value.diagnostics[0].span.line == 8
    with pytest.raises(fkdsl.ProgramError, match="FK418"):
        program(path="shot.csv").exact()
