"""The laws of inference as assertions, by exact expectation: no luck in them, and no tolerance but rounding.

The measure of a method is E[sum_i w_i 1{x_i = v}] for each value v; unbiased means that it is the model's own,
E_M[prod_t G_t 1{X_T = v}], and then Z_hat = sum_i w_i has expectation Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from fkdsl.base.random import Rng
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.exact import exact
from fkdsl.inference.interface import FeynmanKac, Step
from fkdsl.inference.result import value_key

Measure = Mapping[Hashable, float]
"""Unnormalised mass by value_key(value); it sums to Z."""


def exact_measure(model: FeynmanKac[Any], **options: Any) -> dict[Hashable, float]:
    """The measure that a model denotes over its values, by enumeration."""
    *_, last = exact(model, **options)
    found: dict[Hashable, float] = {}
    for x, w in zip(last.states, last.log_weights, strict=True):
        key = value_key(model.value(x))
        found[key] = found.get(key, 0.0) + math.exp(w)
    return found


def expected_measure(
    model: FeynmanKac[Any], sampler: Callable[[Any], Iterable[Step[Any]]], limit: int = 2_000_000
) -> dict[Hashable, float]:
    """E[sum_i w_i 1{x_i = v}] of a method's last step, over every outcome of its randomness."""
    found: dict[Hashable, float] = {}
    for p, last in enumerate_outcomes(lambda rng: _last(sampler(rng)), limit):
        for particle, w in zip(last.particles, last.log_weights, strict=True):
            if w > -math.inf:
                key = value_key(model.value(particle.state)) if model.finished(particle.state) else "unfinished"
                found[key] = found.get(key, 0.0) + p * math.exp(w)
    return found


def _last(steps: Iterable[Step[Any]]) -> Step[Any]:
    *_, last = steps
    return last


def assert_same_masses(a: Measure, b: Measure, tolerance: float = 1e-10) -> None:
    """Every value has the same mass in both, to `tolerance` times the total."""
    scale = max(1.0, math.fsum(a.values()), math.fsum(b.values()))
    for v in {**a, **b}:
        difference = abs(a.get(v, 0.0) - b.get(v, 0.0))
        assert difference <= tolerance * scale, f"mass of {v}: {a.get(v, 0.0)!r} and {b.get(v, 0.0)!r}"


def assert_unbiased(
    model: FeynmanKac[Any], sampler: Callable[[Rng], Iterable[Step[Any]]], tolerance: float = 1e-10
) -> None:
    """E[Z_hat] = Z and E[sum w f] = Z E[f] for every f, exactly: the sampler is run for every outcome of its draws."""
    assert_same_masses(expected_measure(model, sampler), exact_measure(model), tolerance)


def assert_same_measure(a: FeynmanKac[Any], b: FeynmanKac[Any], tolerance: float = 1e-10) -> None:
    """Two models denote the same measure over their values: the licence of a rewriting."""
    assert_same_masses(exact_measure(a), exact_measure(b), tolerance)
