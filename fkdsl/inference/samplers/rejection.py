"""Rejection sampling: whole runs, accepted with probability G_1 G_2 ... G_T. Exact samples, where
potentials are at most 1.

Z_hat stays unbiased under both ways to stop (Girshick, Mosteller and Savage 1946): (m - 1) / (n -
1) when the m-th acceptance came at attempt n, x / n when n attempts ended with x < m accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from fkdsl.base.errors import CallError
from fkdsl.base.logspace import check_log_weights
from fkdsl.base.random import Rng, derive
from fkdsl.inference.interface import FeynmanKac, Particle, Step
from fkdsl.inference.population import check_steps, make_step, mutate

S = TypeVar("S")
SLACK = 1e-9
"""A log weight above 0 by no more than this is rounding."""


def rejection(
    model: FeynmanKac[S],
    rng: Rng,
    samples: int = 16,
    attempts: int = 10_000,
    batch: int = 64,
    max_steps: int | None = None,
    start: Step[S] | None = None,
) -> Iterator[Step[S]]:
    """One Step, with the accepted particles, each weighing Z_hat / x. start: that step, if it has
    been made already.

    Attempts run in batches, and are looked at in their order: the batch's size changes no answer.
    Raises CallError when a run's potentials multiply to more than 1.
    """
    if start is not None:
        yield start
        return
    if samples < 2 or attempts < 1:
        message = "rejection needs at least two samples (one alone has no unbiased Z but 0 or 1) and one attempt"
        raise CallError(message, "write rejection(samples=16)")
    accepted: list[Particle[S]] = []
    tried, t_last = 0, 0
    while len(accepted) < samples and tried < attempts:
        numbers = range(tried, min(tried + batch, attempts))
        runs, t = _run_batch(model, rng, numbers, max_steps)
        t_last = max(t_last, t)
        for particle, log_G in runs:
            tried += 1
            if log_G > SLACK:
                raise CallError(
                    f"rejection needs potentials of at most 1; one run's multiply to {math.exp(min(log_G, 700)):.3g}",
                    "use smc or importance, or make every `factor` negative",
                )
            accept = (
                rng.split("accept", tried).choice(
                    [-math.expm1(min(log_G, 0.0)), math.exp(min(log_G, 0.0))]
                )
                == 1
            )
            if accept:
                accepted.append(particle)
                if len(accepted) == samples:
                    break
    x = len(accepted)
    Z_hat = _estimate(x, samples, tried)
    lw = np.full(x, math.log(Z_hat / x) if Z_hat > 0.0 else -math.inf)
    yield make_step(model, t_last, tuple(accepted), lw, range(x), resampled=False)


def _estimate(x: int, m: int, n: int) -> float:
    """Z_hat from x acceptances in n attempts, when the m-th ends the run."""
    if x < m:
        return x / n
    return (m - 1) / (n - 1)


def _run_batch(
    model: FeynmanKac[S], rng: Rng, numbers: range, max_steps: int | None
) -> tuple[list[tuple[Particle[S], float]], int]:
    """Independent runs to their ends: (particle, log of the product of its potentials), and the
    steps they took."""
    lineages = [derive(b"attempt", i) for i in numbers]
    states, log_G = model.initial([rng.split("initial", lineage.hex()) for lineage in lineages])
    x = tuple(Particle(s, lineage) for s, lineage in zip(states, lineages, strict=True))
    lw = check_log_weights(log_G)
    t = 0
    while any(w > -np.inf and not model.finished(p.state) for p, w in zip(x, lw, strict=True)):
        t += 1
        check_steps(t, max_steps)
        x, lw = mutate(model, rng, t, x, lw)
    return list(zip(x, map(float, lw), strict=True)), t
