"""A model that stops when its time is up, whatever method steps it: `rejection` and `exact` make
many model steps between two that they yield."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from fkdsl.base.deadline import Deadline, check
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng
from fkdsl.inference.interface import Bounded, FeynmanKac

S = TypeVar("S")


class Timed(Generic[S]):
    """The model itself, but `step` raises DeadlinePassed once the current deadline has passed. t:
    the last step reached."""

    def __init__(self, model: FeynmanKac[S]) -> None:
        self._model = model
        self.t = 0
        self._log_bound = model.log_bound if isinstance(model, Bounded) else lambda x: math.inf

    def initial(self, rngs: Sequence[Rng]) -> tuple[list[S], Floats]:
        return self._model.initial(rngs)

    def step(self, rngs: Sequence[Rng], xp: Sequence[S]) -> tuple[list[S], Floats]:
        check()
        return self._model.step(rngs, xp)

    def finished(self, x: S) -> bool:
        return self._model.finished(x)

    def value(self, x: S) -> Any:
        return self._model.value(x)

    def key(self, x: S) -> Hashable:
        return self._model.key(x)

    def log_bound(self, x: S) -> float:
        return self._log_bound(x)

    def describe(self, x: S) -> str:
        return self._model.describe(x)


def stop_when(
    deadline: Deadline, max_tokens: int, counts: Callable[[], tuple[int, int]]
) -> Callable[[], str]:
    """Why a search is to end now, "" while it is not: its time, or its tokens."""
    tokens = counts()[1]

    def stop() -> str:
        if deadline.passed:
            return f"timeout={deadline.seconds or 0.0:g}"
        return f"max_tokens={max_tokens}" if counts()[1] - tokens >= max_tokens else ""

    return stop
