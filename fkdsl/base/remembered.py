"""What was made of arrays, remembered by which arrays they are.

>>> both = Remembered(np.logical_and)
>>> a, b = np.array([True, True]), np.array([True, False])
>>> both(a, b) is both(a, b), both(a, b).tolist()
(True, [True, False])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.locks import remember

T = TypeVar("T")
MOST = 128
"""Results that are remembered."""


class Remembered(Generic[T]):
    """A function of arrays that nobody writes to: the same arrays, the same result."""

    def __init__(self, make: Callable[..., T], most: int = MOST) -> None:
        self.make, self.most = make, most
        self._made: dict[tuple[int, ...], tuple[tuple[NDArray[Any], ...], T]] = {}

    def __call__(self, *arrays: NDArray[Any]) -> T:
        key = tuple(map(id, arrays))
        found = self._made.get(key)
        if found is None:  # an id is its array's as long as that is held
            found = remember(self._made, key, (arrays, self.make(*arrays)), self.most)
        return found[1]


joined: Remembered[NDArray[np.bool_]] = Remembered(np.logical_and)
"""What two masks both allow."""
allowed: Remembered[int] = Remembered(lambda mask: int(np.count_nonzero(mask)))
"""How much a mask allows."""
shares: Remembered[NDArray[np.float32]] = Remembered(lambda mask: mask.astype(np.float32))
"""A mask as factors of probabilities, 0 or 1."""
