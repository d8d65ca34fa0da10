"""The passages of an index in one SQLite file: each with its words, and its vector where passages
are embedded. A file that has not changed is not read again.

    files      name, size, time of the last change, sha256 of the content
    passages   file, place in the file, line, text, words as numbers, vector, hash of the text
    words      number, word

A change is one transaction. A `Store` that has been opened for reading keeps to what it saw first
(a read transaction over the write-ahead log), so that an index does not change while a run uses it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check
from fkdsl.retrieval.bm25 import words_of
from fkdsl.retrieval.passages import FileMark, Passage
from fkdsl.retrieval.spec import MOST_PASSAGES

FORMAT = 1
"""Changes with what the tables hold, or how texts are cut."""
_TABLES = """
CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER,
    changed INTEGER, digest TEXT);
CREATE TABLE IF NOT EXISTS passages (id INTEGER PRIMARY KEY, file INTEGER, place INTEGER,
    line INTEGER, text TEXT, words BLOB, vector BLOB, hash BLOB);
CREATE INDEX IF NOT EXISTS by_file ON passages (file, place);
CREATE TABLE IF NOT EXISTS words (id INTEGER PRIMARY KEY, word TEXT UNIQUE);
"""


class Store:
    """path: the file, which is made where it is missing; None for one in memory. words: whether it
    keeps the passages' words, for a ranking that reads them."""

    def __init__(self, path: Path | None, words: bool = True) -> None:
        self._keeps_words = words
        self.lock = threading.RLock()
        self._db = sqlite3.connect(
            str(path) if path is not None else ":memory:",
            check_same_thread=False,
            isolation_level=None,
            timeout=60.0,
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # it can be made again
        self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    # ------------------------------------------------------------------ writing

    def marks(self) -> dict[str, FileMark]:
        """What each file was when it was read."""
        rows = self._db.execute("SELECT name, size, changed, digest FROM files")
        return {name: FileMark(size, changed, digest) for name, size, changed, digest in rows}

    def update(
        self,
        changed: Iterable[tuple[str, FileMark, Sequence[Passage] | None]],
        gone: Collection[str],
    ) -> None:
        """Puts the passages of files in the place of those that they had; None where only the mark
        is new. gone: files to forget. All or nothing."""
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                known = dict(self._db.execute("SELECT word, id FROM words"))
                before = len(known)
                for name in gone:
                    self._forget(name)
                for name, mark, passages in changed:
                    check()
                    if passages is None:
                        sql = "UPDATE files SET size = ?, changed = ? WHERE name = ?"
                        self._db.execute(sql, (mark.size, mark.changed, name))
                    else:
                        self._put(name, mark, passages, known)
                new = list(known.items())[before:]
                self._db.executemany("INSERT INTO words (word, id) VALUES (?, ?)", new)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _forget(self, name: str) -> None:
        self._db.execute(
            "DELETE FROM passages WHERE file = (SELECT id FROM files WHERE name = ?)", (name,)
        )
        self._db.execute("DELETE FROM files WHERE name = ?", (name,))

    def _put(
        self, name: str, mark: FileMark, passages: Sequence[Passage], known: dict[str, int]
    ) -> None:
        self._forget(name)
        sql = "INSERT INTO files (name, size, changed, digest) VALUES (?, ?, ?, ?)"
        file = self._db.execute(sql, (name, *mark)).lastrowid

        def rows() -> Iterable[tuple[object, ...]]:
            for place, p in enumerate(passages):
                if not place % 1000:
                    check()
                found = words_of(p.text) if self._keeps_words else []
                words = [known.setdefault(w, len(known)) for w in found]
                digest = hashlib.blake2b(p.text.encode(), digest_size=16).digest()
                yield file, place, p.line, p.text, np.array(words, "<i4").tobytes(), digest

        self._db.executemany(
            "INSERT INTO passages (file, place, line, text, words, hash) VALUES (?, ?, ?, ?, ?, ?)",
            rows(),
        )

    # ------------------------------------------------------------------ reading

    def hold(self) -> None:
        """From now on all is read as it is now, whatever is written meanwhile."""
        with self.lock:
            self._db.execute("BEGIN")
            self._db.execute("SELECT count(*) FROM files").fetchone()

    def distinct(self) -> list[int]:
        """The ids of the passages in the order of the files' names and of their texts; of those
        with the same text, the first."""
        rows = self._db.execute(
            "SELECT p.id, p.hash FROM passages p JOIN files f ON f.id = p.file "
            "ORDER BY f.name, p.place LIMIT ?",
            (MOST_PASSAGES + 1,),
        )
        first: dict[bytes, int] = {}
        for number, digest in rows:
            first.setdefault(digest, number)
        return list(first.values())

    def words(self, ids: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The numbers of the words of these passages, one after the other, and (passages,) how many
        are each one's."""
        rows = dict(self._db.execute("SELECT id, words FROM passages"))
        found = [rows[i] for i in ids]
        lengths = np.array([len(words) for words in found], np.int64) // 4
        return np.frombuffer(b"".join(found), "<i4"), lengths

    def word_count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM words").fetchone()[0])

    def word_numbers(self, words: Sequence[str]) -> list[int]:
        """The numbers of those words that stand in some passage, as often as they are given."""
        with self.lock:
            found = [
                self._db.execute("SELECT id FROM words WHERE word = ?", (w,)).fetchone()
                for w in words
            ]
        return [row[0] for row in found if row is not None]

    def passages(self, ids: Sequence[int]) -> list[Passage]:
        """The passages with these ids."""
        sql = (
            "SELECT p.text, f.name, p.line FROM passages p JOIN files f ON f.id = p.file "
            "WHERE p.id = ?"
        )
        with self.lock:
            rows = [self._db.execute(sql, (i,)).fetchone() for i in ids]
        return [Passage(*row) for row in rows]

    # ------------------------------------------------------------------ vectors

    def without_vectors(self, after: int, most: int) -> list[tuple[int, str]]:
        """(id, text) of passages that have no vector yet, by their ids: the first, so many at most,
        of those above `after`."""
        sql = "SELECT id, text FROM passages WHERE id > ? AND vector IS NULL ORDER BY id LIMIT ?"
        return list(self._db.execute(sql, (after, most)))

    def put_vectors(self, ids: Sequence[int], vectors: NDArray[np.float16]) -> None:
        with self.lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "UPDATE passages SET vector = ? WHERE id = ?",
                [(v.tobytes(), i) for v, i in zip(vectors, ids, strict=True)],
            )
            self._db.execute("COMMIT")

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float16]:
        """(passages, dimensions) the vectors of these passages."""
        rows = dict(self._db.execute("SELECT id, vector FROM passages"))
        if not ids:
            return np.zeros((0, 0), np.float16)
        return np.frombuffer(b"".join(rows[i] for i in ids), "<f2").reshape(len(ids), -1)
