"""Indexes: BM25 by its formula, what is kept, what is read again."""

import math
import threading
from collections import Counter

import numpy as np
import pytest
from filelock import FileLock

from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.folders import Folder
from fkdsl.retrieval import index as index_module
from fkdsl.retrieval.bm25 import best, words_of
from fkdsl.retrieval.errors import RetrievalError
from fkdsl.retrieval.index import open_index
from fkdsl.retrieval.spec import IndexSpec

TEXTS = {
    "a.md": "The tide is high. The tide is low.\n\nThe moon pulls the sea, and the sea rises.\n",
    "b.md": "High noon: the sun is high.\n\nSand.\n",
    "c.md": "Sand.\n\nthe the the",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    notes = tmp_path / "notes"
    notes.mkdir()
    for name, text in TEXTS.items():
        (notes / name).write_text(text)
    return notes


def opened(folder, pattern="*.md", **options):
    return open_index(IndexSpec(pattern, **options), Folder.main(folder))


def found(index, query, k=10):
    return [(h.passage.source, h.passage.line) for h in index.search(query, k)]


def lucene(query, passages):
    """BM25 as the formula of bm25.py says it, word by word."""
    split = [words_of(p) for p in passages]
    mean = sum(map(len, split)) / len(split)
    scores = []
    for words in split:
        counts, score = Counter(words), 0.0
        for w in words_of(query):
            n = sum(w in other for other in split)
            idf = math.log(1 + (len(split) - n + 0.5) / (n + 0.5))
            f = counts[w]
            score += idf * f / (f + 1.2 * (1 - 0.75 + 0.75 * len(words) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("query", ["the high tide", "sea sea SUN", "sand the", "noon"])
def test_scores_are_those_of_the_formula(folder, query):
    index = opened(folder)
    passages = [p for text in TEXTS.values() for p in text.strip().split("\n\n")]
    distinct = list(dict.fromkeys(passages))
    by_hand = dict(zip(distinct, lucene(query, distinct), strict=True))
    hits = index.search(query, 10)
    assert {h.passage.text for h in hits} == {t for t, s in by_hand.items() if s > 0}
    for h in hits:
        assert h.score == pytest.approx(by_hand[h.passage.text], abs=1e-6)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_a_text_that_stands_twice_is_one_document(folder):
    assert found(opened(folder), "sand") == [("b.md", 3)]


@pytest.mark.parametrize("query", ["", "  ", "zebra", "\0", "\ud800", "🎲"])
def test_a_query_of_no_known_word_finds_nothing(folder, query):
    assert found(opened(folder), query) == []


@pytest.mark.parametrize("query", ['"tide" OR NEAR(', "tide*", "text:tide AND NOT", "tide; DROP"])
def test_a_query_is_words_whatever_signs_stand_in_it(folder, query):
    assert found(opened(folder), query)[0] == ("a.md", 1)


def test_k_may_be_larger_than_the_index(folder):
    assert len(opened(folder).search("the", 1000)) == 4


def test_only_a_changed_file_is_read_again(folder, monkeypatch):
    reads = []
    real = index_module.read_passages
    monkeypatch.setattr(
        index_module, "read_passages", lambda f, spec: reads.append(f.name) or real(f, spec)
    )
    first = opened(folder)
    assert sorted(reads) == ["a.md", "b.md", "c.md"]
    reads.clear()
    again = opened(folder)
    assert reads == []
    assert again.digest == first.digest
    (folder / "b.md").write_text("A zebra.")
    (folder / "c.md").unlink()
    changed = opened(folder)
    assert reads == ["b.md"]
    assert changed.digest != first.digest
    assert found(changed, "zebra") == [("b.md", 1)]
    assert found(changed, "noon sand") == []
    # One that was opened before keeps to what it saw, also for what it was never asked.
    assert found(first, "noon") == [("b.md", 1)]
    assert found(first, "zebra") == []
    fresh = open_index(IndexSpec("*.md"), Folder.main(folder), keep=False)
    for query in ("the high tide", "zebra", "sea"):
        assert [h.passage for h in fresh.search(query, 5)] == [
            h.passage for h in changed.search(query, 5)
        ]
        scores = [h.score for h in fresh.search(query, 5)]
        assert scores == pytest.approx([h.score for h in changed.search(query, 5)], abs=1e-6)


def test_a_file_that_is_touched_gives_the_same_index(folder):
    first = opened(folder)
    (folder / "a.md").write_text(TEXTS["a.md"])
    assert opened(folder).digest == first.digest


def test_a_damaged_or_unwritable_cache_is_no_matter(folder, monkeypatch, tmp_path):
    opened(folder)
    for file in (tmp_path / "cache" / "indexes").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    assert found(opened(folder), "tide") == [("a.md", 1)]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "file"))
    assert found(opened(folder), "tide") == [("a.md", 1)]


def test_binary_files_are_left_out_with_a_note(folder):
    (folder / "d.md").write_bytes(b"\xff\xfe\0")
    for _ in range(2):
        (note,) = opened(folder).notes
        assert "1 file is no text" in note
        assert "d.md" in note


def test_an_empty_index_finds_nothing(folder):
    (folder / "empty.md").write_text("\n \n")
    assert found(opened(folder, "empty.md"), "tide") == []


def test_searches_in_many_threads_agree(folder):
    index = opened(folder)
    answers = []
    threads = [
        threading.Thread(target=lambda i=i: answers.append(found(index, f"tide {i}")))
        for i in range(16)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == [[("a.md", 1)]] * 16


def test_the_best_of_equal_scores_are_the_first():
    scores = np.array([1.0, 2.0, 1.0, 2.0, 1.0])
    for k in range(1, 7):
        expected = sorted(range(5), key=lambda i: (-scores[i], i))[:k]
        assert best(scores, k) == expected


def test_the_options_make_indexes_of_their_own(folder):
    assert len(opened(folder, passage=50).search("tide moon", 10)) == 2
    with pytest.raises(RetrievalError):
        opened(folder, "*.csv")


def test_a_lock_that_another_run_holds_is_waited_for_until_the_deadline(folder, monkeypatch):
    opened(folder)
    name = index_module.index_name(IndexSpec("*.md"), Folder.main(folder))
    home = index_module.cache_root() / "indexes" / name
    with FileLock(home / ".lock"):
        with pytest.raises(DeadlinePassed), until(Deadline(0.2)):
            opened(folder)
        monkeypatch.setattr(index_module, "PATIENCE", 0.05)
        assert found(opened(folder), "tide") == [("a.md", 1)]
