"""Runs a method on a model to its end: takes the steps of each island, watches the clock, and makes
the Result.

>>> import numpy as np
>>> class Coin:
...     def initial(self, rngs): return [None] * len(rngs), np.zeros(len(rngs))
...     def step(self, rngs, xp): return [rng.choice([0.5, 0.5]) for rng in rngs], np.zeros(len(xp))
...     def finished(self, x): return x is not None
...     def value(self, x): return x
...     def key(self, x): return x
...     def describe(self, x): return str(x)
>>> run(Coin(), "exact").probability(1)
0.5
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import field
from typing import Any, Generic, TypeVar

import numpy as np

from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, Interrupted
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.inference.assess.genealogy import PairErrors
from fkdsl.inference.assess.uncertainty import FixedEstimator, Islands, Uncertainty, Unknown
from fkdsl.inference.deaths import merged_deaths, population_died
from fkdsl.inference.exchange import Exchange
from fkdsl.inference.interface import FeynmanKac, Level, MoveObserver, Step
from fkdsl.inference.island_runner import IslandRunner, IslandTask, LocalIslands, own_options
from fkdsl.inference.islands import IslandHistory, accepted_moves, check_exchange, check_islands
from fkdsl.inference.method import LoopSettings, MethodCall
from fkdsl.inference.methods import called
from fkdsl.inference.result import Result, final_ess, merged_answers, weighted_values
from fkdsl.inference.search.enclosed import check_any_finished, enclosed
from fkdsl.inference.search.frontier import Explored
from fkdsl.inference.unfinished import Unfinished

S = TypeVar("S")
Observer = Callable[[Any], None]
"""Called with each Step (or, for exact, each Level) as it comes. It cannot change a draw."""
RunnerOf = Callable[[int, int], IslandRunner[S]]
"""What computes the islands of a seed, of so many (fkdsl.inference.island_runner)."""
Counts = Callable[[], tuple[int, int]]
"""(model calls, forwarded tokens) so far."""
ONE_ISLAND = "one island alone has no standard error here: --islands 8"
GRACE = 0.5
"""Seconds that a search which has bounds on Z may take to end the step that it is in."""


def steps_of(
    model: FeynmanKac[S],
    rng: Rng,
    method: str | MethodCall,
    options: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    merge: bool = True,
    start: Step[S] | None = None,
    stop: Callable[[], str] | None = None,
) -> Iterator[Step[S]] | Iterator[Level[S]]:
    """The method's steps. method: by name with its options, or a call that has them. The other
    arguments are those of LoopSettings. Raises CallError for an unknown method or option."""
    call = called(method, options)
    loop = LoopSettings(max_steps, merge, start, stop)
    return call.method.steps(model, rng, own_options(call.options), loop)


def run(
    model: FeynmanKac[S],
    method: str | MethodCall = "smc",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    *,
    program: str = "",
    observer: Observer | None = None,
    timeout: float | Deadline | None = None,
    max_steps: int | None = None,
    filtering: bool = False,
    merge: bool = True,
    islands: int = 1,
    partial: bool = False,
    resume: Mapping[int, Sequence[Step[S]]] | None = None,
    lazy: bool = False,
    counts: Counts = lambda: (0, 0),
    account: MoveObserver[S] | None = None,
    runner: RunnerOf[S] | None = None,
    exchange: int | None = None,
    spent: Spent | None = None,
) -> Result:
    """The Result of a method on a model.

    method: by name with its options, or a call that has them. timeout: seconds, or a Deadline,
    which another thread may cancel. merge: whether smc resamples equal particles as one. islands:
    independent populations of the method's size, whose mean is Z_hat. partial: whether the islands
    that have ended make the answer when time runs out. resume: the steps that each island has
    behind it, from step 0 on; it goes on from there as if it had never stopped. lazy: exact takes
    the heaviest outcomes first, and has bounds on Z where something ends it. counts: (model calls,
    forwarded tokens) so far. account: is told of every move. runner: gives what computes the
    islands, in this process where it is None; the answer is the same. exchange: after every so
    many steps whole islands may be resampled (fkdsl.inference.exchange). spent: counts from before
    the run, where more than the run belongs to it. Raises PopulationDied with a report when every
    particle's weight is zero, BudgetEnded when time, steps or states end the run, and Interrupted
    at Ctrl-C: with the population so far.
    """
    call = called(method, options)
    check_islands(call.method, islands)
    check_exchange(call, islands, exchange)
    spent = spent if spent is not None else Spent(counts)
    deadline = Deadline.of(timeout)
    stop = stop_when(deadline, call.options["max_tokens"], counts) if lazy else None
    loop = LoopSettings[S](max_steps, merge, None, stop, account)
    going = _Run(
        model, call, seed, islands, program, spent,
        runner(seed, islands) if runner is not None
        else LocalIslands(model, call, seed, islands, loop),
        merge=merge, filtering=filtering, observer=observer,
        resume=(resume or {}) if call.resumes else {},
        exchange=Exchange(seed, islands, exchange) if exchange is not None else None,
    )  # fmt: skip
    with until(deadline.later(GRACE) if lazy else deadline):
        going.run_islands(deadline, partial)
    return going.result()


class Spent:
    """What a run has taken since it began: seconds, model calls and forwarded tokens."""

    def __init__(self, counts: Counts) -> None:
        self._counts, self._before, self._began = counts, counts(), time.monotonic()

    def facts(self) -> dict[str, Any]:
        """So far, by the names of Result's fields."""
        calls, tokens = self._counts()
        return {
            "seconds": time.monotonic() - self._began,
            "model_calls": calls - self._before[0],
            "forwarded_tokens": tokens - self._before[1],
        }


