"""Tempering: whole runs weighed by a power of the probability of their draws, by an SMC sampler
(Del Moral, Doucet and Jasra 2006).

The target is normalised over whole paths, and not token by token as `lm ** b` is:

    gamma_b(path) = p(draws)^b prod_t G_t,   p(draws) = prod of the draws' probabilities,
    Z_b = sum of gamma_b over all paths.

A run of smc gives gamma_1. Then b goes from 1 to `power` in equal steps. Each of them weighs by
p^(step), resamples where that has made the weights uneven, and moves every path by suffix
Metropolis-Hastings, with proposals at power 1:

    log a = (b - 1) (log p' - log p) + log G' - log G + log T - log T'.

E[sum_i w_i f(x_i)] = sum over paths of gamma_b f, at every step and for every N, because the moves
come after every temperature, whatever the weights are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import effective_sample_size, normalised
from fkdsl.base.random import Rng
from fkdsl.inference.interface import FeynmanKac, MoveObserver, Particle, Step
from fkdsl.inference.method import Checks, LoopSettings, Method, Options
from fkdsl.inference.options import ESS, PARTICLES, Option
from fkdsl.inference.population import make_step, offspring
from fkdsl.inference.samplers.moves import path_smc, suffix_moves
from fkdsl.inference.samplers.resampling import RESAMPLING

S = TypeVar("S")


def tempered(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 16,
    power: float = 2.0,
    temperatures: int = 8,
    moves: int = 1,
    ess: float = 0.5,
    max_steps: int | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """The steps of smc, then one for each temperature.

    p is the probability of a draw as the model gives it to its stream: of a guided draw, with M' G'
    = p e, that is the p of the program as it is written. Continuous draws keep their law at every
    power.
    """
    N = particles
    for smc_step, smc_paths in path_smc(model, rng, N, ess, max_steps=max_steps, observer=observer):
        yield smc_step
        step, paths = smc_step, smc_paths
    delta = (power - 1.0) / temperatures
    for j in range(1, temperatures + 1):
        if step.log_Z == -math.inf:
            return
        t, b, x, A, resampled = step.t + 1, 1.0 + j * delta, step.particles, list(range(N)), False
        lw = np.array(
            [
                w + delta * path.log_p_after(0)
                for w, path in zip(step.log_weights, paths, strict=True)
            ]
        )
        if effective_sample_size(lw) < ess * N:
            A = RESAMPLING["multinomial"](rng.split("resample", t), normalised(lw), N)
            x, resampled = offspring(x, A, t), True
            lw, paths = np.full(N, np.logaddexp.reduce(lw) - np.log(N)), tuple(paths[a] for a in A)
        live = [i for i, w in enumerate(lw) if w > -math.inf]
        moved, accepted = [paths[i] for i in live], 0
        for m in range(moves):
            rngs = [rng.split("move", x[i].lineage.hex(), t, m) for i in live]
            moved, n = suffix_moves(model, rngs, moved, power=b, max_steps=max_steps)
            accepted += n
        now, born = list(paths), list(x)
        for i, path in zip(live, moved, strict=True):
            now[i], born[i] = path, Particle(path.last, x[i].lineage)
        paths = tuple(now)
        step = make_step(model, t, tuple(born), lw, A, resampled=resampled)
        step = replace(step, proposed=moves * len(live), accepted=accepted)
        yield step


def _steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return tempered(model, rng, max_steps=loop.max_steps, observer=loop.observer, **options)


def _target(options: Options) -> str:
    """That the answer is about another law than the program's, where it is."""
    power = options["power"]
    if power == 1.0:
        return ""
    return f"posterior, queries and log Z are those of p ** {power:g}, not of the program's own law"


TEMPERED = Method(
    name="tempered",
    doc="whole runs by a power of their probability: another target",
    options={
        "particles": PARTICLES,
        "power": Option(
            2.0, 0.01, 1000, doc="power that the probability of a run's draws is raised to"
        ),
        "temperatures": Option(8, 1, 10_000, doc="equal steps from power 1 to it"),
        "moves": Option(1, 0, 1000, doc="moves of each path after each of them"),
        "ess": ESS,
    },
    steps=_steps,
    moves_paths=lambda options: bool(options.get("moves")),
    one_choice=True,
    checks=Checks(
        # At power 1 its target is the program's own.
        variants={
            "tempered": tuple(
                {"particles": n, "power": 1.0, "temperatures": 2, "ess": 1.0} for n in (2, 3)
            )
        },
        enumerated={"particles": 1, "power": 1.0, "temperatures": 1, "moves": 1},
        bounded=True,
    ),
    note=_target,
)
