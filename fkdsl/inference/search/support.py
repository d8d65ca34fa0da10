"""Whether a model has any outcome of positive weight: a depth-first search for one of them.

>>> import numpy as np
>>> class Coin:
...     def initial(self, rngs): return [""] * len(rngs), np.zeros(len(rngs))
...     def step(self, rngs, xp):
...         x = [s + "ht"[rng.choice([0.5, 0.5])] for rng, s in zip(rngs, xp)]
...         return x, np.array([-np.inf if "tt" in s or s == "ht" else 0.0 for s in x])
...     def finished(self, x): return len(x) == 2
...     def value(self, x): return x
...     def key(self, x): return x
...     def describe(self, x): return x
>>> can_live(Coin()), can_live(Coin(), max_states=1)
(True, None)
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.errors import BudgetEnded, CallError, ProgramError
from fkdsl.inference.enumeration import Continuous, EnumeratingRng
from fkdsl.inference.interface import FeynmanKac

S = TypeVar("S")
BATCH = 64
"""States that are stepped together: enough for a batched model, few enough to end soon."""


def can_live(
    model: FeynmanKac[S], max_states: int = 20_000, until: float | None = None
) -> bool | None:
    """Whether Z > 0; every outcome is tried if need be. None if that would take more than
    max_states states, or longer than `until` (on the clock of time.monotonic), or if the program
    cannot be enumerated or fails on the way."""
    rng = EnumeratingRng()
    try:
        (s0,), log_G = model.initial([rng])
        if rng.taken:
            return None
        if log_G[0] == -np.inf:
            return False
        return model.finished(s0) or _search(model, s0, max_states, until)
    except (Continuous, BudgetEnded, CallError, ProgramError):
        return None


def _search(model: FeynmanKac[S], s0: S, max_states: int, until: float | None) -> bool | None:
    """The search from s0 on. Siblings are listed lazily: a vocabulary of them for each token would
    not fit into memory."""
    seen: set[Hashable] = {model.key(s0)}
    todo: list[Iterator[tuple[S, tuple[int, ...]]]] = [iter([(s0, ())])]
    computed = 0
    while todo:
        batch: list[tuple[S, tuple[int, ...]]] = []
        while todo and len(batch) < BATCH:
            following = next(todo[-1], None)
            if following is None:
                todo.pop()
            else:
                batch.append(following)
        computed += len(batch)
        if computed > max_states or (until is not None and time.monotonic() > until):
            return None
        rngs = [EnumeratingRng(prefix) for _, prefix in batch]
        states, log_G = model.step(rngs, [x for x, _ in batch])
        for (xp, prefix), rng in zip(batch, rngs, strict=True):
            todo.append(_siblings(xp, len(prefix), rng))
        for x, g in zip(states, log_G, strict=True):
            if g == -np.inf or (key := model.key(x)) in seen:
                continue
            if model.finished(x):
                return True
            seen.add(key)
            todo.append(iter([(x, ())]))
    return False


def _siblings(xp: S, beyond: int, rng: EnumeratingRng) -> Iterator[tuple[S, tuple[int, ...]]]:
    """The outcomes of the step from xp that remain to be visited after this one."""
    for at in range(len(rng.taken) - 1, beyond - 1, -1):
        for other in range(1, rng.counts[at]):
            yield xp, (*rng.taken[:at], other)
