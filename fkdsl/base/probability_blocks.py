"""The probabilities of a vocabulary in blocks with their sums. Most questions about a long row are
answered by the sums and a few blocks, so that the rest of the row is never exponentiated.

    p = ProbabilityBlocks(np.array([...]))         # (n,) probabilities
    p = ProbabilityBlocks.of_logs(log_p, sums)     # (n,) log-probabilities, and their blocks' sums
    p = ProbabilityBlocks.of_masked(log_p, mask)   # (n,) log-probabilities, and which of them count
    p.mass(), p[7], p.descending(0.05)             # the sum; one of them; the likeliest first
    p.draw(rng); p.remove(7)                       # draw an index; set one probability to 0

The slow reference is the array itself, `np.asarray(p)`; a test compares both.

>>> p = ProbabilityBlocks(np.array([0.5, 0.0, 0.2, 0.3]), block=2)
>>> p.remove(0); p.sums.tolist(), np.asarray(p).tolist(), list(p.descending(0.25))
([0.0, 0.5], [0.0, 0.0, 0.2, 0.3], [(3, 0.3), (2, 0.2)])
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from fkdsl.base.arrays import ArrayLike, NDArray, np
from fkdsl.base.remembered import Remembered

Probabilities = NDArray["np.float32"] | NDArray["np.float64"]
Sums = NDArray["np.float64"]
Mask = NDArray["np.bool_"]
BLOCK = 256
"""Probabilities that are summed as one where there are more."""
FEW = 8
"""Up to this many blocks are searched one by one."""
STEP = 4.0
"""`descending` lowers its threshold by this factor from one search to the next."""
SMALLEST = 1e-6
"""The threshold below which `descending` sorts all that remain."""
ROUNDING = 1e-3
"""A block's sum is at least its largest entry, up to this relative rounding error."""
_scratch_arrays = threading.local()


