"""The laws of every engine: what `update` was given `marks` says, and `search` finds."""

import numpy as np
import pytest

from fkdsl.base.folders import Folder
from fkdsl.retrieval import index
from fkdsl.retrieval.embedded import Embedded
from fkdsl.retrieval.errors import RetrievalError
from fkdsl.retrieval.passages import FileMark, Passage
from fkdsl.retrieval.spec import IndexSpec
from tests.retrieval.test_dense import Letters

A = ("a.md", FileMark(1, 10, "aa"), [Passage("high tide", "a.md", 1), Passage("moon", "a.md", 3)])
B = ("b.md", FileMark(2, 20, "bb"), [Passage("moon", "b.md", 1), Passage("low sand", "b.md", 2)])


def embedded(tmp_path):
    return Embedded(tmp_path, "dense", Letters())


def in_memory(tmp_path):
    return Embedded(None, "dense", Letters())


def qdrant(tmp_path):
    pytest.importorskip("qdrant_client", reason="it comes with the extra `qdrant`")
    from fkdsl.retrieval.qdrant import Qdrant

    return Qdrant(tmp_path, "test", Letters())


def qdrant_in_memory(tmp_path):
    pytest.importorskip("qdrant_client", reason="it comes with the extra `qdrant`")
    from fkdsl.retrieval.qdrant import Qdrant

    return Qdrant(None, tmp_path.name, Letters())


ENGINES = [embedded, in_memory, qdrant, qdrant_in_memory]


@pytest.fixture(params=ENGINES, ids=lambda make: make.__name__)
def engine(request, tmp_path):
    return request.param(tmp_path)


def passages(engine, query, k=9):
    return [hit.passage for hit in engine.search(query, k)]


def test_marks_are_what_was_given(engine):
    engine.update([A, B], [])
    assert engine.marks() == {"a.md": A[1], "b.md": B[1]}
    touched = FileMark(1, 11, "aa")
    engine.update([("a.md", touched, None)], ["b.md"])
    assert engine.marks() == {"a.md": touched}
    assert passages(engine, "tide")[0] == A[2][0]
    assert len(passages(engine, "tide")) == 2


def test_the_best_are_those_with_the_largest_cosines_and_no_text_stands_twice(engine):
    engine.update([B, A], [])
    distinct = [*A[2], B[2][1]]
    for query in ("tide", "moon high", "sand"):
        cosines = Letters().embed([p.text for p in distinct]) @ Letters().embed([query])[0]
        order = sorted(range(3), key=lambda i: -cosines[i])
        assert passages(engine, query) == [distinct[i] for i in order]
        hits = engine.search(query, 2)
        assert [h.passage for h in hits] == [distinct[i] for i in order[:2]]
        assert [h.score for h in hits] == pytest.approx(np.sort(cosines)[::-1][:2], abs=2e-3)
    assert passages(engine, " ") == []


def test_a_file_that_is_put_again_has_only_its_new_passages(engine):
    engine.update([A, B], [])
    engine.update([("a.md", FileMark(1, 12, "cc"), [Passage("sun", "a.md", 1)])], [])
    assert set(passages(engine, "high tide")) == {Passage("sun", "a.md", 1), *B[2]}


def test_an_empty_engine_finds_nothing(engine):
    assert passages(engine, "tide") == []


def test_qdrant_is_an_engine_of_an_index(tmp_path, monkeypatch):
    pytest.importorskip("qdrant_client", reason="it comes with the extra `qdrant`")
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "embedding_of", lambda name: Letters())
    (tmp_path / "n").mkdir()
    for name, text in (("a.md", "high tide\n\nmoon"), ("b.md", "low sand")):
        (tmp_path / "n" / name).write_text(text)
    found = {}
    for engine in ("embedded", "qdrant", "qdrant"):
        spec = IndexSpec("*.md", ranking="dense", engine=engine)
        opened = index.open_index(spec, Folder.main(tmp_path / "n"))
        found[engine] = [h.passage for h in opened.search("tide moon", 3)]
    assert found["qdrant"] == found["embedded"]
    (tmp_path / "n" / "b.md").write_text("tide moon")
    opened = index.open_index(spec, Folder.main(tmp_path / "n"))
    assert opened.search("tide moon", 1)[0].passage.source == "b.md"


def test_a_server_that_does_not_answer_is_said(tmp_path, monkeypatch):
    pytest.importorskip("qdrant_client", reason="it comes with the extra `qdrant`")
    monkeypatch.setenv("FKDSL_QDRANT", "http://127.0.0.1:9")
    with pytest.raises(RetrievalError, match="qdrant does not answer"):
        qdrant(tmp_path)
