"""Draws and densities of the beta distribution, for all parameters that floats can hold.

A draw is G_a / (G_a + G_b) for two gamma draws. Below shape 1 a gamma draw is G_{a+1} U^(1/a). Its
power is kept as a logarithm, since at a = 0.001 half of the powers are 0 in floating point. A
density near its peak is a small difference of huge terms, so it is computed from the distance of x
to the mean instead (Loader 2000, "Fast and accurate computation of binomial probabilities").

>>> draw_beta(KeyedRng(7), 1e308, 1.0), log_density(0.25, 1.0, 1.0)
(1.0, 0.0)
>>> log_density(0.0, 1.0, 3.0) == math.log(3.0)
True
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from fkdsl.base.lazy import lazy_import
from fkdsl.base.random import KeyedRng, Rng  # noqa: F401 - KeyedRng is for the example

if TYPE_CHECKING:
    import fractions
    import statistics
    from statistics import NormalDist
else:
    fractions, statistics = lazy_import("fractions"), lazy_import("statistics")

STIRLING_FROM = 10.0
"""From this argument on Stirling's series is exact up to rounding."""
LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_STIRLING = (
    1 / 12,
    -1 / 360,
    1 / 1260,
    -1 / 1680,
    1 / 1188,
    -691 / 360360,
    1 / 156,
    -3617 / 122400,
)


# ----------------------------------------------------------------------- draws


@cache
def _standard_normal() -> NormalDist:
    return statistics.NormalDist()


def draw_beta(rng: Rng, a: float, b: float) -> float:
    """A draw of beta(a, b), rounded to a float. With small parameters most draws round to 0.0 or
    1.0."""
    gamma_a, log_power_a = _gamma(rng, a)
    gamma_b, log_power_b = _gamma(rng, b)
    if log_power_a == log_power_b == 0.0:
        largest = max(gamma_a, gamma_b)
        gamma_a, gamma_b = gamma_a / largest, gamma_b / largest
        return gamma_a / (gamma_a + gamma_b)
    if log_power_a == log_power_b == -math.inf:  # the draw rounds to 0 or 1: which is P = a/(a+b)
        return 1.0 if rng.uniform() * (1.0 + b / a) < 1.0 else 0.0
    log_odds = math.log(gamma_a) - math.log(gamma_b) + log_power_a - log_power_b
    odds = math.exp(-abs(log_odds))
    return 1.0 / (1.0 + odds) if log_odds > 0.0 else odds / (1.0 + odds)


def _gamma(rng: Rng, shape: float) -> tuple[float, float]:
    """(g, l) such that g exp(l) is a draw of gamma(shape, 1); l <= 0, and l = 0 from shape 1 on
    (Marsaglia and Tsang 2000)."""
    if shape < 1.0:
        return _gamma(rng, shape + 1.0)[0], math.log(_positive(rng)) / shape
    d = shape - 1.0 / 3.0
    c = 1.0 / (3.0 * math.sqrt(d))
    while True:
        x = _standard_normal().inv_cdf(_positive(rng))
        t = c * x
        if t > -1.0 and math.log(_positive(rng)) < 0.5 * x * x + d * _exponent(t):
            return d * (1.0 + t) ** 3, 0.0


def _exponent(t: float) -> float:
    """1 - v + log v for v = (1 + t)^3."""
    if abs(t) < 1e-3:  # the terms below t^2 cancel
        return t * t * (-4.5 + t * t * (-0.75 + t * (0.6 - 0.5 * t)))
    return 3.0 * math.log1p(t) - t * (3.0 + t * (3.0 + t))


def _positive(rng: Rng) -> float:
    """A uniform draw that is neither 0 nor 1: the stream gives multiples of 2^-53, 0 included."""
    return float(rng.uniform()) + 2.0**-54


# --------------------------------------------------------------------- density


def log_density(x: float, a: float, b: float) -> float:
    """The log-density of beta(a, b) at x (nats); at 0 and 1 its limit, which may be inf."""
    if not 0.0 <= x <= 1.0:
        return -math.inf
    if x in (0.0, 1.0):
        near, far = (a, b) if x == 0.0 else (b, a)
        return math.inf if near < 1.0 else -math.inf if near > 1.0 else math.log(far)
    log_x, log_rest = math.log(x), math.log1p(-x)
    if min(a, b) >= STIRLING_FROM:
        return _about_the_mean(x, a, b, log_x, log_rest) - log_x - log_rest
    if max(a, b) < STIRLING_FROM:
        norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        return norm + (a - 1.0) * log_x + (b - 1.0) * log_rest
    small, large, share, log_share, log_other = (
        (a, b, x, log_x, log_rest) if a < b else (b, a, 1.0 - x, log_rest, log_x)
    )
    # Gamma(s + l) / Gamma(l) by Stirling's series, whose powers are combined with those of x so
    # that no term is huge.
    norm = stirling_error(small + large) - stirling_error(large) - math.lgamma(small)
    log_ratio = math.log1p(-small / (small + large))
    power = (
        small * (math.log(share) + math.log(small + large)) if share > 0.0 else small * log_share
    )
    return norm - small - (large - 0.5) * log_ratio + power - log_share + (large - 1.0) * log_other


def _about_the_mean(x: float, a: float, b: float, log_x: float, log_rest: float) -> float:
    """log(x (1 - x) density) for large a and b:

        a g(e_a) + b g(e_b) + log sqrt(a b / (2 pi (a + b))) + Stirling's errors

    g(e) = log(1 + e) - e; e_a and e_b are the relative distances of x and 1 - x from their means.
    """
    # In exact arithmetic, since near the mean the distance is a difference of nearly equal numbers.
    exact_a, exact_b = fractions.Fraction(a), fractions.Fraction(b)
    distance = fractions.Fraction(x) * (exact_a + exact_b) - exact_a
    kernel = a * log1p_minus(float(distance / exact_a), log_x + _log_sum_over(a, b))
    kernel += b * log1p_minus(float(-distance / exact_b), log_rest + _log_sum_over(b, a))
    low, high = min(a, b), max(a, b)
    # The logarithm of a b / (a + b), of which a b may be larger than any float.
    log_harmonic = math.log(low) - math.log1p(low / high)
    errors = stirling_error(a + b) - stirling_error(a) - stirling_error(b)
    return kernel + 0.5 * log_harmonic - LOG_SQRT_2PI + errors


def _log_sum_over(a: float, b: float) -> float:
    """log((a + b) / a)."""
    return math.log1p(b / a) if b <= a else math.log(b) - math.log(a) + math.log1p(a / b)


def log1p_minus(e: float, log1p: float) -> float:
    """log(1 + e) - e, which is at most 0. log1p: log(1 + e), computed without e, which near -1 has
    lost its digits."""
    if e < -0.5:
        return log1p - e
    if abs(e) > 0.1:
        return math.log1p(e) - e
    # log((1 + s)/(1 - s)) = 2 (s + s^3/3 + ...) for s = e / (2 + e), and 2 s - e = -s e
    s = e / (2.0 + e)
    total, power, k = 0.0, s * s, 3
    while abs(power) > 1e-18 and k < 60:
        total, power, k = total + power / k, power * s * s, k + 2
    return s * (2.0 * total - e)


def stirling_error(x: float) -> float:
    """log Gamma(x) - ((x - 1/2) log x - x + log sqrt(2 pi)), for x from STIRLING_FROM on."""
    inverse = 1.0 / x
    square, total = inverse * inverse, 0.0
    for term in reversed(_STIRLING):
        total = total * square + term
    return total * inverse
