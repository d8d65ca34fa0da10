"""Probabilities in blocks with their sums: what is asked of a whole vocabulary is asked of the
sums, and of few blocks.

    p = Blocks(np.array([...]))          # (n,) probabilities; or, exponentiated where it is looked at,
    p = Blocks.of_logs(log_p, sums)      # (n,) log-probabilities and the sums of their blocks
    p = Blocks.of_masked(log_p, mask)    # (n,) log-probabilities, and which of them are left
    p.mass(), p[7], p.descending(0.05)   # the sum; one of them; the likeliest first
    p.draw(rng); p.remove(7)             # one drawn; one taken out

The slow reference is the array itself, `np.asarray(p)`; a test holds both together.

>>> p = Blocks(np.array([0.5, 0.0, 0.2, 0.3]), block=2)
>>> p.remove(0); p.sums.tolist(), np.asarray(p).tolist(), list(p.descending(0.25))
([0.0, 0.5], [0.0, 0.0, 0.2, 0.3], [(3, 0.3), (2, 0.2)])
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fkdsl.base.remembered import shares

Probabilities = NDArray[np.float32] | NDArray[np.float64]
Sums = NDArray[np.float64]
Mask = NDArray[np.bool_]
BLOCK = 256
"""Probabilities that are summed as one where there are more."""
FEW = 8
"""Blocks that are looked through one by one."""
STEP = 4.0
"""Likely outcomes are looked for together: those of a probability, then those of this part of it,
and so on."""
SMALLEST = 1e-6
"""The probability below which all that are left are sorted."""
ROUNDING = 1e-3
"""A block's sum is its largest entry or more, but for rounding that is less than this share."""
_at_hand = threading.local()


class Chooses(Protocol):
    """As much of a random stream as is needed here (fkdsl.base.random.Rng). It may have `pick`: a
    choice from few of which it is known that none is negative."""

    def choice(self, probabilities: ArrayLike) -> int: ...


def block_sums(p: Probabilities, block: int = BLOCK) -> Sums:
    """The sums of each `block` probabilities, float64, a last, shorter block among them."""
    whole = len(p) // block * block
    sums = np.einsum("ij->i", p[:whole].reshape(-1, block)).astype(np.float64)
    return sums if whole == len(p) else np.append(sums, p[whole:].sum())


def _scratch(like: Probabilities) -> Probabilities:
    """An array to work in, of the shape and dtype of another: one for each thread, since memory
    that is new is dear."""
    found: Probabilities | None = getattr(_at_hand, "array", None)
    if found is None or found.shape != like.shape or found.dtype != like.dtype:
        found = _at_hand.array = np.empty_like(like)
    return found


def masked_sums(log_p: Probabilities, mask: Mask, block: int = BLOCK) -> Sums:
    """(blocks,) the sums of exp(log_p) where the mask (n,) allows it."""
    factors, p = shares(mask), _scratch(log_p)
    p[:] = log_p  # numpy's exp of what is in no cache takes twice as long as both
    np.exp(p, out=p)
    whole = len(p) // block * block
    found = np.einsum("ij,ij->i", p[:whole].reshape(-1, block), factors[:whole].reshape(-1, block))
    sums: Sums = found.astype(np.float64)
    return sums if whole == len(p) else np.append(sums, p[whole:] @ factors[whole:])


