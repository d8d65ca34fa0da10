"""The discrete particle filter (Fearnhead 1998; Fearnhead and Clifford 2003; the name is that of
Whiteley, Andrieu and Doucet 2010): a step draws nothing where outcomes can be listed. Every outcome
of every particle's draw is a candidate with its exact weight, and the optimal reduction keeps N.

It is `steer` with all outcomes in the place of K draws of each particle. No two particles are
equal, outcomes of large weight are kept for certain, and where all of them fit into the population
nothing is random. Beam search keeps the N heaviest, always, and has no estimate of Z: this is the
unbiased beam.

The reduction is by weight times what an outcome promises (`Fan.guess`), where a surrogate looks
ahead; each that is kept weighs its own weight over the probability of keeping it, so any guess is
exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.logspace import check_log_weights
from fkdsl.base.random import Rng
from fkdsl.inference.interface import Fan, FeynmanKac, ListsOutcomes, MoveObserver, Particle, Step
from fkdsl.inference.method import Checks, Count, LoopSettings, Method, Options
from fkdsl.inference.options import MOST, Option
from fkdsl.inference.population import check_steps, child, initial_step, make_step, merge, stream
from fkdsl.inference.samplers.outcome_reduction import Scored, reduce_outcomes

S = TypeVar("S")


class Child(NamedTuple, Generic[S]):
    """A particle of the next population. parent: its place in this one. fan: of the parent's draw,
    None where the draw is made from the particle's stream, or where it has finished; outcome: the
    one that is taken. log_weight: before the rest of the step, nats."""

    parent: int
    particle: Particle[S]
    fan: Fan[S] | None
    outcome: int
    log_weight: float


def dpf(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 16,
    max_steps: int | None = None,
    start: Step[S] | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """At most N particles after each step, of all outcomes of the draws of those before. start: the
    step to go on from; None begins."""
    step = start if start is not None else initial_step(model, rng, particles, observer)
    yield step
    while step.unfinished:
        t = step.t + 1
        check_steps(t, max_steps)
        check_deadline()
        step = _step(model, rng, step, t, particles, observer)
        yield step


def _step(
    model: FeynmanKac[S],
    rng: Rng,
    step: Step[S],
    t: int,
    N: int,
    observer: MoveObserver[S] | None,
) -> Step[S]:
    """The population after step t. Children with a fan take its outcome, and those without draw."""
    children = _children(model, rng, step, t, N)
    states = [c.particle.state for c in children]
    lw = np.array([c.log_weight for c in children], dtype=np.float64)
    chosen = {i: (c.fan, c.outcome) for i, c in enumerate(children) if c.fan is not None}
    drawing = [i for i, x in enumerate(states) if i not in chosen and not model.finished(x)]
    for moving in (list(chosen), drawing):
        if not moving:
            continue
        rngs = [stream(rng, children[i].particle.lineage, t) for i in moving]
        before = [states[i] for i in moving]
        if moving is drawing:
            after, log_G = model.step(rngs, before)
        else:
            assert isinstance(model, ListsOutcomes)
            after, log_G = model.take(rngs, list(chosen.values()))
        if observer is not None:
            observer.moved(t, before, after, lw[moving])
        lw[moving] += check_log_weights(log_G)
        for i, x in zip(moving, after, strict=True):
            states[i] = x
    moved = tuple(Particle(x, c.particle.lineage) for x, c in zip(states, children, strict=True))
    return make_step(model, t, moved, lw, [c.parent for c in children], resampled=True)


def _children(model: FeynmanKac[S], rng: Rng, step: Step[S], t: int, N: int) -> list[Child[S]]:
    """The particles that make step t: the outcomes that the reduction keeps; finished particles are
    candidates too. One that has no outcome left goes on, to die where its program says."""
    x, lw, A = merge(model, step.particles, step.log_weights, list(range(len(step.particles))))
    alive = [i for i, w in enumerate(lw.tolist()) if w > -math.inf]
    running = [i for i in alive if not model.finished(x[i].state)]
    fans: dict[int, Fan[S] | None] = dict.fromkeys(running)
    if isinstance(model, ListsOutcomes):
        fans.update(zip(running, model.fans([x[i].state for i in running]), strict=True))
    doomed = [i for i in running if (fan := fans[i]) is not None and not fan.p.any()]
    candidates = [i for i in alive if i not in doomed]
    scored = [_scored(fans.get(i), float(lw[i]), i in fans, step, N) for i in candidates]
    children, copies = [], dict.fromkeys(alive, 0)
    for kept in reduce_outcomes(rng.split("resample", t), scored, N):
        i = candidates[kept.particle]
        fan = fans.get(i)
        w = float(lw[i]) + kept.log_factor
        if fan is not None:
            w += math.log(float(fan.p[kept.outcome])) - fan.log_mass
        elif i in fans:
            w -= math.log(len(scored[kept.particle].scores))
        children.append(Child(A[i], child(x[i], t, copies[i]), fan, kept.outcome, w))
        copies[i] += 1
    return children + [Child(A[i], x[i], None, 0, float(lw[i])) for i in doomed]


def _scored(fan: Fan[S] | None, log_weight: float, running: bool, step: Step[S], N: int) -> Scored:
    """What a particle's outcomes are kept by. One whose draw cannot be listed makes as many draws
    as its share of the population's weight gives it."""
    if fan is not None:
        scores = fan.p if fan.guess is None else fan.p * fan.guess
        return Scored(scores, log_weight + fan.log_scale)
    draws = max(1, round(N * math.exp(log_weight - step.log_Z))) if running else 1
    return Scored(np.full(draws, 1.0 / draws), log_weight)


def _steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return dpf(
        model, rng, max_steps=loop.max_steps, start=loop.start, observer=loop.observer, **options
    )


DPF = Method(
    name="dpf",
    doc="every outcome of every draw is a candidate, and N are kept by optimal reduction",
    options={"particles": Option(16, 1, MOST, doc="size of the population")},
    steps=_steps,
    resumes=True,
    looks_ahead=True,
    one_choice=True,
    checks=Checks(
        variants={"dpf": tuple({"particles": n} for n in (2, 3, 4))},
        enumerated={"particles": 2},
        stepwise=True,
        reduces_after=False,
        bounded=True,
    ),
    count=Count("particles", of_population=True),
)
