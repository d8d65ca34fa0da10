"""Random streams: randomness is an argument, and a draw is named by its key.

A sampler draws only through `Rng`: `choice` of an index, `uniform` in [0, 1), and `split` by a key.
`KeyedRng` makes each draw a function of (seed, key path, count), so the same seed gives the same
answer at any batch size, cache size or order of evaluation. The enumerating stream of
`fkdsl.inference.enumeration` implements the same three methods and visits every outcome instead.

>>> rng = KeyedRng(7)
>>> a, b = rng.split("mutate", 3), rng.split("mutate", 3)
>>> a.uniform() == b.uniform(), a.uniform() == KeyedRng(7).split("mutate", 4).uniform()
(True, False)
>>> KeyedRng(7).choice([0.0, 1.0])
1
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Protocol

from fkdsl.base.arrays import ArrayLike, NDArray, np
from fkdsl.base.errors import InternalError
from fkdsl.base.probability_blocks import BLOCK, Probabilities, ProbabilityBlocks

Key = int | str
FEW = 8
"""Numbers that numpy adds up one after the other; more, it adds in several sums at once."""


class Rng(Protocol):
    """A stream of random draws. Samplers use nothing else."""

    def choice(self, probabilities: ArrayLike) -> int:
        """An index drawn with the given (n,) probabilities (scaled to sum to 1); never one of
        probability zero."""
        ...

    def uniform(self) -> float:
        """A number drawn uniformly from [0, 1).

        Use it by + - * with numbers and by comparison only where enumeration should reach: the
        enumerating stream returns an object that splits where a comparison's outcome changes.
        """
        ...

    def split(self, *key: Key) -> Rng:
        """The stream of that name below this one. Equal keys give equal streams; drawing from one
        changes no other."""
        ...


class WeightedRng:
    """A stream that visits outcomes instead of drawing them. It may split p into a probability and
    a weight as it likes."""

    def weighted(self, p: Probabilities, mass: float) -> tuple[int, float]:
        """(i, log w), as the function `weighted` below promises."""
        raise NotImplementedError


class LabelledRng:
    """A stream that identifies outcomes by labels: one that records them, or replays a record."""

    def labelled(self, p: Probabilities, labels: NDArray[np.int64]) -> int:
        """`choice` among the outcomes with these labels (n,)."""
        raise NotImplementedError


def weighted(
    rng: Rng,
    p: Probabilities | ProbabilityBlocks,
    mass: float,
    labels: NDArray[np.int64] | None = None,
) -> tuple[int, float]:
    """(i, log w) with E[w 1{i = v}] = p[v] for every v: a properly weighted draw from p (n,), whose
    sum is `mass`. w is at most 1: a mass that rounding brought above 1 is cut off.

    A stream that draws chooses by p / mass and weighs `mass`; one that visits outcomes may give
    each its own mass. labels: (n,) what identifies the outcomes where these are not 0, 1, ...: a
    replayed draw has the recorded label.

    >>> i, log_w = weighted(KeyedRng(7), np.array([0.0, 0.25]), 0.25)
    >>> i, log_w == math.log(0.25)
    (1, True)
    """
    if isinstance(rng, WeightedRng):
        return rng.weighted(np.asarray(p), mass)
    i = (
        rng.labelled(np.asarray(p), labels)
        if labels is not None and isinstance(rng, LabelledRng)
        else rng.choice(p)
    )
    return i, min(0.0, math.log(mass))


def derive(key: bytes, *parts: Key) -> bytes:
    """A 16-byte key below `key`, a pure function of its arguments; types and lengths are part of
    it."""
    return blake2b(key + b"".join(map(_encoded, parts)), digest_size=16).digest()


@lru_cache(maxsize=4096)
def _encoded(part: Key) -> bytes:
    raw = part.to_bytes(16, "little", signed=True) if isinstance(part, int) else part.encode()
    return (b"i" if isinstance(part, int) else b"s") + len(raw).to_bytes(4, "little") + raw


def check_probabilities(probabilities: ArrayLike) -> Probabilities:
    """Probabilities as float64 or float32 (n,), not negative, with a positive finite sum; else
    InternalError."""
    p = np.asarray(probabilities)
    if p.dtype != np.float32:
        p = p.astype(np.float64, copy=False)
    total = float(p.sum())
    if p.ndim != 1 or not math.isfinite(total) or total <= 0.0 or p.min() < 0.0:
        raise InternalError(
            f"a choice needs probabilities with a positive, finite sum, not {total} over {p.shape}"
        )
    return p


def check_total(sums: NDArray[np.float64]) -> float:
    """The last of running sums, if it is positive and finite; else InternalError."""
    total: float = sums.item(-1)
    if not 0.0 < total < math.inf:
        raise InternalError(
            "a choice needs probabilities with a positive, finite sum, "
            f"not {total} over {sums.shape}"
        )
    return total


class KeyedRng:
    """A stream whose k-th draw is a pure function of (seed, key path, k)."""

    __slots__ = ("_count", "key")

    def __init__(self, seed: int | None = None, key: bytes | None = None) -> None:
        self.key = key if key is not None else derive(b"fkdsl", seed or 0)
        self._count = 0

    def uniform(self) -> float:
        draw = blake2b(self.key + self._count.to_bytes(8, "little"), digest_size=8).digest()
        self._count += 1
        return (int.from_bytes(draw, "little") >> 11) * 2.0**-53

    def peek(self) -> float:
        """What `uniform` gives next, which stays to be drawn."""
        drawn = self.uniform()
        self._count -= 1
        return drawn

    def choice(self, probabilities: ArrayLike) -> int:
        if isinstance(probabilities, ProbabilityBlocks):
            return self._of_blocks(probabilities)
        if type(probabilities) is np.ndarray and 0 < probabilities.size < FEW:
            return self._of_few(probabilities)
        p = check_probabilities(probabilities)
        return self._of_blocks(ProbabilityBlocks(p)) if len(p) > BLOCK else self.pick(p)

    def pick(self, p: Probabilities) -> int:
        """`choice` from few probabilities, which the caller knows not to be negative."""
        sums = p.cumsum(dtype=np.float64)
        return first_above(p, sums, self.uniform() * check_total(sums))

    def _of_few(self, p: Probabilities) -> int:
        """`choice` by numbers instead of arrays, which add up so few in the same order."""
        values = check_probabilities(p).tolist() if p.ndim != 1 else p.tolist()
        sums = list(accumulate(values, initial=0.0))
        if not 0.0 < sums[-1] < math.inf or min(values) < 0.0:
            check_probabilities(p)  # which raises
        i = bisect_right(sums, self.uniform() * sums[-1]) - 1
        return i if i < len(values) else max(i for i, x in enumerate(values) if x > 0.0)

    def _of_blocks(self, p: ProbabilityBlocks) -> int:
        """A draw by inversion. A vocabulary is long, so only the block that the draw falls into is
        summed entry by entry."""
        sums = p.sums.cumsum()
        u = self.uniform() * check_total(sums)
        k = first_above(p.sums, sums, u)
        block = p.of(k)
        within = u - float(sums[k] - p.sums[k])
        return k * p.block + first_above(block, block.cumsum(dtype=np.float64), within)

    def split(self, *key: Key) -> KeyedRng:
        return KeyedRng(key=derive(self.key, *key))


class StepRng:
    """The stream of a particle's step, `of.split(*name, t)`, from which a model that precomputes
    later steps can get their streams too, as long as the particle keeps its lineage. It is made
    when something is drawn from it.

    >>> rng = StepRng(KeyedRng(7), ("mutate",), 3)
    >>> rng.later(2).uniform() == KeyedRng(7).split("mutate", 5).uniform()
    True
    """

    __slots__ = ("_name", "_of", "_stream", "_t")

    def __init__(self, of: KeyedRng, name: tuple[Key, ...], t: int) -> None:
        self._of, self._name, self._t = of, name, t
        self._stream: KeyedRng | None = None

    @property
    def key(self) -> bytes:
        """The key of its own step's stream: of a lineage and a step."""
        return self._rng.key if self._stream is not None else self._derived()

    def _derived(self) -> bytes:
        return derive(self._of.key, *self._name, self._t)

    @property
    def _rng(self) -> KeyedRng:
        if self._stream is None:
            self._stream = KeyedRng(key=self._derived())
        return self._stream

    def later(self, steps: int) -> StepRng:
        """The particle's stream so many steps on."""
        return StepRng(self._of, self._name, self._t + steps)

    def uniform(self) -> float:
        return self._rng.uniform()

    def choice(self, probabilities: ArrayLike) -> int:
        return self._rng.choice(probabilities)

    def split(self, *key: Key) -> Rng:
        return self._rng.split(*key)


