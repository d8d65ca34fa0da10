"""Exact inference by enumeration: every state of every step, with its weight.

It goes level by level: all unfinished states are stepped together, once for each outcome of the
step's randomness, so that a language model beneath sees batches. States with equal keys are merged,
and their weights added.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.base.logspace import Floats, check_log_weights, log_sum_exp
from fkdsl.inference.enumeration import Continuous, EnumeratingRng
from fkdsl.inference.interface import FeynmanKac, Level, MoveObserver, Step
from fkdsl.inference.population import check_steps

S = TypeVar("S")
BATCH = 512
"""States that are stepped together."""


def exact(
    model: FeynmanKac[S],
    max_states: int = 1_000_000,
    max_steps: int | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Level[S]]:
    """The levels t = 0, 1, ... until every state is finished; the last one is the posterior, its
    log_Z the log of Z.

    Raises BudgetEnded when more than max_states states have been computed, CallError when the
    program draws from a continuous distribution.
    """
    x, w = start(model, observer)
    done = {model.key(x): (x, w)} if w > -np.inf else {}
    dead = [x] if w == -np.inf else []
    t, computed = 0, 1
    while True:
        level = _level(model, t, done, dead)
        yield level
        if not level.unfinished:
            return
        t += 1
        check_steps(t, max_steps)
        merged: dict[Hashable, tuple[S, float]] = {}
        moving: list[tuple[S, float]] = []
        for x, w in zip(level.states, level.log_weights, strict=True):
            if model.finished(x):
                _add(merged, model.key(x), x, w)
            else:
                moving.append((x, w))
        dead = []
        for x, w in _step_all(model, t, moving, observer):
            computed += 1
            if computed > max_states:
                raise BudgetEnded(
                    f"exact enumeration passed {max_states:,} states at step {t}",
                    "raise --max-states, tighten the conditions, or use smc",
                )
            if w > -np.inf:
                _add(merged, model.key(x), x, w)
            elif len(dead) < BATCH:
                dead.append(x)
        done = merged


def start(model: FeynmanKac[S], observer: MoveObserver[S] | None = None) -> tuple[S, float]:
    """s0 and log G_0. Raises CallError if s0 is drawn at random."""
    rng = EnumeratingRng()
    (x,), log_G = model.initial([rng])
    if rng.taken:
        raise CallError("s0 is drawn at random: exact needs a fixed initial state")
    if observer is not None:
        observer.begin([x])
    return x, float(check_log_weights(log_G)[0])


def no_outcome_left(n: int, t: int, last: Step[S] | Level[S]) -> tuple[str, str]:
    """What is said where every outcome has been seen, and none has positive weight."""
    return (
        "no outcome of this program has positive weight: Z = 0",
        "its conditions contradict each other or the model; leave out one at a time to see which",
    )


def enumerable_step(
    model: FeynmanKac[S], rngs: Sequence[EnumeratingRng], xp: Sequence[S]
) -> tuple[list[S], Floats]:
    """The model's step. Raises CallError if it draws from a continuous distribution, and
    DeadlinePassed once the run's deadline has passed."""
    check_deadline()
    try:
        states, log_G = model.step(rngs, xp)
    except Continuous:
        raise CallError(
            "this program draws from a continuous distribution, which exact cannot enumerate",
            "use smc or importance, or a discrete distribution (uniform_int, geometric, "
            "categorical)",
        ) from None
    return states, check_log_weights(log_G)


def _add(merged: dict[Hashable, tuple[S, float]], key: Hashable, x: S, w: float) -> None:
    first, weight = merged.get(key, (x, -np.inf))
    merged[key] = (first, float(np.logaddexp(weight, w)))


def _level(
    model: FeynmanKac[S], t: int, done: dict[Hashable, tuple[S, float]], dead: Sequence[S]
) -> Level[S]:
    states = tuple(x for x, _ in done.values())
    log_weights = tuple(w for _, w in done.values())
    unfinished = sum(not model.finished(x) for x in states)
    return Level(t, states, log_weights, log_sum_exp(log_weights), unfinished, tuple(dead))


def _step_all(
    model: FeynmanKac[S],
    t: int,
    moving: Sequence[tuple[S, float]],
    observer: MoveObserver[S] | None,
) -> Iterator[tuple[S, float]]:
    """(next state, log weight) for every state and every outcome of its step."""
    todo: list[tuple[S, float, tuple[int, ...]]] = [(x, w, ()) for x, w in reversed(moving)]
    while todo:
        batch = [todo.pop() for _ in range(min(BATCH, len(todo)))]
        rngs = [EnumeratingRng(prefix) for _, _, prefix in batch]
        states, log_G = enumerable_step(model, rngs, [x for x, _, _ in batch])
        if observer is not None:
            log_weights = [
                w + rng.log_probability for (_, w, _), rng in zip(batch, rngs, strict=True)
            ]
            observer.moved(t, [x for x, _, _ in batch], states, log_weights)
        for (x, w, _), rng, state, g in zip(batch, rngs, states, log_G, strict=True):
            yield state, w + rng.log_probability + float(g)
            todo.extend((x, w, prefix) for prefix in rng.siblings())
