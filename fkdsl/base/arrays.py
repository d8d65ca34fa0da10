"""numpy, imported when something of it is first used, and the names of its arrays in annotations:
what `fkdsl check` imports computes nothing with arrays, and numpy takes as long as the check.

    from fkdsl.base.arrays import NDArray, np

    Floats = NDArray["np.float64"]      # in quotes: outside annotations it would be looked up
    distinct(values)                    # np.unique, which imports numpy.ma first, for 10 ms

>>> np.zeros(2).tolist()
[0.0, 0.0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fkdsl.base.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
else:
    np = lazy_import("numpy")
    ArrayLike = Any

    class NDArray:
        """What annotations call an array; nothing looks at it when a program runs."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Any


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """The different values of an array, ascending.

    >>> distinct(np.array([3, 1, 3, 2])).tolist(), distinct(np.array([])).tolist()
    ([1, 2, 3], [])
    """
    ascending = np.sort(values, axis=None)
    first = np.append(True, ascending[1:] != ascending[:-1])[: len(ascending)]
    found: NDArray[Any] = ascending[first]
    return found


__all__ = ["ArrayLike", "NDArray", "distinct", "np"]
