"""Sequential Monte Carlo with adaptive resampling (Del Moral, Doucet and Jasra 2006), and
importance sampling.

Z_hat = sum of the weights is unbiased for Z, and sum_i w_i f(x_i) for Z E[f], at every step and for
every N.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from fkdsl.base.errors import InternalError
from fkdsl.base.logspace import effective_sample_size, normalised
from fkdsl.base.random import Rng
from fkdsl.inference.interface import FeynmanKac, Step
from fkdsl.inference.population import check_steps, initial_step, make_step, mutate, offspring
from fkdsl.inference.population import merge as merged
from fkdsl.inference.samplers.moves import path_smc
from fkdsl.inference.samplers.resampling import RESAMPLING

S = TypeVar("S")


def smc(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 16,
    ess: float = 0.5,
    resampling: str = "multinomial",
    moves: int = 0,
    max_steps: int | None = None,
    merge: bool = True,
    start: Step[S] | None = None,
) -> Iterator[Step[S]]:
    """N particles, resampled before a step when their ESS falls below ess * N.

    After resampling each of the N particles weighs (sum of the weights) / N, so Z_hat is kept on
    every path. With `merge`, particles in equal states stand for resampling as one with the sum of
    their weights. moves: suffix moves of each running particle after steps 1, 2, 4, ...
    (fkdsl.inference.samplers.moves); with them there is no merging, and no `start` either: a step
    does not say what paths led to it. start: the step to go on from, as this function yielded it;
    None begins.
    """
    if moves:
        if start is not None:
            raise InternalError("smc with moves goes on from no step")
        yield from (
            step for step, _ in path_smc(model, rng, particles, ess, resampling, moves, max_steps)
        )
        return
    N, scheme = particles, RESAMPLING[resampling]
    step = start if start is not None else initial_step(model, rng, N)
    yield step
    while step.unfinished:
        t, x, lw, A, resampled = step.t + 1, step.particles, step.log_weights, list(range(N)), False
        check_steps(t, max_steps)
        if effective_sample_size(lw) < ess * N:
            if merge:
                x, lw, A = merged(model, x, lw, A)
            chosen = scheme(rng.split("resample", t), normalised(lw), N)
            A = [A[j] for j in chosen]
            x, lw, resampled = offspring(x, chosen, t), np.full(N, step.log_Z - np.log(N)), True
        x, lw = mutate(model, rng, t, x, lw)
        step = make_step(model, t, x, lw, A, resampled=resampled)
        yield step


def importance(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 64,
    max_steps: int | None = None,
    start: Step[S] | None = None,
) -> Iterator[Step[S]]:
    """N independent weighted runs: smc that never resamples."""
    return smc(model, rng, particles, ess=0.0, max_steps=max_steps, start=start)
