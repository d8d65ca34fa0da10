"""The law of whole paths, by enumeration, and the assertion that a move leaves it unchanged.

assert_stationary(exact_paths(model), lambda rng, path: my_move(model, rng, path))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import EnumeratingRng, enumerate_outcomes
from fkdsl.inference.interface import FeynmanKac
from fkdsl.inference.samplers.paths import Path, completed
from fkdsl.testing.laws import assert_same_masses


def exact_paths(
    model: FeynmanKac[Any], until: int | None = None, limit: int = 100_000
) -> list[tuple[Path[Any], float]]:
    """Every path of positive mass, to its end or to step `until`, with its mass: its probability
    times its potentials."""

    def run(rng: EnumeratingRng) -> Path[Any]:
        states, log_G = model.initial([rng])
        return completed(model, [rng], [Path((states[0],), (float(log_G[0]),))], until)[0]

    paths = [
        (path, p * math.exp(math.fsum(path.log_G))) for p, path in enumerate_outcomes(run, limit)
    ]
    return [(path, mass) for path, mass in paths if mass > 0.0]


def path_measure(
    model: FeynmanKac[Any], power: float = 1.0, **options: Any
) -> dict[Hashable, float]:
    """The mass of each value where a path has the mass p(draws)^power prod G: the measure of
    `tempered`."""
    masses: dict[Hashable, float] = {}
    for path, mass in exact_paths(model, **options):
        key = value_key(model.value(path.last))
        masses[key] = masses.get(key, 0.0) + mass * math.exp((power - 1.0) * path.log_p_after(0))
    return masses


def assert_stationary(
    paths: Iterable[tuple[Path[Any], float]],
    kernel: Callable[[Any, Path[Any]], Path[Any]],
    tolerance: float = 1e-10,
) -> None:
    """Asserts that kernel(rng, path) leaves the law of the paths, given with their masses,
    unchanged."""
    before: dict[Hashable, float] = {}
    after: dict[Hashable, float] = {}
    for path, mass in paths:
        before[path_key(path)] = before.get(path_key(path), 0.0) + mass
        for p, moved in enumerate_outcomes(lambda rng, path=path: kernel(rng, path)):  # type: ignore[misc]
            after[path_key(moved)] = after.get(path_key(moved), 0.0) + mass * p
    assert_same_masses(before, after, tolerance, ("before", "after"))


def path_key(path: Path[Any]) -> Hashable:
    """A key that is equal for paths of equal draws and potentials."""
    return tuple(d.outcomes for d in path.draws), tuple(round(g, 9) for g in path.log_G)
