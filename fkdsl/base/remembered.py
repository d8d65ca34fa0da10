"""Functions of arrays, cached by the identity of the arrays.

>>> both = Remembered(np.logical_and)
>>> a, b = np.array([True, True]), np.array([True, False])
>>> both(a, b) is both(a, b), both(a, b).tolist()
(True, [True, False])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fkdsl.base.arrays import NDArray, np
from fkdsl.base.locks import remember

T = TypeVar("T")
MOST = 128
"""Results that are cached of one function."""


class Remembered(Generic[T]):
    """A function of arrays that nobody writes to: for the same array objects it returns the same
    result object."""

    def __init__(self, make: Callable[..., T], most: int = MOST) -> None:
        self.make, self.most = make, most
        self._results: dict[tuple[int, ...], tuple[tuple[NDArray[Any], ...], T]] = {}

    def __call__(self, *arrays: NDArray[Any]) -> T:
        key = tuple(map(id, arrays))
        entry = self._results.get(key)
        if entry is None:  # the entry keeps its arrays alive, so that no other gets their ids
            entry = remember(self._results, key, (arrays, self.make(*arrays)), self.most)
        return entry[1]


joined: Remembered[NDArray[np.bool_]] = Remembered(lambda a, b: np.logical_and(a, b))
"""The intersection of two masks (n,)."""
allowed: Remembered[int] = Remembered(lambda mask: int(np.count_nonzero(mask)))
"""How many outcomes a mask allows."""
listed: Remembered[NDArray[np.int64]] = Remembered(lambda mask: np.flatnonzero(mask))
"""The indices of the outcomes that a mask allows."""
