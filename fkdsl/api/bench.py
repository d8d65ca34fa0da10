"""Runs that can be compared: each begins with empty caches, on models that are loaded once, and is
reported with its tokens and time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.request import RunRequest
from fkdsl.api.run import run
from fkdsl.base.errors import FkdslError, PopulationDied
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.result import Result

ComparisonObserver = Callable[[str, Any, int], None]
"""Called after every step of every run and pilot with a title of the run, the Step or Level, and
the run's tokens so far."""


@dataclass(frozen=True)
class Run:
    """What a run came to.

    result: None where it ended without one; then `error` says why. population: particles of the
    last step, dead ones included. tokens: forwarded by the models.
    """

    result: Result | None
    error: FkdslError | None
    population: int
    tokens: int
    seconds: float

    @property
    def log_z(self) -> float:
        return self.result.log_z if self.result is not None else -math.inf


@dataclass(frozen=True)
class Bench:
    """The program and the loaded models that the runs share."""

    program: CalledProgram
    engines: Engines
    max_steps: int | None
    watch: ComparisonObserver | None

    def run(
        self,
        method: str,
        seed: int,
        title: str,
        options: dict[str, Any],
        tolerated: tuple[type[FkdslError], ...] = (PopulationDied,),
    ) -> Run:
        """A run from empty caches, or the tolerated error that ended it."""
        engines = self.engines.fresh()
        population = 0

        def observe(step: Any) -> None:
            nonlocal population
            population = len(step.states)
            if self.watch is not None:
                self.watch(title, step, engines.counts()[1])

        began = time.monotonic()
        result, failure = None, None
        try:
            request = RunRequest.of(
                self.program, method, options, engines=engines, seed=seed, max_steps=self.max_steps
            )
            result = run(request, observe)
        except tolerated as error:
            failure = error
        return Run(result, failure, population, engines.counts()[1], time.monotonic() - began)
