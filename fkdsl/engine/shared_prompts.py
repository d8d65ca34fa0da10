"""Beginnings of texts that several engines of one model share: a prompt that one run has computed
is there for the next.

Engines of different runs have trees and caches of their own; a segment is immutable, so one may
stand in several caches. Its bytes are freed when it is neither here nor in any of them.

Laws: what `longest` gives was computed for exactly the tokens asked for. Kept bytes never pass the
budget. Any thread may call it.

>>> from fkdsl.models.table import TableSegment
>>> prompts = SharedPrompts(1000, least=2)
>>> prompts.keep((1, 2, 3), TableSegment(b"abc", (1, 2, 3), standalone=False), None, None)
>>> prompts.longest((1, 2, 9)).tokens, prompts.longest((1, 9)) is None
(2, True)
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.locks import locked
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.interface import CacheSegment

LEAST = 8
"""Tokens that a beginning must have to be worth keeping."""
MOST = 128
"""Beginnings kept at most: each is compared with a new text."""


@dataclass(frozen=True)
class SharedPrompt:
    """A beginning that was computed. tokens: how many of the text asked for are in the segment.
    row, sums: (V,) and (blocks,) after the last of them, as in ForwardResult, where known."""

    segment: CacheSegment
    tokens: int
    row: NDArray[Any] | None
    sums: NDArray[np.float64] | None


class SharedPrompts:
    """The beginnings, least recently used first. budget: bytes at most. hits, misses: how often
    `longest` had something, and how often not."""

    def __init__(self, budget: int, least: int = LEAST) -> None:
        self.budget, self.least = budget, least
        self.nbytes = self.hits = self.misses = 0
        self.lock = threading.RLock()
        self._kept: OrderedDict[tuple[int, ...], SharedPrompt] = OrderedDict()

    @locked
    def longest(self, tokens: Sequence[int]) -> SharedPrompt | None:
        """The longest beginning of the text that is here, None for none of `least` tokens."""
        best, best_length = None, self.least - 1
        for kept, prompt in self._kept.items():
            n = _common(kept, tokens, prompt.segment.sliceable)
            if n > best_length:
                best, best_length = kept, n
        if best is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(best)
        prompt = self._kept[best]
        if best_length == len(best):
            return prompt
        return SharedPrompt(prompt.segment, best_length, None, None)

    @locked
    def keep(
        self,
        tokens: tuple[int, ...],
        segment: CacheSegment,
        row: NDArray[Any] | None,
        sums: NDArray[np.float64] | None,
    ) -> None:
        """Keeps the segment of a text from its first token on, unless it is short or larger than
        the budget."""
        size = _size(segment, row)
        if len(tokens) < self.least or tokens in self._kept or size > self.budget:
            return
        self._kept[tokens] = SharedPrompt(segment, len(tokens), row, sums)
        self.nbytes += size
        while self.nbytes > self.budget or len(self._kept) > MOST:
            _, dropped = self._kept.popitem(last=False)
            self.nbytes -= _size(dropped.segment, dropped.row)


def _size(segment: CacheSegment, row: NDArray[Any] | None) -> int:
    return segment.nbytes + (row.nbytes if row is not None else 0)


def _common(kept: tuple[int, ...], tokens: Sequence[int], sliceable: bool) -> int:
    """How many first tokens the two share; 0 where the segment would have to be cut and cannot."""
    n = 0
    for a, b in zip(kept, tokens, strict=False):
        if a != b:
            break
        n += 1
    return n if sliceable or n == len(kept) else 0
