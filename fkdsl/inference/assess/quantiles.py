"""Quantiles of weighted values, with standard errors.

>>> quantile([3.0, 1.0, 2.0], [0.2, 0.5, 0.3], 0.5), quantile([3.0, 1.0, 2.0], [0.2, 0.5, 0.3], 0.9)
(1.0, 3.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fkdsl.base.logspace import Floats

ROUNDING = 1e-12
"""A sum of weights that is below a level by no more than this counts as having reached it."""


def quantile(y: ArrayLike, w: ArrayLike, level: float) -> float:
    """inf {x : F(x) >= level}, F(x) = sum_i w_i 1{y_i <= x}; y, w (n,), the w summing to 1."""
    values, weights = np.asarray(y, dtype=np.float64), np.asarray(w, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    F = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(F, level - ROUNDING)), len(F) - 1)])


def quantile_se(
    y: ArrayLike, w: ArrayLike, level: float, mean_se: Callable[[Floats], float | None]
) -> float | None:
    """Half the distance between the quantiles at level - s and level + s, where s is the standard
    error of F at the quantile (Woodruff 1952). mean_se: gives the error of the mean of any f (n,).
    None where that is None."""
    values = np.asarray(y, dtype=np.float64)
    s = mean_se((values <= quantile(y, w, level)).astype(np.float64))
    if s is None:
        return None
    return 0.5 * (quantile(y, w, min(1.0, level + s)) - quantile(y, w, max(0.0, level - s)))


def quantile_interval(
    y: ArrayLike,
    w: ArrayLike,
    level: float,
    mean_interval: Callable[[Floats], tuple[float, float] | None],
) -> tuple[float, float] | None:
    """The quantiles at the ends of an interval for F at the quantile, centred at `level` (Woodruff
    1952). mean_interval: gives the interval of the mean of any f (n,). None where that is None. An
    end is infinite where its level is beyond 0 or 1: the draws do not say."""
    values = np.asarray(y, dtype=np.float64)
    at_most = (values <= quantile(y, w, level)).astype(np.float64)
    interval = mean_interval(at_most)
    if interval is None:
        return None
    F = float(np.asarray(w, dtype=np.float64) @ at_most)
    low, high = level - (interval[1] - F), level + (F - interval[0])
    return (
        quantile(y, w, low) if low > 0.0 else -math.inf,
        quantile(y, w, high) if high < 1.0 else math.inf,
    )
