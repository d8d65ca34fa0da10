"""Suffix Metropolis-Hastings: moves on paths already drawn, and smc with such moves in it.

A move draws k uniformly from a path's steps 0, ..., T-1, draws the path anew from x_k on by the
model's own kernel, and accepts with probability

    min(1, (prod_{s>k} G'_s / T') / (prod_{s>k} G_s / T)).

1/T is the probability of k, and 1/T' that of the same k on the way back from a path of T' steps.
The move leaves the law of paths unchanged (Hastings 1970; as single-site moves on traces: Wingate,
Stuhlmueller and Goodman 2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import check_log_weights, effective_sample_size, normalised
from fkdsl.base.random import Rng
from fkdsl.inference.interface import FeynmanKac, MoveObserver, Particle, Step
from fkdsl.inference.population import check_steps, initial_step, make_step, offspring
from fkdsl.inference.samplers.paths import Path, completed, extended, may_go_on
from fkdsl.inference.samplers.resampling import RESAMPLING

S = TypeVar("S")


def suffix_moves(
    model: FeynmanKac[S],
    rngs: Sequence[Rng],
    paths: Sequence[Path[S]],
    until: int | None = None,
    power: float = 1.0,
    max_steps: int | None = None,
) -> tuple[list[Path[S]], int]:
    """The paths after one move of each, and how many moves were accepted; all of them go through
    `model.step` together.

    until: None for finished paths, whose law is gamma. For running paths, the step t that they have
    reached: their law is gamma_t over paths that are unfinished at t, and a proposal that has
    finished by then is rejected. power: the law has p(draws)^(power - 1) as a further factor. A
    path without steps stays as it is.
    """
    moving = [i for i, path in enumerate(paths) if path.T > 0]
    starts = {i: rngs[i].split("from").choice(np.ones(paths[i].T) / paths[i].T) for i in moving}
    proposals = completed(
        model,
        [rngs[i] for i in moving],
        [paths[i].upto(starts[i]) for i in moving],
        until,
        partial(check_steps, max_steps=max_steps),
    )
    moved, accepted = list(paths), 0
    for i, new in zip(moving, proposals, strict=True):
        if model.finished(new.last) == model.finished(paths[i].last) and new.log_G[-1] > -math.inf:
            log_a = log_acceptance(paths[i], new, starts[i], power)
            if (
                log_a >= 0.0
                or rngs[i].split("accept").choice([-math.expm1(log_a), math.exp(log_a)]) == 1
            ):
                moved[i], accepted = new, accepted + 1
    return moved, accepted


def log_acceptance(old: Path[S], new: Path[S], k: int, power: float = 1.0) -> float:
    """The log of the acceptance ratio of a move from x_k on, in nats; both paths live."""
    potentials = new.log_G_after(k) - old.log_G_after(k)
    draws = (power - 1.0) * (new.log_p_after(k) - old.log_p_after(k)) if power != 1.0 else 0.0
    return potentials + draws + math.log(old.T) - math.log(new.T)


def due(t: int) -> bool:
    """Whether paths are moved after step t, which they are after 1, 2, 4, 8, ... Moves redraw about
    half of a path, so this costs about as many steps as the run itself."""
    return t > 0 and t & (t - 1) == 0


def path_smc(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int,
    ess: float = 0.5,
    resampling: str = "multinomial",
    moves: int = 0,
    max_steps: int | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[tuple[Step[S], tuple[Path[S], ...]]]:
    """Each step of smc, and its particles' paths; after steps 1, 2, 4, ... every running path is
    moved `moves` times.

    Two rules make the moves keep E[sum_i w_i f(path_i)]. They come after steps that are fixed
    beforehand, and not after each resampling: given that the population was resampled, its
    particles do not follow gamma_t, and a kernel that leaves gamma_t unchanged would change their
    law. And they move running paths only, and leave them running: the run ends when all have
    finished, so a move that finished a path would make the end such an event too. Particles in
    equal states are not merged, since their paths differ.
    """
    N, scheme = particles, RESAMPLING[resampling]
    step = initial_step(model, rng, N, observer)
    paths = tuple(
        Path((x,), (float(w) + math.log(N),))
        for x, w in zip(step.states, step.log_weights, strict=True)
    )
    yield step, paths
    while step.unfinished:
        t, x, lw, A, resampled = step.t + 1, step.particles, step.log_weights, list(range(N)), False
        check_steps(t, max_steps)
        if effective_sample_size(lw) < ess * N:
            A = scheme(rng.split("resample", t), normalised(lw), N)
            x, lw, resampled = offspring(x, A, t), np.full(N, step.log_Z - np.log(N)), True
            paths = tuple(paths[a] for a in A)
        running = [i for i, path in enumerate(paths) if may_go_on(model, path)]
        proposed = moves * len(running) if due(t - 1) else 0
        accepted = 0
        grown = [paths[i] for i in running]
        for m in range(moves if proposed else 0):
            rngs = [rng.split("move", x[i].lineage.hex(), t, m) for i in running]
            grown, n = suffix_moves(model, rngs, grown, until=t - 1)
            accepted += n
        rngs = [rng.split("mutate", x[i].lineage.hex(), t) for i in running]
        grown = extended(model, rngs, grown, lw[running], observer)
        lw, born = np.array(lw), list(x)
        now = list(paths)
        for i, path in zip(running, grown, strict=True):
            now[i], born[i] = path, Particle(path.last, x[i].lineage)
            lw[i] += path.log_G[-1]
        paths = tuple(now)
        step = make_step(model, t, tuple(born), check_log_weights(lw), A, resampled=resampled)
        step = replace(step, proposed=proposed, accepted=accepted)
        yield step, paths
