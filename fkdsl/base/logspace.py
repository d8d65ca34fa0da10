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

from fkdsl.base.arrays import ArrayLike, NDArray, np
from fkdsl.base.errors import InternalError

Floats = NDArray["np.float64"]


def check_log_weights(log_weights: ArrayLike) -> Floats:
    """The log weights as float64 (n,), in nats. Raises InternalError on NaN or +inf, which no
    potential may give."""
    return _checked(log_weights)[0]


def _checked(log_weights: ArrayLike) -> tuple[Floats, float]:
    """The log weights, and the largest of them; -inf for none."""
    lw = np.asarray(log_weights, dtype=np.float64)
    if lw.size == 0:
        return lw, -math.inf
    top = float(np.maximum.reduce(lw, axis=None))  # NaN if any of them is
    if not top < math.inf:
        raise InternalError("a log weight is NaN or +inf")
    return lw, top


def log_sum_exp(log_weights: ArrayLike) -> float:
    """log sum_i exp(lw_i), in nats; -inf for none."""
    return _log_sum_exp(*_checked(log_weights))


def _log_sum_exp(lw: Floats, top: float) -> float:
    if top == -math.inf:
        return -math.inf
    if lw.size == 1:  # what the sum below comes to, to the last bit
        return top
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
    lw, top = _checked(log_weights)
    return _normalised(lw, _log_sum_exp(lw, top))


def _normalised(lw: Floats, total: float) -> Floats:
    if total == -math.inf:
        raise InternalError("weights that are all zero cannot be normalised")
    W = np.exp(lw - total)
    result: Floats = W / W.sum()
    return result


def effective_sample_size(log_weights: ArrayLike) -> float:
    """1 / sum_i W_i^2, between 1 and n; 0 when every weight is zero."""
    lw, top = _checked(log_weights)
    return _effective_sample_size(lw, _log_sum_exp(lw, top))


def _effective_sample_size(lw: Floats, total: float) -> float:
    if total == -math.inf:
        return 0.0
    if lw.size == 1:
        return 1.0
    return float(1.0 / np.square(_normalised(lw, total)).sum())


def figures(log_weights: ArrayLike) -> tuple[Floats, float, float]:
    """(`check_log_weights`, `effective_sample_size`, `log_sum_exp`) of the log weights."""
    lw, top = _checked(log_weights)
    total = _log_sum_exp(lw, top)
    return lw, _effective_sample_size(lw, total), total
