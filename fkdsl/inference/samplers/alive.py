"""The alive particle filter: at each step, draws until N particles live (Del Moral, Jasra, Lee, Yau
and Zhang 2015; with potentials other than 0 and 1, Kudlicka, Murray, Ronquist and Schon 2019).

A trial of step t is an ancestor a ~ w / S and x ~ M_t(x_a, .); it lives if G_t > 0. Let S = sum of
the weights before.

    N + 1 trials live, the last of T: it is dropped; each of the N kept weighs   S / (T - 1) G_t
    `attempts` trials are made, and at most N live: each of these weighs         S / attempts G_t

The two rules together are unbiased. Given which trials live, the states of those that do are
independent draws of one law, so E[sum w f | which] = S E[G f | lives] k / n, where k / n is
N / (T - 1) or (number alive) / attempts. That is the unbiased estimate of the probability of living
when trials end at N + 1 successes or at `attempts` trials, whichever comes first (Girshick,
Mosteller and Savage 1946; `rejection` stops the same way). Dividing by T, or keeping the last one,
is biased.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import Floats, normalised
from fkdsl.base.random import Rng, derive
from fkdsl.inference.interface import FeynmanKac, Level, MoveObserver, Particle, Step
from fkdsl.inference.method import Checks, Count, LoopSettings, Method, Options, no_particle_left
from fkdsl.inference.options import PARTICLES, Option
from fkdsl.inference.population import check_steps, initial_step, make_step, mutate

S = TypeVar("S")
BATCH = 256
"""Trials that run together, at most; more where the population is larger."""


def alive(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 16,
    attempts: int = 10_000,
    batch: int | None = None,
    max_steps: int | None = None,
    start: Step[S] | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """N particles of positive weight after every step; fewer only where `attempts` trials of a step
    ended with fewer.

    A trial from a finished particle lives, in the same state. The trials that died stay in the
    Step, with weight zero, for reports. Trials run in batches (of the given size, or of as many as
    are likely to be needed) and are counted in their order, so the size changes no answer. start:
    the step to go on from, as this function yielded it; None begins.
    """
    step = start if start is not None else initial_step(model, rng, particles, observer)
    yield step
    while step.unfinished:
        t = step.t + 1
        check_steps(t, max_steps)
        x, log_G, A, trials = trials_until(
            model, rng, step, particles + 1, attempts, batch, observer
        )
        step = make_step(model, t, x, step.log_Z - math.log(trials) + log_G, A, resampled=True)
        yield step


def trials_until(
    model: FeynmanKac[S],
    rng: Rng,
    step: Step[S],
    wanted: int,
    attempts: int,
    batch: int | None,
    observer: MoveObserver[S] | None = None,
) -> tuple[tuple[Particle[S], ...], Floats, list[int], int]:
    """Trials from a step until `wanted` of them live (the last one is dropped) or `attempts` have
    been made: the particles, dead ones too, their log G, their ancestors, and how many there
    are."""
    t, W = step.t + 1, normalised(step.log_weights)
    x: list[Particle[S]] = []
    log_G: list[float] = []
    A: list[int] = []
    lived = 0
    while lived < wanted and len(x) < attempts:
        n = min(batch or likely_needed(wanted, lived, len(x)), attempts - len(x))
        numbers = range(len(x), len(x) + n)
        ancestors = [rng.split("ancestor", t, i).choice(W) for i in numbers]
        parents = [step.particles[a] for a in ancestors]
        before = [
            Particle(p.state, derive(p.lineage, t, i))
            for p, i in zip(parents, numbers, strict=True)
        ]
        after, log_G_batch = mutate(model, rng, t, before, np.zeros(n), observer)
        for particle, g, a in zip(after, log_G_batch, ancestors, strict=True):
            lived += bool(g > -np.inf)
            if lived == wanted:
                break
            x.append(particle)
            log_G.append(float(g))
            A.append(a)
    return tuple(x), np.array(log_G), A, len(x)


def likely_needed(wanted: int, lived: int, tried: int) -> int:
    """How many more trials it takes, at the rate so far, until `wanted` live; at most the larger of
    BATCH and `wanted`."""
    return min(max(BATCH, wanted), math.ceil((wanted - lived) * (tried + 1) / (lived + 1)))


def _steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return alive(
        model, rng, max_steps=loop.max_steps, start=loop.start, observer=loop.observer, **options
    )


def _all_died(n: int, t: int, last: Step[S] | Level[S]) -> tuple[str, str]:
    if not n:
        return no_particle_left(n, t, last)
    return (
        f"every particle died: none of {n} draws of step {t} lived",
        "raise the number of attempts, loosen the condition that killed most, or check it earlier "
        "in the text",
    )


ALIVE = Method(
    name="alive",
    doc="at every step, draws until that many particles live",
    options={
        "particles": PARTICLES,
        "attempts": Option(10_000, doc="draws tried at most in a step"),
    },
    steps=_steps,
    resumes=True,
    takes_drafts=True,
    looks_ahead=True,
    checks=Checks(
        variants={"alive": ({"particles": 2, "attempts": 4}, {"particles": 3, "attempts": 40})},
        enumerated={"particles": 1, "attempts": 3},
        stepwise=True,
        bounded=True,
    ),
    count=Count("particles"),
    all_died=_all_died,
)