class Undrawn:
    """The stream of a particle whose draws are listed, and not made."""

    def choice(self, probabilities: ArrayLike) -> int:
        raise InternalError("a draw that is to be listed was made")

    def uniform(self) -> float:
        raise InternalError("a draw that is to be listed was made")

    def split(self, *key: Key) -> Undrawn:
        return self


def first_uniforms(streams: Sequence[StepRng], *key: Key) -> NDArray[np.float64]:
    """(n,) what `stream.split(*key).uniform()` gives for each of the streams.

    >>> streams = [StepRng(KeyedRng(7), ("a",), t) for t in (1, 2)]
    >>> float(first_uniforms(streams, 5, 0)[1]) == streams[1].split(5, 0).uniform()
    True
    """
    parts, zero = b"".join(map(_encoded, key)), bytes(8)
    draws = [
        blake2b(blake2b(stream.key + parts, digest_size=16).digest() + zero, digest_size=8).digest()
        for stream in streams
    ]
    if len(draws) < FEW:
        return np.array([(int.from_bytes(draw, "little") >> 11) * 2.0**-53 for draw in draws])
    whole = np.frombuffer(b"".join(draws), dtype="<u8") >> np.uint64(11)
    return whole.astype(np.float64) * 2.0**-53


def first_above(p: Probabilities, sums: NDArray[np.float64], u: float) -> int:
    """The first index at which the running sums of p exceed u; the last positive entry if rounding
    keeps them below it."""
    index = int(sums.searchsorted(u, side="right"))
    return index if index < len(p) and p.item(index) > 0.0 else int(p.nonzero()[0][-1])