class Blocks:
    """(n,) probabilities, not negative, float32 or float64, that outcomes are taken out of. sums:
    (blocks,) float64.

    The array that it is made of is left as it is: a block is copied, or exponentiated, when it is
    first looked at.
    """

    __slots__ = ("_factors", "_logs", "_mass", "_seen", "_source", "block", "sums")

    def __init__(self, p: Probabilities, block: int = BLOCK) -> None:
        self._source, self._logs, self.block = p, False, block
        self.sums: Sums = (
            np.array([p.sum()], dtype=np.float64) if len(p) <= block else block_sums(p, block)
        )
        self._seen: dict[int, Probabilities] = {}
        self._mass: float | None = None
        self._factors: Probabilities | None = None

    @classmethod
    def of_logs(cls, log_p: Probabilities, sums: Sums, block: int = BLOCK) -> Blocks:
        """exp(log_p), log_p in nats. sums: those of its blocks, to rounding; they are copied."""
        made = cls.__new__(cls)
        made._source, made._logs, made.block, made._factors = log_p, True, block, None
        made.sums, made._seen, made._mass = sums.copy(), {}, None
        return made

    @classmethod
    def of_masked(
        cls, log_p: Probabilities, mask: Mask, sums: Sums | None = None, block: int = BLOCK
    ) -> Blocks:
        """exp(log_p) where the mask (n,) allows it, zero elsewhere. sums: as `masked_sums` gives
        them. The mask is not to be written to."""
        made = cls.of_logs(log_p, masked_sums(log_p, mask, block) if sums is None else sums, block)
        made._factors = shares(mask)
        return made

    def __len__(self) -> int:
        return len(self._source)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, an array of its own."""
        p = np.exp(self._source) if self._logs else self._source.copy()
        if self._factors is not None:
            p *= self._factors
        for k, found in self._seen.items():
            p[k * self.block : (k + 1) * self.block] = found
        return p if dtype is None else p.astype(dtype, copy=False)

    def of(self, k: int) -> Probabilities:
        """Block k, not to be written to."""
        found = self._seen.get(k)
        if found is None:
            at = slice(k * self.block, (k + 1) * self.block)
            part = self._source[at]
            found = self._seen[k] = np.exp(part) if self._logs else part.copy()
            if self._factors is not None:
                found *= self._factors[at]
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
        return (
            len(blocks) <= most
            and sum(int(np.count_nonzero(self.of(k))) for k in blocks.tolist()) <= most
        )

    def remove(self, *taken: int) -> None:
        """Takes them out."""
        for i in taken:
            self.of(i // self.block)[i % self.block] = 0.0
        for k in {i // self.block for i in taken}:
            self.sums[k] = np.add.reduce(self._seen[k])
        self._mass = None

    def draw(self, rng: Chooses) -> int:
        """One drawn, by two choices: of a block, and within it."""
        choose: Callable[[Probabilities], int] = getattr(rng, "pick", rng.choice)
        k = choose(self.sums) if len(self.sums) > 1 else 0
        return k * self.block + choose(self.of(k))

    def descending(self, least: float) -> Iterator[tuple[int, float]]:
        """(i, p[i]) of those that are positive, likeliest first, equal ones in their order, as far
        as they are asked for: a vocabulary is too long to be sorted. They are looked for together
        from `least` > 0 on, then from a STEP-th of that, and so on; of those that are taken out
        meanwhile, the ones looked for already come too."""
        above = math.inf
        yield from self._between(least, above)
        while least > 0.0:
            above, least = least, least / STEP if least > SMALLEST else 0.0
            yield from self._between(least, above)

    def _between(self, least: float, above: float) -> list[tuple[int, float]]:
        """Those of a probability from `least` to below `above`, and positive, likeliest first."""
        ks = (self.sums >= least * (1.0 - ROUNDING)).nonzero()[0]
        if len(ks) <= FEW:
            return sorted(
                self._each(ks.tolist(), least, above), key=lambda found: (-found[1], found[0])
            )
        p = self._together(ks)
        j, i = ((p >= least) & (p < above) & (p > 0.0)).nonzero()
        found = p[j, i]
        order = (-found).argsort(kind="stable")
        return list(
            zip((ks[j] * self.block + i)[order].tolist(), found[order].tolist(), strict=True)
        )

    def _each(self, ks: list[int], least: float, above: float) -> Iterator[tuple[int, float]]:
        """`_between` of few blocks, which are likely to be drawn from too, in their order."""
        for k in ks:
            p = self.of(k)
            for i in (p >= least).nonzero()[0].tolist():
                if 0.0 < (found := p.item(i)) < above:
                    yield k * self.block + i, found

    def _together(self, ks: NDArray[np.int64]) -> Probabilities:
        """(len(ks), block) those blocks; a shorter last one ends in zeros."""
        whole = len(self) // self.block
        if not len(ks) or ks[-1] < whole:
            p: Probabilities = self._source[: whole * self.block].reshape(-1, self.block)[ks]
            if self._logs:
                np.exp(p, out=p)
            if self._factors is not None:
                p *= self._factors[: whole * self.block].reshape(-1, self.block)[ks]
        else:
            p = np.zeros((len(ks), self.block), dtype=self._source.dtype)
            p[:-1] = self._together(ks[:-1])
            p[-1, : len(self) - whole * self.block] = self.of(whole)
        for j, k in enumerate(ks.tolist()):
            if k in self._seen:
                p[j, : len(self._seen[k])] = self._seen[k]
        return p
