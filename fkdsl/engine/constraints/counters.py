"""Sums of counts in a text, read from left to right: `count(s, "a") - 2 * count(s, "b")`, or how
many of the words are long.

A counter reads a text by a transducer for each count, which writes the text's items, a separator
behind each. Its state is the sum so far, as far as it matters, and where the transducers and their
items stand. Beyond the last number at which the answer changes all sums are alike if nothing is
subtracted. Where something is, a sum may come back from any distance: it is followed FAR beyond
these numbers, and from there on nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.transducers import Transducer

FAR = 48
"""How far beyond the numbers that matter a sum is followed that may rise and fall."""
Ranges = tuple[tuple[int | None, int | None], ...]
"""Ranges of whole numbers, both ends included; None for no end."""
State = tuple[int, ...]
"""The sum so far, then for each count the states of its transducer and of its item."""


@dataclass(frozen=True, eq=False)
class Items:
    """What is counted. by: writes the items, `separator` behind each. whole: the expression of an
    item that counts, with its separator. factor: how much each counts. derive, nullable: those of
    the expression's algebra."""

    by: Transducer
    separator: int
    whole: int
    factor: int
    derive: Callable[[int, int], int]
    nullable: Callable[[int], bool]

    def read(self, item: int, written: Iterable[int]) -> tuple[int, int]:
        """(the state of the item behind some symbols, how many items that count have ended)."""
        ended = 0
        for symbol in written:
            item = self.derive(item, symbol)
            if symbol == self.separator:
                ended += self.nullable(item)
                item = self.whole
        return item, ended


@dataclass(frozen=True, eq=False)
class Counter:
    """The texts whose sum is in the ranges, or leaves a number of the ranges when divided by
    `divisor`, if that is not 0. first: what the sum begins with. widest: whether the texts count of
    which nothing is known."""

    counts: tuple[Items, ...]
    first: int
    ranges: Ranges
    divisor: int = 0
    widest: bool = True

    @property
    def start(self) -> State:
        first = self._kept(self.first)
        assert first is not None
        return (first, *(n for c in self.counts for n in (c.by.start, c.whole)))

    def step(self, state: State, symbol: int) -> State | None:
        """The state after a character of a class; None where nothing more is known."""
        total, states = state[0], list[int]()
        for k, count in enumerate(self.counts):
            ((following, written),) = count.by.step(state[2 * k + 1], symbol)
            item, ended = count.read(state[2 * k + 2], written)
            total += count.factor * ended
            states += [following, item]
        kept = self._kept(total)
        return None if kept is None else (kept, *states)

    def accepts(self, state: State) -> bool:
        """Whether a text that ends here has such a sum."""
        total = state[0]
        for k, count in enumerate(self.counts):
            _, ended = count.read(state[2 * k + 2], count.by.final(state[2 * k + 1]))
            total += count.factor * ended
        total = total % self.divisor if self.divisor else total
        return any((a is None or a <= total) and (b is None or total <= b) for a, b in self.ranges)

    def _kept(self, total: int) -> int | None:
        """A sum that stands for this one; None beyond those that are followed."""
        if self.divisor:
            return total % self.divisor
        lowest, highest, rises, falls = self._bounds
        if not falls:
            return min(total, highest)
        if not rises:
            return max(total, lowest)
        return total if lowest - FAR <= total <= highest + FAR else None

    @cached_property
    def _bounds(self) -> tuple[int, int, bool, bool]:
        """(a number up to which all sums are alike, one from which on all are, whether a sum may
        rise, and fall)."""
        firsts = [a for a, _ in self.ranges if a is not None]  # where the answer changes
        firsts += [b + 1 for _, b in self.ranges if b is not None]
        factors = [count.factor for count in self.counts]
        return (
            min([self.first, *(n - 1 for n in firsts)]),
            max([self.first, *firsts]),
            any(f > 0 for f in factors),
            any(f < 0 for f in factors),
        )