def stop_when(deadline: Deadline, max_tokens: int, counts: Counts) -> Callable[[], str]:
    """Gives the reason why a search is to end now, its time or its tokens; "" while it is not."""
    tokens = counts()[1]

    def stop() -> str:
        if deadline.passed:
            return f"timeout={deadline.seconds or 0.0:g}"
        return f"max_tokens={max_tokens}" if counts()[1] - tokens >= max_tokens else ""

    return stop


@dataclass
class _Run(Generic[S]):
    """A run as it goes on. histories: of the islands that have begun, by index. over: the islands
    that have come to their end. t: the last step reached. The other fields are those of `run`."""

    model: FeynmanKac[S]
    call: MethodCall
    seed: int
    islands: int
    program: str
    spent: Spent
    runner: IslandRunner[S]
    merge: bool
    filtering: bool
    observer: Observer | None
    resume: Mapping[int, Sequence[Step[S]]]
    exchange: Exchange[S] | None
    histories: dict[int, IslandHistory[S]] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    t: int = 0

    def run_islands(self, deadline: Deadline, partial: bool) -> None:
        """Every island; an error that ends them carries the populations so far."""
        try:
            try:
                if self.exchange is None:
                    self._run_tasks([self._begun(r) for r in range(self.islands)])
                else:
                    self._run_exchanging(self.exchange)
            except DeadlinePassed:
                if partial and self.over:
                    self.histories = {r: self.histories[r] for r in sorted(self.over)}
                    return
                if not self._answers_unfinished(deadline):
                    raise
        except DeadlinePassed:
            why = f"time ran out {deadline.why}, past step {self.t}"
            raise BudgetEnded(why, deadline.help, self._cut(why, within=True)) from None
        except BudgetEnded as error:
            raise BudgetEnded(error.message, error.help, self._cut(error.message)) from None
        except KeyboardInterrupt:
            raise Interrupted(self._cut("it was interrupted", within=True)) from None

    def _begun(self, island: int) -> IslandTask[S]:
        """The whole of an island, from where it was resumed on."""
        before = self.resume.get(island, ())
        for passed in before:
            self._history(island).take(passed)
            self.t = passed.t
        return IslandTask(island, before[-1] if before else None)

    def _run_tasks(self, tasks: Sequence[IslandTask[S]]) -> None:
        """Takes the steps of the tasks as they come."""
        with closing(self.runner.run(tasks)) as steps:
            for island, step in steps:
                if step is None:
                    self.over.add(island)
                    continue
                self.t = step.t
                if self.observer is not None:
                    self.observer(step)
                self._history(island).take(step)

    def _run_exchanging(self, exchange: Exchange[S]) -> None:
        """Every island in stretches, between which whole islands are resampled."""
        until = exchange.every
        tasks = [IslandTask[S](r, None, until) for r in range(self.islands)]
        while tasks:
            self._run_tasks(tasks)
            lasts = [self._step(r) for r in range(self.islands)]
            if any(step.unfinished for step in lasts):
                lasts = exchange.resample(until, lasts)
            for r, step in enumerate(lasts):
                self.histories[r].go_on_from(step)
            until += exchange.every
            tasks = [IslandTask(r, x, until) for r, x in enumerate(lasts) if x.unfinished]

    def _step(self, island: int) -> Step[S]:
        """The population of an island so far, of a method that goes on from its steps."""
        last = self.histories[island].last
        assert isinstance(last, Step)
        return last

    def _history(self, island: int) -> IslandHistory[S]:
        if island not in self.histories:
            # One population tells its own errors where it is the only one, or the only one that
            # ended in time: here, that is the first.
            errors = None
            if island == 0 and self.exchange is None:
                errors = self.call.method.error_estimator(self.model, self.call.options, self.merge)
            self.histories[island] = IslandHistory(self.model, self.filtering, errors)
        return self.histories[island]

    @property
    def _in_order(self) -> list[IslandHistory[S]]:
        """What the islands have come to, by index, wherever and whenever they were computed."""
        return [self.histories[r] for r in sorted(self.histories)]

    def _answers_unfinished(self, deadline: Deadline) -> bool:
        """Whether what a search has come to when its time is over is an answer, with bounds."""
        history = self.histories.get(0)
        if history is None or not history.begun or not isinstance(history.last, Explored):
            return False
        ended = f"timeout={deadline.seconds or 0.0:g}"
        history.take(history.last.cut(self.model, ended))
        return True

    def _cut(self, why: str, within: bool = False) -> Unfinished:
        """The populations so far, of a run that ends without an answer."""
        return Unfinished.of(
            self.model,
            [history.last for history in self._in_order if history.begun],
            program=self.program,
            method=self.call.method.name,
            why=why,
            within=within,
            step=self.t,
            seed=self.seed,
            islands=self.islands,
            **self.spent.facts(),
        )

    def result(self) -> Result:
        """What the islands have come to. Raises PopulationDied where nothing is left."""
        histories, islands = self._in_order, len(self.histories)
        method = self.call.method
        lasts = [history.last for history in histories]
        first = lasts[0]
        log_Z = np.array([last.log_Z for last in lasts])
        if isinstance(first, Explored):
            check_any_finished(first, method)
        if log_Z.max() == -np.inf:
            texts = [death for history in histories for death in history.last_texts]
            deaths = merged_deaths(history.deaths for history in histories)
            raise population_died(method, lasts, deaths, texts)
        states = [x for last in lasts for x in last.states]
        log_weights = np.concatenate([last.log_weights for last in lasts]) - math.log(islands)
        values, order = weighted_values(self.model, states, log_weights)
        uncertainty = self._uncertainty(order, log_weights, log_Z)
        sole = uncertainty.sole if isinstance(uncertainty, PairErrors) else ""
        note = method.note(self.call.options)
        result = Result(
            program=self.program,
            method=method.name,
            log_z=log_sum_exp(log_Z) - math.log(islands),
            log_z_se=uncertainty.log_z_se(),
            log_z_interval=uncertainty.log_z_interval()
            if isinstance(uncertainty, Islands)
            else None,
            sole=sole or ("particle" if method.draws and len(values) == 1 else ""),
            posterior=merged_answers((v.value, v.weight) for v in values),
            particles=tuple(values),
            ess=final_ess(values),
            steps=max(last.t for last in lasts),
            seed=self.seed,
            filtering=tuple(histories[0].filtering_posteriors),
            islands=islands,
            uncertainty=uncertainty,
            notes=(*([note] if note else []), *uncertainty.notes, *accepted_moves(histories)),
            **self.spent.facts(),
        )
        if isinstance(first, Explored):
            return enclosed(result, first, method)
        return result

    def _uncertainty(self, order: Sequence[int], log_weights: Floats, log_Z: Floats) -> Uncertainty:
        """The errors of the run, its particles taken in the given order. log_weights (n,), log_Z
        (islands,): nats."""
        histories = self._in_order
        if len(histories) > 1 and self.call.method.estimates_z:
            sizes = [len(history.last.log_weights) for history in histories]
            island = np.repeat(np.arange(len(sizes)), sizes)[list(order)]
            if self.exchange is not None and self.exchange.took_place:
                return self.exchange.uncertainty(island, log_weights[list(order)], log_Z)
            return Islands(island, log_weights[list(order)], log_Z)
        errors = histories[0].errors or FixedEstimator(Unknown((ONE_ISLAND,)))
        return errors.uncertainty(log_weights, order)