def _in_blocks(mask: Mask) -> NDArray[np.float32]:
    blocks = np.zeros((-(-len(mask) // BLOCK), BLOCK), dtype=np.float32)
    blocks.reshape(-1)[: len(mask)] = mask
    return blocks


share_blocks: Remembered[NDArray[np.float32]] = Remembered(_in_blocks)
"""A mask as float32 (blocks, BLOCK): 1 where it allows, else 0, and 0 behind its end."""
shares: Remembered[NDArray[np.float32]] = Remembered(
    lambda mask: share_blocks(mask).reshape(-1)[: len(mask)]
)
"""A mask as float32 (n,): 1 where it allows, else 0."""


class Chooses(Protocol):
    """The part of a random stream (fkdsl.base.random.Rng) that is used here. It may have `pick`: a
    faster choice, from few probabilities that are known not to be negative."""

    def choice(self, probabilities: ArrayLike) -> int: ...


def likeliest(p: Probabilities, k: int, block: int = BLOCK) -> list[int]:
    """The indices of the k largest of (n,), the largest first, equal ones by their index.

    The k largest lie in k blocks with the largest maxima, so that a long vocabulary is read once
    and never sorted.

    >>> likeliest(np.array([0.1, 0.4, 0.1, 0.3, 0.1]), 3, block=2)
    [1, 3, 0]
    """
    whole = len(p) // block * block
    if whole <= k * block:
        return [int(i) for i in (-p).argsort(kind="stable")[:k]]
    tops = p[:whole].reshape(-1, block).max(axis=1)
    ks = np.sort((-tops).argsort(kind="stable")[:k])
    at = (ks[:, None] * block + np.arange(block)).ravel()
    at = np.concatenate([at, np.arange(whole, len(p))])
    return [int(i) for i in at[(-p[at]).argsort(kind="stable")[:k]]]


def block_sums(p: Probabilities, block: int = BLOCK) -> Sums:
    """(blocks,) float64: the sum of each run of `block` probabilities; the last run may be
    shorter."""
    whole = len(p) // block * block
    sums = np.einsum("ij->i", p[:whole].reshape(-1, block)).astype(np.float64)
    return sums if whole == len(p) else np.append(sums, p[whole:].sum())


def _scratch(like: Probabilities) -> Probabilities:
    """An array to work in, of the shape and dtype of another. Each thread keeps one, since fresh
    memory costs page faults."""
    array: Probabilities | None = getattr(_scratch_arrays, "array", None)
    if array is None or array.shape != like.shape or array.dtype != like.dtype:
        array = _scratch_arrays.array = np.empty_like(like)
    return array


def masked_sums(log_p: Probabilities, mask: Mask, block: int = BLOCK) -> Sums:
    """(blocks,) float64: the sums of exp(log_p) over the outcomes that the mask (n,) allows."""
    factors, p = shares(mask), _scratch(log_p)
    p[:] = log_p  # numpy's exp of an array that is not in the cache takes longer than copy and exp
    np.exp(p, out=p)
    whole = len(p) // block * block
    rows = p[:whole].reshape(-1, block), factors[:whole].reshape(-1, block)
    sums: Sums = np.einsum("ij,ij->i", *rows).astype(np.float64)
    return sums if whole == len(p) else np.append(sums, p[whole:] @ factors[whole:])


class ProbabilityBlocks:
    """(n,) probabilities, not negative, float32 or float64, of which single ones can be set to 0.
    sums: (blocks,) float64.

    The array that it is made from is never written to: a block is copied, or exponentiated, when
    it is first read.
    """

    __slots__ = ("_factors", "_less", "_logs", "_mass", "_seen", "_source", "block", "sums")

    def __init__(self, p: Probabilities, block: int = BLOCK) -> None:
        self._source, self._logs, self.block = p, False, block
        self.sums: Sums = (
            np.array([p.sum()], dtype=np.float64) if len(p) <= block else block_sums(p, block)
        )
        self._seen: dict[int, Probabilities] = {}
        self._mass: float | None = None
        self._factors: Probabilities | None = None
        self._less = 0.0

    @classmethod
    def of_logs(cls, log_p: Probabilities, sums: Sums, block: int = BLOCK) -> ProbabilityBlocks:
        """exp(log_p), log_p in nats. sums: those of its blocks, to rounding; they are copied."""
        blocks = cls.__new__(cls)
        blocks._source, blocks._logs, blocks.block, blocks._factors = log_p, True, block, None
        blocks.sums, blocks._seen, blocks._mass, blocks._less = sums.copy(), {}, None, 0.0
        return blocks

    @classmethod
    def of_masked(
        cls, log_p: Probabilities, mask: Mask, sums: Sums | None = None, block: int = BLOCK
    ) -> ProbabilityBlocks:
        """exp(log_p) where the mask (n,) allows it, zero elsewhere. sums: as `masked_sums` gives
        them. Nobody may write to the mask afterwards."""
        sums = masked_sums(log_p, mask, block) if sums is None else sums
        blocks = cls.of_logs(log_p, sums, block)
        blocks._factors = shares(mask)
        return blocks

    @classmethod
    def of_share(
        cls, log_p: Probabilities, mask: Mask, sums: Sums, whole: float, block: int = BLOCK
    ) -> ProbabilityBlocks:
        """`of_masked`, of which each is divided by `whole`, which is positive."""
        blocks = cls.of_masked(log_p, mask, sums / whole, block)
        blocks._less = math.log(whole)
        return blocks

    def __len__(self) -> int:
        return len(self._source)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """(n,) all of them, as a new array."""
        p = self._exp(self._source) if self._logs else self._source.copy()
        if self._factors is not None:
            p *= self._factors
        for k, part in self._seen.items():
            p[k * self.block : (k + 1) * self.block] = part
        return p if dtype is None else p.astype(dtype, copy=False)

    def of(self, k: int) -> Probabilities:
        """The probabilities of block k, which the caller may not write to."""
        p = self._seen.get(k)
        if p is None:
            at = slice(k * self.block, (k + 1) * self.block)
            part = self._source[at]
            p = self._seen[k] = self._exp(part) if self._logs else part.copy()
            if self._factors is not None:
                p *= self._factors[at]
        return p

    def _exp(self, log_p: Probabilities) -> Probabilities:
        return np.exp(log_p - self._less) if self._less else np.exp(log_p)

    def __getitem__(self, i: int) -> float:
        return float(self.of(i // self.block)[i % self.block])

    def mass(self) -> float:
        """The sum of all of them."""
        if self._mass is None:
            self._mass = float(self.sums.sum())
        return self._mass

    def any(self) -> bool:
        """Whether any of them is positive."""
        return self.mass() > 0.0

    def are_few(self, most: int) -> bool:
        """Whether at most `most` of them are positive."""
        blocks = self.sums.nonzero()[0]
        return (
            len(blocks) <= most
            and sum(int(np.count_nonzero(self.of(k))) for k in blocks.tolist()) <= most
        )

    def remove(self, *taken: int) -> None:
        """Sets the probabilities of these indices to 0."""
        for i in taken:
            self.of(i // self.block)[i % self.block] = 0.0
        for k in {i // self.block for i in taken}:
            self.sums[k] = np.add.reduce(self._seen[k])
        self._mass = None

    def draw(self, rng: Chooses) -> int:
        """An index drawn in proportion to p: first a block, then an index within it."""
        choose: Callable[[Probabilities], int] = getattr(rng, "pick", rng.choice)
        k = choose(self.sums) if len(self.sums) > 1 else 0
        return k * self.block + choose(self.of(k))

    def descending(self, least: float) -> Iterator[tuple[int, float]]:
        """(i, p[i]) of the positive ones, likeliest first, equal ones by their index.

        A vocabulary is too long to be sorted for its first few entries. So each search finds those
        of at least a threshold: `least` > 0 first, then a STEP-th of it, and so on. What is removed
        while the iterator runs may still come, if the search that finds it has been done.
        """
        above = math.inf
        yield from self._between(least, above)
        while least > 0.0:
            above, least = least, least / STEP if least > SMALLEST else 0.0
            yield from self._between(least, above)

    def _between(self, least: float, above: float) -> list[tuple[int, float]]:
        """(i, p[i]) with least <= p[i] < above and p[i] > 0, likeliest first."""
        ks = (self.sums >= least * (1.0 - ROUNDING)).nonzero()[0]
        if len(ks) <= FEW:
            pairs = self._each(ks.tolist(), least, above)
            return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
        p = self._together(ks)
        j, i = ((p >= least) & (p < above) & (p > 0.0)).nonzero()
        values = p[j, i]
        order = (-values).argsort(kind="stable")
        indices = (ks[j] * self.block + i)[order]
        return list(zip(indices.tolist(), values[order].tolist(), strict=True))

    def _each(self, ks: list[int], least: float, above: float) -> Iterator[tuple[int, float]]:
        """`_between` for few blocks, in the order of their indices. The blocks are kept: one of
        them is likely to be drawn from next."""
        for k in ks:
            p = self.of(k)
            for i in (p >= least).nonzero()[0].tolist():
                if 0.0 < (value := p.item(i)) < above:
                    yield k * self.block + i, value

    def _together(self, ks: NDArray[np.int64]) -> Probabilities:
        """(len(ks), block): these blocks, one a row; a shorter last one is padded with zeros."""
        whole = len(self) // self.block
        if not len(ks) or ks[-1] < whole:
            p: Probabilities = self._source[: whole * self.block].reshape(-1, self.block)[ks]
            if self._logs:
                p = self._exp(p)
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
