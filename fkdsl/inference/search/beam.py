"""Beam search: it keeps the `width` heaviest outcomes of each level, and draws nothing.

The mass of the finished states is a lower bound on Z; with the mass that was dropped it is an upper
one, where no potential is above 1. It is no estimate of Z: a beam keeps what is heavy early.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.logspace import log_sum_exp
from fkdsl.inference.assess.uncertainty import Certain, FixedEstimator
from fkdsl.inference.interface import FeynmanKac, Level, MoveObserver, Step
from fkdsl.inference.method import Count, Method
from fkdsl.inference.options import MOST, Option
from fkdsl.inference.population import check_steps
from fkdsl.inference.search.enclosed import upper_bound
from fkdsl.inference.search.exact import no_outcome_left, start
from fkdsl.inference.search.frontier import BATCH, Child, Explored, Frontier

S = TypeVar("S")
TRIED = 64
"""The most outcomes that a level makes for each state that it keeps: many may die."""


def beam(
    model: FeynmanKac[S],
    width: int = 8,
    max_steps: int | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Explored[S]]:
    """The levels t = 0, 1, ... until every state is finished; finished states stay in later levels.

    Of all outcomes of a level's steps, finished ones too, the `width` first by `Frontier.rank` are
    kept, equal states as one. Where many die, a level makes up to TRIED * width outcomes. Raises
    CallError if the program draws from a continuous distribution.
    """
    x, w = start(model, observer)
    finished: dict[Hashable, Child[S]] = {}
    moving, dead = [Child(x, 0, w)], []
    if w == -math.inf:
        moving, dead = [], [x]
    log_dropped, t, computed = -math.inf, 0, 1
    while True:
        for child in moving:
            if model.finished(child.x):
                _merge(finished, model.key(child.x), child)
        moving = [child for child in moving if not model.finished(child.x)]
        kept = (*finished.values(), *moving)
        weights = tuple(child.log_weight for child in kept)
        states = tuple(child.x for child in kept)
        yield Explored(
            t,
            states,
            weights,
            log_sum_exp(weights),
            len(moving),
            tuple(dead),
            log_dropped,
            computed,
        )
        if not moving:
            return
        t += 1
        check_steps(t, max_steps)
        moving, dead, n, log_passed = _level(model, moving, width, observer)
        computed, log_dropped = computed + n, float(np.logaddexp(log_dropped, log_passed))


def _level(
    model: FeynmanKac[S], moving: list[Child[S]], width: int, observer: MoveObserver[S] | None
) -> tuple[list[Child[S]], list[S], int, float]:
    """The `width` heaviest states after a step, some of those that died, how many states were
    computed, and the log of an upper bound on the mass dropped."""
    frontier: Frontier[S] = Frontier(model, observer)
    for child in moving:
        frontier.add(child)
    living: dict[Hashable, Child[S]] = {}
    dead: list[S] = []
    computed, last = 0, -math.inf
    while computed < TRIED * width and (tasks := frontier.pop(min(BATCH, width), last)):
        computed += len(tasks)
        for child in frontier.step(tasks):
            if child.log_weight > -math.inf:
                _merge(living, model.key(child.x), child)
            elif len(dead) < BATCH:
                dead.append(child.x)
        if len(living) >= width:
            last = heapq.nlargest(
                width, (frontier.rank(c.x, c.log_weight) for c in living.values())
            )[-1]
    first = sorted(living.values(), key=lambda c: -frontier.rank(c.x, c.log_weight))
    return first[:width], dead, computed, frontier.log_open(first[width:])


def _merge(children: dict[Hashable, Child[S]], key: Hashable, child: Child[S]) -> None:
    """Adds a child; an equal state that is there already takes its weight."""
    same = children.get(key)
    if same is not None:
        child = Child(same.x, child.t, float(np.logaddexp(same.log_weight, child.log_weight)))
    children[key] = child


def _all_died(n: int, t: int, last: Step[S] | Level[S]) -> tuple[str, str]:
    if isinstance(last, Explored) and last.log_open > -math.inf:
        return (
            f"every state that the beam kept has died; {upper_bound(last)}",
            "widen the beam, or use smc or exact",
        )
    return no_outcome_left(n, t, last)


BEAM = Method(
    name="beam",
    doc="the `width` heaviest outcomes of each level; draws nothing, covers part of Z, no estimate "
    "of it",
    options={"width": Option(8, 1, MOST, doc="states kept at each level")},
    steps=lambda model, rng, options, loop: beam(
        model, max_steps=loop.max_steps, observer=loop.observer, **options
    ),
    log_z="bound",
    draws=False,
    error=lambda model, options, merge: FixedEstimator(Certain()),
    one_choice=True,
    count=Count("width", of_population=True),
    all_died=_all_died,
)
