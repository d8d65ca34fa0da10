r"""Expressions in which `everything` stands for a part that is not followed, and what comes behind
it is weakened to the characters that it must have, in their order.

    everything (, item)* ] }       becomes       everything ] everything }

Without that an automaton would have to follow what comes behind at every place in such a part at
once, which takes far too many states.

>>> a = CutAlgebra(3)
>>> comma, bracket, brace = (a.symbol({i}) for i in range(3))
>>> rest = a.concat_all([a.star(comma), bracket, brace])
>>> a.concat(a.EVERYTHING, rest) == a.concat_all([a.EVERYTHING, bracket, a.EVERYTHING, brace])
True

Law: an expression has every text of the one without the weakening.
"""

from __future__ import annotations

from collections.abc import Iterator

from fkdsl.engine.constraints.expressions import Algebra


class CutAlgebra(Algebra):
    """An algebra whose `everything` is weakened behind."""

    def __init__(self, symbols: int, most: int = 50_000, parts: int = 1_000_000) -> None:
        super().__init__(symbols, most, parts)
        self._cut: dict[int, bool] = {}
        self._needed: dict[int, int] = {}

    def concat(self, a: int, b: int) -> int:
        if b in (self.EMPTY, self.EPSILON):
            return super().concat(a, b)
        if self._nodes[a][0] == "or" and any(self._begins_cut(p) for p in self._parts(a)):
            return self.union([self.concat(part, b) for part in self._parts(a)])
        if self._is_cut(a):
            b = self._weakened(b)
            if a == self.EVERYTHING and self._begins_cut(b):
                return b
        return super().concat(a, b)

    def _merge_symbols(self, parts: set[int]) -> set[int]:
        """Leaves out what is part of another: `everything s t` has no text that `everything t` has
        not."""
        parts = super()._merge_symbols(parts)
        cut = [part for part in parts if self._begins_cut(part)]
        return parts - {p for p in cut if any(end in parts for end in self._later_cuts(p))}

    def _later_cuts(self, a: int) -> Iterator[int]:
        """The ends of a concatenation, shorter than it, that begin with `everything`."""
        while self._nodes[a][0] == "concat":
            a = self._nodes[a][2]  # type: ignore[assignment]
            if self._begins_cut(a):
                yield a

    def _parts(self, union: int) -> Iterator[int]:
        return (part for part in self._nodes[union][1:] if isinstance(part, int))

    def _factors(self, a: int) -> Iterator[int]:
        """The expressions of which `a` is the concatenation."""
        while self._nodes[a][0] == "concat":
            _, first, a = self._nodes[a]  # type: ignore[assignment]
            yield first  # type: ignore[misc]
        yield a

    def _begins_cut(self, a: int) -> bool:
        return next(self._factors(a)) == self.EVERYTHING

    def _is_cut(self, a: int) -> bool:
        if a not in self._cut:
            self._cut[a] = self.EVERYTHING in self._factors(a)
        return self._cut[a]

    def _weakened(self, a: int) -> int:
        """The texts that have, in their order, the characters that a text of `a` must have, and end
        with the last of them if `a` does."""
        if a not in self._needed:
            parts: list[int] = []
            last = self.EPSILON
            for last in self._factors(a):
                inner = last
                while self._nodes[inner][0] == "repeat" and self._nodes[inner][2]:
                    inner = self._nodes[inner][1]  # type: ignore[assignment]
                if self._nodes[inner][0] == "symbol":
                    parts += [self.EVERYTHING, inner]
            ends = self._nodes[last][0] == "symbol"
            needed = self.EPSILON if ends else self.EVERYTHING
            for part in reversed(parts):
                needed = super().concat(part, needed)
            self._needed[a] = needed
        return self._needed[a]
