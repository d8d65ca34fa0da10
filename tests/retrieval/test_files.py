"""Files of an index: which they are, how they are cut, and what strangers may put there."""

import glob
import os
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.folders import Folder
from fkdsl.retrieval import files
from fkdsl.retrieval.errors import OutsideFolder, RetrievalError
from fkdsl.retrieval.files import NoText, find_files, read_passages
from fkdsl.retrieval.passages import paragraphs
from fkdsl.retrieval.spec import IndexSpec


@pytest.fixture
def folder(tmp_path):
    """A program's folder, with notes in it and a file beside it."""
    (tmp_path / "secret.md").write_text("outside")
    notes = tmp_path / "program" / "notes"
    notes.mkdir(parents=True)
    (notes / "a.md").write_text("# Tides\n\nHigh.\n\nLow.\n")
    (notes / "b.txt").write_text("Sun.")
    (notes / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (notes / ".env").write_text("TOKEN=1")
    return tmp_path / "program"


def names(pattern, folder, **options):
    return [f.name for f in find_files(pattern, Folder.main(folder, **options))]


def passages(name, folder, **options):
    (file,) = find_files(name, Folder.main(folder))
    return [(p.line, p.text) for p in read_passages(file, IndexSpec(name, **options))[1]]


@given(st.text("ab .\n#?\t é。", max_size=80), st.integers(1, 20))
def test_passages_are_all_of_a_text_but_white_space_and_know_their_lines(text, size):
    found = list(paragraphs(text, "a.md", size))
    assert "".join("".join(p.text.split()) for p in found) == "".join(text.split())
    at = 0
    for p in found:
        at = text.index(p.text, at)
        assert len(p.text) <= size
        assert p.text == p.text.strip()
    for p in found:
        begins = [i for i in range(len(text)) if text.startswith(p.text, i)]
        assert p.line in {text[:i].count("\n") + 1 for i in begins}


def test_a_pattern_names_files_and_a_folder_its_texts(folder):
    assert names("notes/*.md", folder) == ["notes/a.md"]
    assert names("notes", folder) == ["notes/a.md", "notes/b.txt"]
    assert names("**/*.txt", folder) == ["notes/b.txt"]
    assert names("notes/*", folder) == ["notes/a.md", "notes/b.txt", "notes/cat.png"]


@pytest.mark.parametrize("pattern", ["../secret.md", "../*.md", "notes/link.md", "notes/l*.md"])
def test_no_file_outside_the_folder_is_found(folder, pattern):
    (folder / "notes" / "link.md").symlink_to(folder.parent / "secret.md")
    with pytest.raises(OutsideFolder):
        names(pattern, folder)
    assert names(pattern, folder, allow_outside=True)


@pytest.mark.parametrize("pattern", ["", "notes/*.pdf", "notes/none.md", "notes/.env", "a\0b"])
def test_what_names_no_file_is_refused(folder, pattern):
    with pytest.raises(RetrievalError):
        names(pattern, folder)


def test_a_near_folder_is_offered(folder):
    with pytest.raises(RetrievalError) as error:
        names("note/*.md", folder)
    assert error.value.help == 'did you mean "notes/*.md"?'


def test_pipes_and_hidden_files_are_passed_over(folder):
    os.mkfifo(folder / "notes" / "pipe.md")
    (folder / "notes" / ".hidden.md").write_text("x")
    assert names("notes/*.md", folder) == ["notes/a.md"]
    with pytest.raises(RetrievalError, match="pipe"):
        names("notes/pipe.md", folder)


def test_what_is_no_text_is_left_out_of_many_and_refused_alone(folder):
    with pytest.raises(RetrievalError, match="no text"):
        passages("notes/cat.png", folder)
    file = next(f for f in find_files("notes/*", Folder.main(folder)) if "cat" in f.name)
    with pytest.raises(NoText):
        read_passages(file, IndexSpec("notes/*"))


def test_a_file_beyond_the_bound_is_refused_before_it_is_read(folder, monkeypatch):
    with (folder / "notes" / "huge.md").open("wb") as huge:
        huge.truncate(files.MOST_BYTES + 1)
    with pytest.raises(RetrievalError, match="at most 256 MB"):
        passages("notes/huge.md", folder)
    monkeypatch.setattr(files, "MOST_PASSAGES", 1)
    with pytest.raises(RetrievalError, match="more than 1 passages"):
        passages("notes/a.md", folder)


def test_rows_of_tables_are_passages(folder):
    (folder / "t.csv").write_text('id,text\n1,"Two\nlines"\n2,One\n')
    (folder / "t.jsonl").write_text('{"text": "A"}\n\n"B"\n')
    assert passages("t.csv", folder) == [(2, "Two\nlines"), (4, "One")]
    assert passages("t.csv", folder, text="id") == [(2, "1"), (4, "2")]
    assert passages("t.jsonl", folder) == [(1, "A"), (3, "B")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n", "no column `text`"),
        ("t.csv", 'text\n"open\n', "no CSV"),
        ("t.jsonl", "{", 't.jsonl:1": the line is no JSON'),
        ("t.jsonl", "[" * 100_000, "the line is no JSON"),
        ("t.jsonl", '{"text": 1}', "no text in `text`"),
        ("t.db", "no database", "not a database"),
    ],
)
def test_a_damaged_table_says_where(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(RetrievalError, match=message):
        passages(name, folder)


def test_rows_of_a_database_are_passages_and_views_are_not_run(folder):
    with sqlite3.connect(folder / "t.db") as db:
        db.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT)")
        db.execute("INSERT INTO docs VALUES (7, 'Seven'), (3, 'Three'), (4, NULL)")
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        db.execute(f"CREATE VIEW v AS {endless} SELECT i AS text FROM n")
    assert passages("t.db", folder) == [(3, "Three"), (7, "Seven")]
    with pytest.raises(RetrievalError, match="no table `v`"):
        passages("t.db", folder, table="v")


