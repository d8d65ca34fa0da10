"""What is still to come, exactly: h(x) = E_M[ prod_{s>t} G_s f(X_T) | X_t = x ] for every state of
a small model.

With it a method can be checked step by step. If its steps keep Z_hat unbiased, a population (x_i,
w_i) has

    E[ sum_i w_i^t h(x_i^t) | step t-1 ] = sum_i w_i^{t-1} h(x_i^{t-1}),

so that the quotient of the two has mean 1 at every step, whatever came before. A wrong factor then
shows at its own step, also where the product of all factors is tiny. (h is the twisting function of
Guarniero, Johansen and Lee 2017, here used for checking.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Generic, TypeVar

import numpy as np

from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.enumeration import EnumeratingRng
from fkdsl.inference.interface import FeynmanKac, Step
from fkdsl.inference.population import check_steps
from fkdsl.inference.search.exact import BATCH, enumerable_step, start

S = TypeVar("S")
SLACK = 1e-9

FAR = 300.0
"""The largest absolute value, in nats, that the log-potentials of a path may sum to: h is kept as
numbers, not as logarithms."""


@dataclass(frozen=True)
class LookAhead(Generic[S]):
    """What is still to come from each state.

    h: (k,) for each state of positive mass, by its key; of a finished state, f of its value.
    ceilings: by t, (k,) the largest G_t h of step t, or h of a state that stays finished. With
    total weight W before step t, sum_i w_i h(x_i) is at most W ceilings[t] after it, in a method
    that resamples before a step without changing the total; of t = 0 it is Z E[f]. high_ceilings:
    the same with max G_t times max h, for a method that resamples after the step.
    """

    model: FeynmanKac[S]
    h: Mapping[Hashable, Floats]
    ceilings: tuple[Floats, ...]
    high_ceilings: tuple[Floats, ...]

    def total(self, step: Step[S]) -> Floats | None:
        """sum_i w_i h(x_i), (k,); None if the step has a state that is not among those of positive
        mass."""
        total = np.zeros_like(self.ceilings[0])
        for x, lw in zip(step.states, step.log_weights, strict=True):
            if lw > -math.inf:
                h = self.h.get(self.model.key(x))
                if h is None:
                    return None
                total = total + math.exp(lw) * h
        return total

    def quotients(
        self, steps: Sequence[Step[S]], after: bool = False
    ) -> Iterator[tuple[Floats, Floats]]:
        """For each step its quotient and the quotient's bound, (k,) each; 0 / 0 is 1, with bound 1.
        Stops at a state that is not among those of positive mass. after: whether the method
        resamples after a step."""
        before, W = self.total_of_start, 1.0
        ceilings = self.high_ceilings if after else self.ceilings
        for step in steps:
            now = self.total(step)
            if now is None:
                return
            most = np.maximum(W * ceilings[step.t], before if step.t == 0 else 0.0)
            possible = before > 0.0
            divisor = np.where(possible, before, 1.0)
            yield (
                np.where(possible, now / divisor, np.where(now > 0.0, math.inf, 1.0)),
                np.where(possible, most / divisor, 1.0),
            )
            before, W = now, math.exp(step.log_Z)

    @property
    def total_of_start(self) -> Floats:
        """Z E[f], (k,)."""
        return self.ceilings[0]


@dataclass
class _Level(Generic[S]):
    """The states of a step. moves: by the key of an unfinished state, (mass p G, ceiling of G, key
    of the next state) of each outcome of its step. finished: the values of the finished ones, by
    key."""

    moves: dict[Hashable, list[tuple[float, float, Hashable]]] = field(default_factory=dict)
    finished: dict[Hashable, Any] = field(default_factory=dict)


def look_ahead(
    model: FeynmanKac[S],
    functions: Callable[[Any], Floats],
    k: int,
    ceiling: Callable[[S], float],
    max_states: int,
    max_steps: int | None = None,
) -> LookAhead[S] | None:
    """The LookAhead of a model; None where there is too much to enumerate.

    functions: gives f(value), (k,), each in [0, 1]. ceiling: an upper bound on log G of the step
    that led to a state, for every kernel that a method may draw by.
    """
    try:
        first, levels = _forward(model, ceiling, max_states, max_steps)
    except (BudgetEnded, CallError):
        return None
    h: dict[Hashable, Floats] = {}
    for level in levels:
        h.update((key, functions(value)) for key, value in level.finished.items())
    G_0, key_0 = first
    ceilings: list[Floats] = []
    high_ceilings: list[Floats] = []
    for level in reversed(levels):
        highest, top, best = np.zeros(k), 0.0, np.zeros(k)
        for key, moves in level.moves.items():
            h[key] = sum((mass * h[to] for mass, _, to in moves), np.zeros(k))
            for _, most, to in moves:
                highest, top, best = (
                    np.maximum(highest, most * h[to]),
                    max(top, most),
                    np.maximum(best, h[to]),
                )
        for key in level.finished:
            highest, top, best = (
                np.maximum(highest, h[key]),
                max(top, 1.0),
                np.maximum(best, h[key]),
            )
        ceilings.append(highest)
        high_ceilings.append(top * best)
    z = G_0 * h[key_0] if key_0 is not None else np.zeros(k)
    return LookAhead(model, h, (z, *reversed(ceilings)), (z, *reversed(high_ceilings)))


def _forward(
    model: FeynmanKac[S], ceiling: Callable[[S], float], max_states: int, max_steps: int | None
) -> tuple[tuple[float, Hashable | None], list[_Level[S]]]:
    """G_0 with the key of s0 (None if it weighs 0), and the levels t = 0, 1, ..."""
    x_0, log_G_0 = start(model)
    if FAR < abs(log_G_0) < math.inf:
        raise BudgetEnded("potentials too large or too small to go on with as numbers")
    here: dict[Hashable, S] = {model.key(x_0): x_0} if log_G_0 > -math.inf else {}
    first = next(iter(here), None)
    levels: list[_Level[S]] = []
    t = computed = 0
    reach = abs(log_G_0) if here else 0.0
    while here:
        level: _Level[S] = _Level()
        after: dict[Hashable, S] = {}
        moving = {key: x for key, x in here.items() if not model.finished(x)}
        level.finished = {key: model.value(x) for key, x in here.items() if model.finished(x)}
        level.moves = {key: [] for key in moving}
        t += 1
        if moving:
            check_steps(t, max_steps)
        farthest = 0.0
        for key, p, x, g in _outcomes(model, moving):
            computed += 1
            if computed > max_states:
                raise BudgetEnded("too many states to look ahead from")
            if g > -math.inf:
                farthest = max(farthest, abs(g), abs(ceiling(x)))
                if reach + farthest > FAR:
                    raise BudgetEnded("potentials too large or too small to go on with as numbers")
                to = model.key(x)
                after.setdefault(to, x)
                level.moves[key].append((p * math.exp(g), math.exp(ceiling(x)), to))
        levels.append(level)
        reach += farthest
        here = {**after, **{key: here[key] for key in level.finished}} if moving else {}
    return (math.exp(log_G_0), first), levels


def _outcomes(
    model: FeynmanKac[S], moving: Mapping[Hashable, S]
) -> Iterator[tuple[Hashable, float, S, float]]:
    """(key, probability, next state, log G) for every state and every outcome of its step."""
    todo: list[tuple[Hashable, S, tuple[int, ...]]] = [(key, x, ()) for key, x in moving.items()]
    while todo:
        batch, todo = todo[-BATCH:], todo[:-BATCH]
        rngs = [EnumeratingRng(prefix) for _, _, prefix in batch]
        states, log_G = enumerable_step(model, rngs, [x for _, x, _ in batch])
        for (key, x, _), rng, state, g in zip(batch, rngs, states, log_G, strict=True):
            yield key, rng.probability, state, float(g)
            todo.extend((key, x, prefix) for prefix in rng.siblings())
