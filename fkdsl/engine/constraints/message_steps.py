"""Messages of every number of tokens left, of which not all are kept where they are large.

Each is made of the one before: x_0, x_1 = f(x_0), and so on. Small ones are all kept. Of large ones
every STRETCH-th is kept, and all of the last stretch that was asked about, which is made anew when
another is: so draws, which ask for one after the other from the last to the first, have each made
twice. Large ones are kept in float32 without a power of two of each row, and each is made of what
is kept of the one before, so that it is the same however often it is made.

>>> steps = MessageSteps(np.ones((2, 2)), lambda x, l: x / 2, large=1)
>>> float(steps.at(20)[0, 0]) == 0.5**20, sorted(steps.kept)
(True, [0, 8, 16, 17, 18, 19, 20])
>>> float(steps.at(3)[0, 0]), sorted(steps.kept)
(0.125, [0, 1, 2, 3, 8, 16])
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check

Floats = NDArray[np.float64]
Packed = tuple[NDArray[np.float32], NDArray[np.int32]]
LARGE = 1 << 18
"""Numbers in one message from which on not all are kept."""
STRETCH = 8


def kept_numbers(of_one: int, tokens: int) -> int:
    """How many numbers of eight bytes are kept at most of the messages of texts of so many
    tokens, each of so many numbers."""
    if of_one < LARGE:
        return of_one * (tokens + 1)
    return of_one * (tokens // STRETCH + STRETCH + 1) // 2


class MessageSteps:
    """first: x_0. step: of x_{l-1} and l, x_l, all (S, H) within [0, 1]. kept: by l, those that are
    kept."""

    def __init__(
        self, first: Floats, step: Callable[[Floats, int], Floats], large: int = LARGE
    ) -> None:
        self._step, self._all = step, first.size < large
        self.kept: dict[int, Floats | Packed] = {0: first if self._all else packed(first)}
        self._last = 0, first

    def at(self, index: int) -> Floats:
        """x of a number of tokens left."""
        if self._last[0] != index:
            if self._all and (known := self.kept.get(index)) is not None:
                assert not isinstance(known, tuple)
                return known
            begin = max(k for k in self.kept if k <= index)
            x = self._unpacked(begin)
            if begin < index and not self._all:
                self._leave(index - index % STRETCH)
            for made in range(begin + 1, index + 1):
                check()
                x = self._keep(made, self._step(x, made), index)
            self._last = index, x
        return self._last[1]

    def _leave(self, stretch: int) -> None:
        """Drops what is kept between those that are always kept, but for a stretch."""
        for k in [k for k in self.kept if k % STRETCH and not 0 < k - stretch < STRETCH]:
            del self.kept[k]

    def _keep(self, at: int, x: Floats, asked: int) -> Floats:
        """x as it is kept."""
        if self._all:
            self.kept[at] = x
            return x
        small = packed(x)
        if not at % STRETCH or at > asked - asked % STRETCH:
            self.kept[at] = small
        return unpacked(small)

    def _unpacked(self, at: int) -> Floats:
        x = self.kept[at]
        return unpacked(x) if isinstance(x, tuple) else x


def packed(x: Floats) -> Packed:
    """(x without a power of two of each row, these powers)."""
    _, powers = np.frexp(x.max(axis=1))
    return np.ldexp(x, -powers[:, None]).astype(np.float32), powers


def unpacked(small: Packed) -> Floats:
    x, powers = small
    return x.astype(np.float64) * np.ldexp(1.0, powers)[:, None]


def product(x: Floats, factor: Floats) -> Floats:
    """x @ factor (H, H), of a large x in float32, as precise as what is kept."""
    if x.size < LARGE:
        return np.asarray(x @ factor, dtype=np.float64)
    small, powers = packed(x)
    return unpacked((small @ factor.astype(np.float32), powers))
