"""Every outcome of a sampler's randomness, with its probability, so that expectations can be
computed instead of estimated.

A sampler that draws only through `Rng` is run once for each outcome. `choice` branches over its
positive probabilities. `uniform` gives an interval in which the number lies; a comparison splits it
where its outcome changes. The runs are a depth-first walk over prefixes of decisions, and each one
is replayed from the beginning.

>>> def sampler(rng):
...     u = rng.uniform()
...     return (rng.choice([0.5, 0.5]), "low" if 2 * u < 0.6 else "high")
>>> for p, outcome in enumerate_outcomes(sampler): print(round(p, 12), outcome)
0.15 (0, 'low')
0.35 (0, 'high')
0.15 (1, 'low')
0.35 (1, 'high')
>>> round(expectation(sampler, lambda outcome: outcome[0]), 12)
0.5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from fkdsl.base.arrays import ArrayLike
from fkdsl.base.errors import CallError
from fkdsl.base.probability_blocks import Probabilities
from fkdsl.base.random import Key, check_probabilities

T = TypeVar("T")
SLIVER = 1e-13
"""Intervals of a uniform narrower than this come from rounding, and are not split."""


class Continuous(CallError):
    """A sampler used a uniform as a number, so its outcomes cannot be enumerated."""

    def __init__(self) -> None:
        message = "this sampler uses a uniform draw as a number, which cannot be enumerated"
        super().__init__(
            message, "draw by `rng.choice`, or only compare `rng.uniform()` with numbers"
        )


class TooManyOutcomes(CallError):
    """A sampler has more outcomes than the limit."""

    def __init__(self, limit: int) -> None:
        message = f"a sampler has more than {limit:,} outcomes"
        super().__init__(
            message, "use fewer particles, a smaller table, or a model with fewer draws"
        )


class NotAFunction(CallError):
    """A sampler that was run again with the same draws drew differently."""

    def __init__(self) -> None:
        message = "a sampler is not a function of its random stream"
        super().__init__(
            message,
            "draw by the stream that is given and by nothing else; keep nothing from run to run",
        )


class EnumeratingRng:
    """A stream that replays decisions and then takes the first outcome of each new one.

    After a run, `taken` holds every decision, `counts` the number of outcomes of each, and
    `probability` and `log_probability` (nats) are those of all of them together.
    """

    def __init__(self, prefix: tuple[int, ...] = ()) -> None:
        self._prefix = prefix
        self.taken: list[int] = []
        self.counts: list[int] = []
        self.probability = 1.0
        self.log_probability = 0.0  # the product may be below the smallest float

    def decide(self, probabilities: Sequence[float] | Probabilities, total: float = 1.0) -> int:
        """Takes the next decision, among outcomes of the given probabilities, which are positive
        and sum to the total."""
        at = len(self.taken)
        outcome = self._prefix[at] if at < len(self._prefix) else 0
        if outcome >= len(probabilities):
            raise NotAFunction
        self.taken.append(outcome)
        # Only the count is kept: the probabilities of a vocabulary, for each of its outcomes, would
        # not fit into memory.
        self.counts.append(len(probabilities))
        self.probability *= float(probabilities[outcome]) / total
        self.log_probability += math.log(float(probabilities[outcome])) - math.log(total)
        return outcome

    def choice(self, probabilities: ArrayLike) -> int:
        p = check_probabilities(probabilities)
        support = p.nonzero()[0]
        return int(support[self.decide(p[support], float(p.sum()))])

    def uniform(self) -> Any:
        return Interval(self)

    def split(self, *key: Key) -> EnumeratingRng:
        return self

    def siblings(self) -> list[tuple[int, ...]]:
        """The prefixes that differ from this run in one decision beyond its own prefix: those that
        remain to be visited."""
        return [
            (*self.taken[:at], other)
            for at in range(len(self._prefix), len(self.taken))
            for other in range(self.counts[at] - 1, 0, -1)
        ]


class Interval:
    """scale * U + shift, for a U that is uniform on an interval which comparisons narrow.

    A combination of two of them is not of this form: it raises Continuous, as float() does.
    """

    __array_ufunc__ = None  # numpy's numbers leave arithmetic and comparison to the methods here

    def __init__(
        self, rng: EnumeratingRng, scale: float = 1.0, shift: float = 0.0, known: Any = None
    ) -> None:
        self._rng, self._scale, self._shift = rng, scale, shift
        self._known: list[float] = known if known is not None else [0.0, 1.0]

    def _affine(self, scale: float, shift: float) -> Interval:
        scale, shift = float(scale), float(shift)
        return Interval(self._rng, self._scale * scale, self._shift * scale + shift, self._known)

    def __add__(self, other: float) -> Interval:
        return self._affine(1.0, other)

    def __sub__(self, other: float) -> Interval:
        return self._affine(1.0, -other)

    def __rsub__(self, other: float) -> Interval:
        return self._affine(-1.0, other)

    def __mul__(self, other: float) -> Interval:
        return self._affine(other, 0.0)

    def __truediv__(self, other: float) -> Interval:
        return self._affine(1.0 / float(other), 0.0)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Interval:
        return self._affine(-1.0, 0.0)

    def _below(self, other: float) -> bool:
        """Whether scale * U + shift < other; decides on which side of the boundary U lies if both
        are possible."""
        other = float(other)
        if self._scale == 0.0:
            return self._shift < other
        low, high = self._known
        boundary = (other - self._shift) / self._scale
        if boundary <= low + SLIVER or boundary >= high - SLIVER:
            under = (low + high) / 2 < boundary
        else:
            p = (boundary - low) / (high - low)
            under = self._rng.decide((p, 1.0 - p)) == 0
            self._known[:] = [low, boundary] if under else [boundary, high]
        return under if self._scale > 0 else not under

    # A boundary has probability zero, so < and <= are the same event.
    def __lt__(self, other: float) -> bool:
        return self._below(other)

    __le__ = __lt__

    def __gt__(self, other: float) -> bool:
        return not self._below(other)

    __ge__ = __gt__

    def __float__(self) -> float:
        raise Continuous

    __index__ = __int__ = __float__


def enumerate_outcomes(
    sampler: Callable[[EnumeratingRng], T], limit: int = 1_000_000
) -> Iterator[tuple[float, T]]:
    """(probability, result) of every outcome. Raises TooManyOutcomes after `limit` of them."""
    todo: list[tuple[int, ...]] = [()]
    for _ in range(limit):
        if not todo:
            return
        rng = EnumeratingRng(todo.pop())
        result = sampler(rng)
        yield rng.probability, result
        todo.extend(rng.siblings())
    if todo:
        raise TooManyOutcomes(limit)


def expectation(
    sampler: Callable[[EnumeratingRng], T], f: Callable[[T], float], limit: int = 1_000_000
) -> float:
    """E[f(result)] over the sampler's randomness, up to rounding."""
    return math.fsum(p * f(result) for p, result in enumerate_outcomes(sampler, limit))
