"""A model that stops when its time is up, whatever method steps it: `rejection` and `exact` make many model steps
between two that they yield."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from fkdsl.base.errors import BudgetEnded
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng
from fkdsl.inference.interface import Bounded, FeynmanKac

S = TypeVar("S")


class Timed(Generic[S]):
    """The model itself, but `step` raises BudgetEnded once `timeout` seconds have passed. t: the last step reached."""

    def __init__(self, model: FeynmanKac[S], timeout: float | None) -> None:
        self._model, self._timeout = model, timeout
        self._began = time.monotonic()
        self.t = 0
        self._log_bound = model.log_bound if isinstance(model, Bounded) else lambda x: math.inf

    @property
    def over(self) -> bool:
        """Whether the time has passed."""
        return self._timeout is not None and time.monotonic() - self._began > self._timeout

    def initial(self, rngs: Sequence[Rng]) -> tuple[list[S], Floats]:
        return self._model.initial(rngs)

    def step(self, rngs: Sequence[Rng], xp: Sequence[S]) -> tuple[list[S], Floats]:
        if self.over:
            raise BudgetEnded(f"time ran out after {self._timeout:g} s, past step {self.t}\n  = help: raise --timeout")
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


def stop_when(timeout: float | None, max_tokens: int, counts: Callable[[], tuple[int, int]]) -> Callable[[], str]:
    """Why a search is to end now, "" while it is not: its time, or its tokens."""
    began, tokens = time.monotonic(), counts()[1]

    def stop() -> str:
        if timeout is not None and time.monotonic() - began > timeout:
            return f"timeout={timeout:g}"
        return f"max_tokens={max_tokens}" if counts()[1] - tokens >= max_tokens else ""

    return stop
