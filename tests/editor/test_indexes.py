"""What an editor knows of `index` lines and of documents."""

from pathlib import Path

import pytest

from fkdsl.editor.completion import completion
from fkdsl.editor.hover import hover
from fkdsl.editor.outline import outline
from fkdsl.editor.renames import rename
from fkdsl.editor.workspace import Workspace

PROGRAM = """\
index notes = "*.md" with passage=400

program main(query: str = "tide") -> str:
    d ~ retrieve(notes, query)
    return d.text
"""


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch):
    """The current folder, which has a note and a folder of notes."""
    (tmp_path / "a.md").write_text("High tide.")
    (tmp_path / "cat.png").write_bytes(b"")
    (tmp_path / "more").mkdir()
    monkeypatch.chdir(tmp_path)


def at_mark(text):
    """The analysis of a text in the current folder, with its `|` taken out, and its offset."""
    offset, workspace, path = text.index("|"), Workspace(), str(Path.cwd() / "a.fk")
    workspace.change(path, text[:offset] + text[offset + 1 :])
    return workspace, workspace.analyse(path), offset


def offered(text):
    _, analysis, offset = at_mark(text)
    return {item.label for item in completion(analysis, offset)}


@pytest.mark.parametrize(
    ("mark", "marked", "labels"),
    [
        ('"*.md" with', '"|" with', {"a.md", "more/"}),
        ("with passage=400", "|", {"with"}),
        ("passage=400", "|", {"ranking=", "engine=", "text=", "passage="}),
        ("passage=400", 'ranking="|"', {"bm25", "dense", "hybrid"}),
        ("retrieve(notes,", "retrieve(n|,", {"notes"}),
        ("d.text", "d.|", {"text", "source", "line", "score"}),
        ("query: str", "query: |", {"document", "index"}),
    ],
)
def test_what_is_offered(mark, marked, labels):
    assert labels <= offered(PROGRAM.replace(mark, marked))


def test_a_context_and_a_document_have_their_own_attributes():
    assert "tokens" not in offered(PROGRAM.replace("d.text", "d.|"))


def test_an_index_is_shown_renamed_and_listed():
    workspace, analysis, offset = at_mark(PROGRAM.replace("retrieve(notes", "retrieve(no|tes"))
    assert 'index notes = "*.md" with passage=400' in hover(analysis, offset).text
    assert ("notes", "index") in {(e.name, e.kind) for e in outline(analysis)}
    edits = rename(workspace, analysis.source.name, offset, "papers")
    (changed,) = edits.values()
    assert len(changed) == 2
