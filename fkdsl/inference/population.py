"""The parts that the loops share: a first population, one mutation of it, its Step, and the copies
that resampling makes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.base.logspace import Floats, check_log_weights, figures
from fkdsl.base.random import KeyedRng, Rng, StepRng, derive
from fkdsl.inference.interface import FeynmanKac, MoveObserver, Particle, Step

S = TypeVar("S")


def initial_step(
    model: FeynmanKac[S], rng: Rng, N: int, observer: MoveObserver[S] | None = None
) -> Step[S]:
    """Step 0: N particles at s0, each of weight G_0 / N."""
    if N < 1:
        raise CallError(f"a population needs at least one particle, not {N}", "write particles=16")
    lineages = [derive(b"lineage", i) for i in range(N)]
    states, log_G = initial_states(model, rng, lineages, observer)
    particles = tuple(Particle(x, lineage) for x, lineage in zip(states, lineages, strict=True))
    return make_step(
        model, 0, particles, check_log_weights(log_G) - math.log(N), range(N), resampled=False
    )


def initial_states(
    model: FeynmanKac[S],
    rng: Rng,
    lineages: Sequence[bytes],
    observer: MoveObserver[S] | None = None,
) -> tuple[list[S], Floats]:
    """s0 and log G_0 (n,) of each lineage, of which the observer is told."""
    states, log_G = model.initial([rng.split("initial", lineage.hex()) for lineage in lineages])
    if observer is not None:
        observer.begin(states)
    return states, log_G


def make_step(
    model: FeynmanKac[S],
    t: int,
    particles: tuple[Particle[S], ...],
    log_weights: Floats,
    ancestors: Sequence[int],
    *,
    resampled: bool,
) -> Step[S]:
    """The Step with its figures: ESS, log Z, and how many live and are unfinished."""
    lw, ess, log_Z = figures(log_weights)
    alive: list[bool] = (lw > -np.inf).tolist()
    unfinished = sum(
        a and not model.finished(p.state) for a, p in zip(alive, particles, strict=True)
    )
    return Step(
        t,
        particles,
        lw,
        tuple(ancestors),
        resampled,
        ess,
        log_Z,
        unfinished,
        sum(alive),
    )


def mutate(
    model: FeynmanKac[S],
    rng: Rng,
    t: int,
    particles: Sequence[Particle[S]],
    log_weights: Floats,
    observer: MoveObserver[S] | None = None,
) -> tuple[tuple[Particle[S], ...], Floats]:
    """x_t ~ M_t and w *= G_t for every particle that lives and is not finished; the others stay as
    they are. Raises DeadlinePassed once the run's deadline has passed."""
    check_deadline()
    moving = [
        i
        for i, (p, lives) in enumerate(
            zip(particles, (log_weights > -np.inf).tolist(), strict=True)
        )
        if lives and not model.finished(p.state)
    ]
    if not moving:  # resampling may have left the finished ones only
        return tuple(particles), log_weights
    rngs = [stream(rng, particles[i].lineage, t) for i in moving]
    before = [particles[i].state for i in moving]
    states, log_G = model.step(rngs, before)
    if observer is not None:
        observer.moved(t, before, states, log_weights[moving])
    moved, lw = list(particles), np.array(log_weights, dtype=np.float64)
    lw[moving] += check_log_weights(log_G)
    for i, state in zip(moving, states, strict=True):
        moved[i] = Particle(state, particles[i].lineage)
    return tuple(moved), lw


def stream(rng: Rng, lineage: bytes, t: int) -> Rng:
    """The stream that a particle draws from in step t; it can give those of later steps too
    (`base.random.StepRng`), which precomputation uses."""
    name = lineage.hex()
    if not isinstance(rng, KeyedRng):
        return rng.split("mutate", name, t)
    return StepRng(rng, ("mutate", name), t)


def offspring(
    particles: Sequence[Particle[S]], ancestors: Sequence[int], t: int
) -> tuple[Particle[S], ...]:
    """Copies of the ancestors. The first copy of each keeps its lineage, and the others begin
    lineages of their own."""
    copies: dict[int, int] = {}
    born = []
    for a in ancestors:
        copies[a] = copies.get(a, 0) + 1
        born.append(child(particles[a], t, copies[a] - 1))
    return tuple(born)


def child(parent: Particle[S], t: int, copy: int) -> Particle[S]:
    """Copy number `copy` of a particle, made before step t; number 0 is the particle itself."""
    return parent if copy == 0 else Particle(parent.state, derive(parent.lineage, t, copy))


def merge(
    model: FeynmanKac[S], x: tuple[Particle[S], ...], lw: Floats, A: Sequence[int]
) -> tuple[tuple[Particle[S], ...], Floats, list[int]]:
    """The particles with those in equal states merged into one, which has the sum of their weights
    and the lineage of the first that has any; with their log weights and ancestors."""
    first: dict[Hashable, int] = {}
    summed = np.array(lw)
    for i, particle in enumerate(x):
        key = model.key(particle.state)
        j = first.setdefault(key, i)
        if j != i and summed[j] == -np.inf:
            first[key] = i
        elif j != i:
            summed[j] = np.logaddexp(summed[j], summed[i])
    keep = list(first.values())
    return tuple(x[i] for i in keep), summed[keep], [A[i] for i in keep]


def check_steps(t: int, max_steps: int | None) -> None:
    """Raises BudgetEnded when step t is beyond the bound."""
    if max_steps is not None and t > max_steps:
        raise BudgetEnded(
            f"not every particle has returned after {max_steps} steps",
            "bound the program's loops (`lm.tokens < 40`), or raise --max-steps",
        )
