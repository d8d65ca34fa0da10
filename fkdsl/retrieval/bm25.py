"""BM25 over the words of passages, in Lucene's form (Robertson and Zaragoza 2009; Kamphuis et al.
2020 compare the forms):

    score(d, q) = sum over words w of q of  idf(w) f / (f + k1 (1 - b + b |d| / mean |d|))
    idf(w) = log(1 + (N - n + 1/2) / (n + 1/2))

f: how often w stands in d; |d|: words of d; N: passages; n: passages with w; k1 = 1.2, b = 0.75. A
word that stands twice in q counts twice. Lucene's idf is above 0 for every word, also in a folder
of three notes; that of SQLite's FTS5 is nothing for a word that half of the passages have.

Every summand is computed when the table is made (eager scoring, Lù 2024, arXiv 2407.03618), so a
query adds up rows of a sparse matrix.

>>> words_of("The tide's HIGH-water mark, \\u6f6e\\u6c50")
['the', 'tide', 's', 'high', 'water', 'mark', '\\u6f6e', '\\u6c50']
>>> table = Bm25.of(np.array([0, 1, 1, 1, 2]), np.array([2, 3]), words=3)
>>> [round(float(x), 3) for x in table.scores([1])]
[0.09, 0.108]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check
from fkdsl.base.quick_dataclass import dataclass

K1, B = 1.2, 0.75
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+")
"""A character of a script that puts no spaces between words is a word by itself."""


def words_of(text: str) -> list[str]:
    """The words of a text, in order, for the sake of comparing: without case."""
    return _WORD.findall(text.casefold())


@dataclass(frozen=True)
class Bm25:
    """The summand of each word in each passage that has it, a sparse matrix by words. starts:
    (words + 1,) where each word's entries begin; passages: (entries,) the passage of each; values:
    (entries,) float32, its summand. size: how many passages there are."""

    starts: NDArray[np.int64]
    passages: NDArray[np.int32]
    values: NDArray[np.float32]
    size: int

    @classmethod
    def of(cls, words_in_order: NDArray[Any], lengths: NDArray[Any], words: int) -> Bm25:
        """The table of passages. words_in_order: the numbers of their words, below `words`, one
        passage after the other; lengths: (passages,) how many are each one's."""
        n = len(lengths)
        keys = words_in_order.astype(np.int64)
        keys *= max(n, 1)
        keys += np.repeat(np.arange(n), lengths)
        check()
        keys, frequency = np.unique(keys, return_counts=True)
        check()
        word, passage = np.divmod(keys, max(n, 1))
        having = np.bincount(word, minlength=words)
        idf = np.log1p((n - having + 0.5) / (having + 0.5))
        length = lengths / max(float(np.mean(lengths)) if n else 0.0, 1.0)
        saturated = frequency / (frequency + K1 * (1.0 - B + B * length[passage]))
        starts = np.concatenate([[0], np.cumsum(having)])
        values = (idf[word] * saturated).astype(np.float32)
        return cls(starts, passage.astype(np.int32), values, n)

    def scores(self, query: Sequence[int]) -> NDArray[np.float64]:
        """(passages,) the score of each passage for a query, the numbers of its words; 0 where none
        of them stands in the passage."""
        scores = np.zeros(self.size)
        for word in query:
            entries = slice(self.starts[word], self.starts[word + 1])
            scores[self.passages[entries]] += self.values[entries]  # none twice
        return scores

    def save(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, size: int) -> Bm25:
        """The table of a folder, mapped into memory. Raises OSError or ValueError where there is
        none."""
        starts, passages, values = [
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS
        ]
        return cls(starts, passages, values, size)


_ARRAYS = ("starts", "passages", "values")


def best(scores: NDArray[Any], k: int, above: float = -np.inf) -> list[int]:
    """The places of the k highest scores that are above a bound, best first; of equal ones, the
    first in order.

    >>> best(np.array([1.0, 3.0, 0.0, 3.0, 2.0]), 3), best(np.array([0.0, 0.5]), 5, above=0.0)
    ([1, 3, 4], [1])
    """
    places = np.flatnonzero(scores > above)
    if len(places) > k:
        kept = scores[places]
        least = np.partition(kept, len(kept) - k)[len(kept) - k]
        places = places[kept >= least]
    return [int(i) for i in places[np.lexsort((places, -scores[places]))][:k]]
