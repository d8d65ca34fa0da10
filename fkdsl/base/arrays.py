"""numpy, imported when something of it is first used, and the names of its arrays in annotations:
what `fkdsl check` imports computes nothing with arrays, and numpy takes as long as the check.

    from fkdsl.base.arrays import NDArray, np

    Floats = NDArray["np.float64"]      # in quotes: outside annotations it would be looked up

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


__all__ = ["ArrayLike", "NDArray", "np"]
