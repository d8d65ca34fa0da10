"""Sums and weights in log space, float64 throughout. -inf is zero; NaN is a bug, and is raised as
one.

>>> round(log_sum_exp([math.log(0.25), math.log(0.5), -math.inf]), 12) == round(math.log(0.75), 12)
True
>>> log_sum_exp([])
-inf
>>> effective_sample_size([0.0, 0.0, -math.inf])
2.0
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fkdsl.base.errors import InternalError

Floats = NDArray[np.float64]


def check_log_weights(log_weights: ArrayLike) -> Floats:
    """The log weights as float64 (n,), in nats. Raises InternalError on NaN or +inf, which no
    potential may give."""
    lw = np.asarray(log_weights, dtype=np.float64)
    if np.isnan(lw).any() or (lw == np.inf).any():
        raise InternalError("a log weight is NaN or +inf")
    return lw


def log_sum_exp(log_weights: ArrayLike) -> float:
    """log sum_i exp(lw_i), in nats; -inf for none."""
    lw = check_log_weights(log_weights)
    if lw.size == 0:
        return -math.inf
    top = float(lw.max())
    if top == -math.inf:
        return -math.inf
    return top + math.log(float(np.exp(lw - top).sum()))


def linear(log_x: float) -> float:
    """exp(log_x), inf where that is beyond a float. For figures that are shown or compared; nothing
    is computed from them."""
    try:
        return math.exp(log_x)
    except OverflowError:
        return math.inf


def normalised(log_weights: ArrayLike) -> Floats:
    """W_i = w_i / sum w, float64 (n,), summing to 1. Raises InternalError when every weight is
    zero."""
    lw = check_log_weights(log_weights)
    total = log_sum_exp(lw)
    if total == -math.inf:
        raise InternalError("weights that are all zero cannot be normalised")
    W = np.exp(lw - total)
    result: Floats = W / W.sum()
    return result


def effective_sample_size(log_weights: ArrayLike) -> float:
    """1 / sum_i W_i^2, between 1 and n; 0 when every weight is zero."""
    lw = check_log_weights(log_weights)
    if lw.size == 0 or lw.max() == -math.inf:
        return 0.0
    W = normalised(lw)
    return float(1.0 / np.square(W).sum())