def test_a_database_may_call_any_column_rowid_and_virtual_tables_are_not_run(folder):
    with sqlite3.connect(folder / "a.db") as db:
        db.execute("CREATE TABLE docs (rowid TEXT, text TEXT)")
        db.execute("INSERT INTO docs VALUES ('x', 'High.')")
        db.execute("CREATE VIRTUAL TABLE searched USING fts5(text)")
    assert passages("a.db", folder, table="docs") == [(1, "High.")]
    with pytest.raises(RetrievalError, match="no table"):
        passages("a.db", folder, table="searched")


@pytest.mark.parametrize("pattern", ["notes", "**/*.md", "no*/**/a.md", "**/**/*.md"])
def test_links_in_circles_name_no_file_again(folder, pattern):
    (folder / "notes" / "in").mkdir()
    for name in ("x", "y", "in/up"):
        os.symlink(folder / "notes", folder / "notes" / name)
    with until(Deadline(5.0)):
        found = names(pattern, folder)
    assert [n for n in found if n.endswith("a.md")] == ["notes/a.md"]


@pytest.mark.parametrize(
    "pattern", ["*.md", "n*/*", "**", "**/a.md", "notes/**", "n*s/[ab].*", "**/d*/*.md"]
)
def test_a_pattern_is_glob_s(folder, pattern):
    (folder / "notes" / "deep").mkdir()
    (folder / "notes" / "deep" / "a.md").write_text("Low.")
    expected = glob.glob(pattern, root_dir=folder, recursive=True)
    assert sorted(n for n, _ in files._names(pattern, folder)) == sorted(
        n for n in expected if (folder / n).is_file()
    )


def test_links_that_branch_end_at_the_deadline(folder):
    for i in range(30):
        (folder / f"d{i}").mkdir()
        for name in "ab":
            os.symlink(folder / f"d{i + 1}", folder / f"d{i}" / name)
    with pytest.raises(DeadlinePassed), until(Deadline(0.3)):
        names("d0/**/*.none", folder)
