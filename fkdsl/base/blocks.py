"""Probabilities in blocks with their sums: what is asked of a whole vocabulary is asked of the sums, and of few blocks.

    p = Blocks(np.array([...]))          # (n,) probabilities; or, exponentiated where it is looked at,
    p = Blocks.of_logs(log_p, sums)      # (n,) log-probabilities and the sums of their blocks
    p.mass(), p[7], p.at_least(0.05)     # the sum; one of them; those that are likely
    p.draw(rng); p.remove(7)             # one drawn; one taken out

The slow reference is the array itself, `np.asarray(p)`; a test holds both together.

>>> p = Blocks(np.array([0.5, 0.0, 0.2, 0.3]), block=2)
>>> p.remove(0); p.sums.tolist(), np.asarray(p).tolist(), p.at_least(0.25), list(p.descending())
([0.0, 0.5], [0.0, 0.0, 0.2, 0.3], [3], [3, 2])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Probabilities = NDArray[np.float32] | NDArray[np.float64]
Sums = NDArray[np.float64]
BLOCK = 256
"""Probabilities that are summed as one where there are more."""
MANY = 16
"""Blocks that are looked at, in the order of their sums, before the largest of each is looked for in all."""
ROUNDING = 1e-3
"""A block's sum is its largest entry or more, but for rounding that is less than this share."""


class Chooses(Protocol):
    """As much of a random stream as is needed here (fkdsl.base.random.Rng). It may have `pick`: a choice from few of
    which it is known that none is negative."""

    def choice(self, probabilities: ArrayLike) -> int: ...


def block_sums(p: Probabilities, block: int = BLOCK) -> Sums:
    """The sums of each `block` probabilities, float64, a last, shorter block among them."""
    whole = len(p) // block * block
    sums = np.einsum("ij->i", p[:whole].reshape(-1, block)).astype(np.float64)
    return sums if whole == len(p) else np.append(sums, p[whole:].sum())


class Blocks:
    """(n,) probabilities, not negative, float32 or float64, that outcomes are taken out of. sums: (blocks,) float64.

    The array that it is made of is left as it is: a block is copied, or exponentiated, when it is first looked at.
    """

    __slots__ = ("_logs", "_mass", "_seen", "_source", "block", "sums")

    def __init__(self, p: Probabilities, block: int = BLOCK) -> None:
        self._source, self._logs, self.block = p, False, block
        self.sums: Sums = np.array([p.sum()], dtype=np.float64) if len(p) <= block else block_sums(p, block)
        self._seen: dict[int, Probabilities] = {}
        self._mass: float | None = None

    @classmethod
    def of_logs(cls, log_p: Probabilities, sums: Sums, block: int = BLOCK) -> Blocks:
        """exp(log_p), log_p in nats. sums: those of its blocks, to rounding; they are copied."""
        made = cls.__new__(cls)
        made._source, made._logs, made.block = log_p, True, block
        made.sums, made._seen, made._mass = sums.copy(), {}, None
        return made

    def __len__(self) -> int:
        return len(self._source)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, an array of its own."""
        p = np.exp(self._source) if self._logs else self._source.copy()
        for k, found in self._seen.items():
            p[k * self.block : (k + 1) * self.block] = found
        return p if dtype is None else p.astype(dtype, copy=False)

    def of(self, k: int) -> Probabilities:
        """Block k, not to be written to."""
        found = self._seen.get(k)
        if found is None:
            part = self._source[k * self.block : (k + 1) * self.block]
            found = self._seen[k] = np.exp(part) if self._logs else part.copy()
        return found

    def __getitem__(self, i: int) -> float:
        return float(self.of(i // self.block)[i % self.block])

    def mass(self) -> float:
        if self._mass is None:
            self._mass = float(self.sums.sum())
        return self._mass

    def any(self) -> bool:
        return self.mass() > 0.0

    def are_few(self, most: int) -> bool:
        """Whether at most so many are positive."""
        blocks = self.sums.nonzero()[0]
        return len(blocks) <= most and sum(int(np.count_nonzero(self.of(k))) for k in blocks.tolist()) <= most

    def remove(self, i: int) -> None:
        k = i // self.block
        found = self.of(k)
        found[i % self.block] = 0.0
        self.sums[k] = np.add.reduce(found)
        self._mass = None

    def draw(self, rng: Chooses) -> int:
        """One drawn, by two choices: of a block, and within it."""
        choose: Callable[[Probabilities], int] = getattr(rng, "pick", rng.choice)
        k = choose(self.sums) if len(self.sums) > 1 else 0
        return k * self.block + choose(self.of(k))

    def at_least(self, least: float) -> list[int]:
        """Those of probability `least` > 0 or more, likeliest first, equal ones in their order."""
        found = [
            (-p, k * self.block + i)
            for k in (self.sums >= least * (1.0 - ROUNDING)).nonzero()[0].tolist()
            for i, p in _entries(self.of(k), least)
        ]
        return [i for _, i in sorted(found)]

    def descending(self) -> Iterator[int]:
        """Those that are positive when it begins, likeliest first, equal ones in their order: as far as they are asked
        for, since a vocabulary is too long to be sorted."""
        tops: NDArray[Any] = self.sums * (1.0 + ROUNDING)  # of a block that was not looked at, what it is below
        left: dict[int, Probabilities] = {}
        while True:
            k = int(tops.argmax())
            if k not in left:
                if len(left) == MANY:
                    looked_at = {k: tops[k] for k in left}
                    tops = self._tops()
                    for i, top in looked_at.items():
                        tops[i] = top
                    k = int(tops.argmax())
                left[k] = left[k] if k in left else self.of(k).copy()
                tops[k] = left[k].max()  # what was exponentiated alone may differ by rounding
                continue
            if tops[k] <= 0.0:
                return
            i = int(left[k].argmax())
            left[k][i] = 0.0
            tops[k] = left[k].max()
            yield k * self.block + i

    def _tops(self) -> NDArray[Any]:
        """(blocks,) the largest of each block."""
        whole = len(self) // self.block * self.block
        tops: NDArray[Any] = self._source[:whole].reshape(-1, self.block).max(axis=1, initial=-np.inf)
        if whole < len(self):
            tops = np.append(tops, self._source[whole:].max())
        if self._logs:
            tops = np.exp(tops)
        for k, found in self._seen.items():
            tops[k] = found.max()
        return tops


def _entries(p: Probabilities, least: float) -> Iterator[tuple[int, float]]:
    """(index, value) of the entries that are `least` or more."""
    where = (p >= least).nonzero()[0]
    return zip(where.tolist(), p[where].tolist(), strict=True)
