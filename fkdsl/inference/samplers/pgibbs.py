"""Particle Gibbs: conditional SMC around a reference path (Andrieu, Doucet and Holenstein 2010),
with ancestor sampling (Lindsten, Jordan and Schoen 2014).

A sweep is a run of smc in which the first particle follows the reference path, whatever its weight;
one of its N paths, drawn by their weights, is the next reference. That is a kernel P on paths which
leaves their law unchanged. The first reference is a path of an ordinary run of smc, drawn by its
weights. So E[Z_hat f(path)] = gamma(f) at the start, and after each sweep,

    E[ Z_hat sum_i W_i f(path_i) ] = gamma(P ... P f) = gamma(f),

with W_i the sweep's own weights. Answers are means over the sweeps; Z_hat stays that of the first
run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import Floats, effective_sample_size, log_sum_exp, normalised
from fkdsl.base.random import Rng, derive
from fkdsl.inference.interface import FeynmanKac, MoveObserver, Particle, Step
from fkdsl.inference.method import Checks, Count, LoopSettings, Method, Options
from fkdsl.inference.options import ESS, MOST, Option
from fkdsl.inference.population import check_steps, initial_states, make_step
from fkdsl.inference.samplers.moves import path_smc
from fkdsl.inference.samplers.paths import Path, extended, grafted, may_go_on

S = TypeVar("S")


def pgibbs(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 16,
    sweeps: int = 20,
    ancestors: bool = True,
    ess: float = 0.5,
    max_steps: int | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """The steps of smc, then one after each sweep: the finished particles of all sweeps so far,
    each of weight Z_hat W_i / (number of sweeps). A sweep counts as a move, which is accepted if
    the next reference is another path."""
    initial_run = path_smc(model, rng, particles, ess, max_steps=max_steps, observer=observer)
    for begun, begun_paths in initial_run:
        yield begun
        step, paths = begun, begun_paths
    if step.log_Z == -math.inf:
        return
    log_Z, t = step.log_Z, step.t
    reference = paths[rng.split("reference").choice(normalised(step.log_weights))]
    old: list[Particle[S]] = []
    log_W: list[float] = []
    for s in range(1, sweeps + 1):
        streams = rng.split("sweep", s)
        sweep, lw = conditional_smc(
            model, streams, reference, particles, ess, ancestors, max_steps, observer
        )
        chosen = sweep[rng.split("reference", s).choice(normalised(lw))]
        live = [i for i, w in enumerate(lw) if w > -math.inf]
        A = [*range(len(old)), *[0] * len(live)]
        old += [Particle(sweep[i].last, derive(b"sweep", s, i)) for i in live]
        log_W += [float(lw[i]) - log_sum_exp(lw) for i in live]
        weights = np.array(log_W) + log_Z - math.log(s)
        step = make_step(model, t + s, tuple(old), weights, A, resampled=False)
        yield replace(step, proposed=1, accepted=int(chosen != reference))
        reference = chosen


def conditional_smc(
    model: FeynmanKac[S],
    rng: Rng,
    reference: Path[S],
    N: int,
    ess: float = 0.5,
    ancestors: bool = True,
    max_steps: int | None = None,
    observer: MoveObserver[S] | None = None,
) -> tuple[list[Path[S]], Floats]:
    """N paths, the first of which is the reference, or ends as the reference does, and their log
    weights (N,), nats.

    The others are resampled (multinomial) where ESS < ess * N. With `ancestors` the reference gets
    a new past there: that of any particle from which the reference's further draws are possible.
    """
    lineages = [derive(b"lineage", i) for i in range(1, N)]
    states, log_G0 = initial_states(model, rng, lineages, observer)
    paths = [
        reference.upto(0),
        *(Path((x,), (float(g),)) for x, g in zip(states, log_G0, strict=True)),
    ]
    lw = np.array([path.log_G[0] for path in paths]) - math.log(N)
    t = 0
    while any(may_go_on(model, path) for path in paths):
        t += 1
        check_steps(t, max_steps)
        if effective_sample_size(lw) < ess * N:
            W = normalised(lw)
            A = [0, *(rng.split("resample", t, i).choice(W) for i in range(1, N))]
            if ancestors and t <= reference.T:
                grafts, log_w = past(model, paths, lw, reference, t - 1)
                A[0] = rng.split("ancestor", t).choice(normalised(log_w))
                reference = grafts[A[0]] or reference
            paths, lw = [paths[a] for a in A], np.full(N, log_sum_exp(lw) - math.log(N))
        moving = [i for i in range(1, N) if may_go_on(model, paths[i])]
        rngs = [rng.split("mutate", t, i) for i in moving]
        grown = extended(model, rngs, [paths[i] for i in moving], lw[moving], observer)
        for i, path in zip(moving, grown, strict=True):
            paths[i], lw[i] = path, lw[i] + path.log_G[-1]
        if t <= reference.T:
            paths[0], lw[0] = reference.upto(t), lw[0] + reference.log_G[t]
    return paths, lw


def past(
    model: FeynmanKac[S], paths: Sequence[Path[S]], lw: Floats, reference: Path[S], t: int
) -> tuple[list[Path[S] | None], Floats]:
    """Each path continued by the reference's draws after step t, and the log weight, in nats, with
    which it is the reference's past:

        w_t(i) gamma(path_i and these draws) / gamma_t(path_i).

    This is the form for models without the Markov property (Lindsten et al. 2014, section 5): the
    draws are a program's, and what they lead to depends on all that went before. -inf where the
    draws are impossible.
    """
    grafts = [reference, *grafted(model, paths[1:], reference, t)]
    log_w = np.array(
        [
            -math.inf if g is None else w + g.log_M_after(t) + g.log_G_after(t)
            for g, w in zip(grafts, lw, strict=True)
        ]
    )
    return grafts, log_w


def _steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return pgibbs(model, rng, max_steps=loop.max_steps, observer=loop.observer, **options)


PGIBBS = Method(
    name="pgibbs",
    doc="smc, then sweeps of conditional SMC around one of its paths",
    options={
        "particles": Option(16, 2, MOST, doc="size of the population"),
        "sweeps": Option(20, 1, MOST, doc="sweeps of conditional SMC"),
        "ancestors": Option(
            True, doc="whether the past of the reference is drawn anew: true or false"
        ),
        "ess": ESS,
    },
    steps=_steps,
    moves_paths=lambda options: True,
    looks_ahead=True,
    one_choice=True,
    checks=Checks(
        variants={"pgibbs": tuple({"particles": n, "sweeps": 2} for n in (2, 3))},
        enumerated={"particles": 2, "sweeps": 1},
        bounded=True,
    ),
    count=Count("sweeps", of_population=True),
)
