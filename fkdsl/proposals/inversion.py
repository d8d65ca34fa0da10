"""Draws by inversion of a population's running sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.logspace import Floats


def inverse(p: Floats, running: Floats, u: Floats) -> NDArray[np.intp]:
    """(n,) in each row of p (n, m) the first index at which the running sums exceed u (n,); the
    last positive entry if rounding keeps them below it."""
    indices: NDArray[np.intp] = np.count_nonzero(running <= u[:, None], axis=1)
    last = p.shape[1] - 1
    beyond = (indices > last) | (p[np.arange(len(p)), np.minimum(indices, last)] <= 0.0)
    for j in beyond.nonzero()[0].tolist():
        indices[j] = p[j].nonzero()[0][-1]
    return indices
