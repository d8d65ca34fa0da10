"""The engine that is embedded: a `Store`, and what ranks its passages, mapped into memory.

    bm25      words (bm25.py)
    dense     cosines of embeddings (dense.py), or what an adapter makes of them (adapter.py)
    hybrid    both, by reciprocal rank fusion

Reciprocal rank fusion (Cormack, Clarke, Büttcher 2009) gives a passage the sum of 1 / (60 + rank)
over the rankings that have it among their first `DEPTH`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from fkdsl.base.locks import locked
from fkdsl.retrieval.adapter import Adapter
from fkdsl.retrieval.bm25 import Bm25, best, words_of
from fkdsl.retrieval.dense import Embedding, Vectors, embed_all
from fkdsl.retrieval.engine import Hit
from fkdsl.retrieval.passages import FileMark, Passage
from fkdsl.retrieval.spec import MOST_PASSAGES
from fkdsl.retrieval.store import Store

DEPTH = 100
"""Passages of each ranking that are fused."""
FUSED = 60
"""The constant of reciprocal rank fusion."""


class Embedded:
    """home: the folder that keeps the index, None to keep it in memory alone. ranking: bm25,
    dense or hybrid. embedding: what embeds, None for bm25. adapter: what is applied to the
    embeddings of queries, None for nothing."""

    def __init__(
        self,
        home: Path | None,
        ranking: str,
        embedding: Embedding | None,
        adapter: Adapter | None = None,
    ) -> None:
        self.home, self.ranking, self.embedding = home, ranking, embedding
        self.adapter = adapter
        self.store = Store(
            home / "passages.sqlite" if home is not None else None, words=ranking != "dense"
        )
        self.lock = self.store.lock
        self._ids: list[int] | None = None
        self._bm25: Bm25 | None = None
        self._vectors: Vectors | None = None

    def marks(self) -> dict[str, FileMark]:
        return self.store.marks()

    def update(
        self,
        changed: Iterable[tuple[str, FileMark, Sequence[Passage] | None]],
        gone: Collection[str],
    ) -> None:
        self.store.update(changed, gone)
        if self.embedding is not None:
            embed_all(self.store, self.embedding)

    @locked
    def open(self) -> None:
        """Reads what `search` needs, and makes it where it is missing. From here on the index does
        not change."""
        if self._ids is not None:
            return
        if self.embedding is not None:
            embed_all(self.store, self.embedding)  # an update may have been cut short
        self.store.hold()
        ids = self.store.distinct()[:MOST_PASSAGES]
        if self.ranking != "dense":
            self._bm25 = self._table(ids)
        if self.embedding is not None:
            self._vectors = Vectors(self.store.vectors(ids))
        self._ids = ids

    def __len__(self) -> int:
        """How many passages it has, those of the same text counted once."""
        self.open()
        return len(self._ids or ())

    def _table(self, ids: Sequence[int]) -> Bm25:
        """The table of these passages' words, from the folder if it is there."""
        marks = sorted((name, mark.digest) for name, mark in self.marks().items())
        state = hashlib.sha256(repr((marks, list(ids))).encode()).hexdigest()[:32]
        folder = self.home / f"bm25-{state}" if self.home is not None else None
        if folder is not None and folder.is_dir():
            with suppress(OSError, ValueError, KeyError):
                return Bm25.load(folder, len(ids))
        table = Bm25.of(*self.store.words(ids), self.store.word_count())
        if self.home is not None and folder is not None:
            with suppress(OSError):
                part = self.home / f".{folder.name}.part"
                shutil.rmtree(part, ignore_errors=True)
                table.save(part)
                if part.is_dir():
                    for old in self.home.glob("bm25-*"):
                        shutil.rmtree(old, ignore_errors=True)
                    part.rename(folder)
        return table

    @locked
    def passages_at(self, places: Sequence[int]) -> list[Passage]:
        """Passages by their places among the distinct ones."""
        self.open()
        assert self._ids is not None
        return self.store.passages([self._ids[i] for i in places])

    @property
    def vectors(self) -> Vectors:
        """Those of the distinct passages, of an index that embeds."""
        self.open()
        assert self._vectors is not None
        return self._vectors

    def search(self, query: str, k: int) -> list[Hit]:
        self.open()
        places, scores = self._ranked(query, k)
        assert self._ids is not None
        passages = self.store.passages([self._ids[i] for i in places])
        return [Hit(p, s) for p, s in zip(passages, scores, strict=True)]

    def _ranked(self, query: str, k: int) -> tuple[list[int], list[float]]:
        """The places of the k best passages and their scores."""
        if self.ranking == "bm25":
            return self._by_words(query, k)
        if self.ranking == "dense":
            return self._by_vectors(query, k)
        fused: dict[int, float] = {}
        for places, _ in (self._by_words(query, DEPTH), self._by_vectors(query, DEPTH)):
            for rank, place in enumerate(places, 1):
                fused[place] = fused.get(place, 0.0) + 1.0 / (FUSED + rank)
        order = sorted(fused, key=lambda i: (-fused[i], i))[:k]
        return order, [fused[i] for i in order]

    def _by_words(self, query: str, k: int) -> tuple[list[int], list[float]]:
        assert self._bm25 is not None
        scores = self._bm25.scores(self.store.word_numbers(words_of(query)))
        places = best(scores, k, above=0.0)
        return places, [float(scores[i]) for i in places]

    def _by_vectors(self, query: str, k: int) -> tuple[list[int], list[float]]:
        assert self._vectors is not None
        assert self.embedding is not None
        if not query.strip() or not len(self._vectors):
            return [], []
        vector = self.embedding.embed([query])[0]
        if self.adapter is not None:
            vector = self.adapter.apply(vector)
        scores = self._vectors.products(vector)
        scores = np.where(np.isfinite(scores), scores, -np.inf)
        places = best(scores, k, above=-np.inf)
        return places, [float(scores[i]) for i in places]
