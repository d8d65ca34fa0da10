"""Sequential Monte Carlo transformer steering (Lew et al. 2023, Algorithm 1), with the resampling
rule corrected.

The algorithm box prints alpha with |I_det| in the denominator, which is a misprint
(docs/inference.md). Weights follow the convention Z_hat = sum of the weights, so the box's factors
N/N' do not appear.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng
from fkdsl.inference.interface import FeynmanKac, MoveObserver, Particle, Step
from fkdsl.inference.method import Checks, Count, LoopSettings, Method, Options
from fkdsl.inference.options import MOST, Option
from fkdsl.inference.population import check_steps, child, initial_step, make_step, merge, mutate
from fkdsl.inference.samplers.resampling import optimal_reduction

S = TypeVar("S")


def steer(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 8,
    factor: int = 3,
    max_steps: int | None = None,
    start: Step[S] | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """At most N particles, each unfinished one expanded into K draws of M_t; equal states are
    merged, and the optimal reduction keeps N. start: the step to go on from; None begins."""
    N, K = particles, factor
    step = start if start is not None else initial_step(model, rng, N, observer)
    yield step
    while step.unfinished:
        t = step.t + 1
        check_steps(t, max_steps)
        x, lw, A = expand(model, step, t, N, K)
        x, lw = mutate(model, rng, t, x, lw, observer)
        x, lw, A = merge(model, x, lw, A)
        kept, lw_kept = optimal_reduction(rng.split("resample", t), lw, N)
        # Where nothing lives the dead stay in the population, for the report.
        if kept:
            x, lw, A = tuple(x[j] for j in kept), lw_kept, [A[j] for j in kept]
        step = make_step(model, t, x, lw, A, resampled=True)
        yield step


def expand(
    model: FeynmanKac[S], step: Step[S], t: int, N: int, K: int
) -> tuple[tuple[Particle[S], ...], Floats, list[int]]:
    """K_i copies of each unfinished particle, each with 1/K_i of its weight; one of each finished
    particle; none of a dead one.

    K_i = K in a full population. Where merging has left fewer than N particles, the draws of the
    missing ones go to the others by their weights: without that, a heavy state which many particles
    had reached would be continued only K times.
    """
    x: list[Particle[S]] = []
    lw: list[float] = []
    A: list[int] = []
    spare = (N - step.alive) * K
    for i, (particle, w) in enumerate(zip(step.particles, step.log_weights, strict=True)):
        if w == -np.inf:
            continue
        K_i = (
            1
            if model.finished(particle.state)
            else K + math.floor(spare * math.exp(w - step.log_Z))
        )
        x.extend(child(particle, t, k) for k in range(K_i))
        lw.extend([float(w) - math.log(K_i)] * K_i)
        A.extend([i] * K_i)
    return tuple(x), np.array(lw), A


def _steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return steer(
        model, rng, max_steps=loop.max_steps, start=loop.start, observer=loop.observer, **options
    )


STEER = Method(
    name="steer",
    doc="the paper's Algorithm 1: K draws of each, equal states merged, optimal reduction to N",
    options={
        "particles": Option(8, 1, MOST, doc="size of the population"),
        "factor": Option(3, 1, 1000, doc="draws for each particle"),
    },
    steps=_steps,
    resumes=True,
    takes_drafts=True,
    looks_ahead=True,
    checks=Checks(
        variants={
            "steer": tuple({"particles": n, "factor": k} for n, k in ((2, 2), (3, 2), (3, 3)))
        },
        enumerated={"particles": 2, "factor": 2},
        stepwise=True,
        reduces_after=True,
        bounded=True,
    ),
    count=Count("particles", of_population=True),
)
