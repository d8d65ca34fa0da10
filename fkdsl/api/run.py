"""From a RunRequest to its Result: the models are loaded, the trace is opened, the method runs, and
the queries are answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from fkdsl.api.blame import BlameRecorder
from fkdsl.api.certain_answers import is_certain
from fkdsl.api.cluster.islands import RemoteIslands
from fkdsl.api.cluster.tasks import RemoteRunner
from fkdsl.api.drafts import DraftFacts, draft_report, drafting_of
from fkdsl.api.engines import Engines
from fkdsl.api.late_conditions import emptied, late_notes, short_facts
from fkdsl.api.lookahead import (
    LookaheadDecision,
    LookaheadFacts,
    lookahead_notes,
    verify_surrogates,
)
from fkdsl.api.lookahead_pilot import decide, may_look_ahead, particles_of
from fkdsl.api.prefill_store import fetch_for
from fkdsl.api.queries import answers
from fkdsl.api.request import RunRequest
from fkdsl.api.steering import guessers_of, steering_model
from fkdsl.api.trace.record import RunRecord, recording
from fkdsl.base.collector import collecting_seldom
from fkdsl.base.deadline import DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied, ProgramError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.island_runner import IslandRunner
from fkdsl.inference.result import Result
from fkdsl.inference.run import Observer, RunnerOf, Spent
from fkdsl.inference.run import run as run_method
from fkdsl.inference.samplers.adaptive import adaptive_run
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.steering.feynman_kac import SteeringModel

LOOSEN = "loosen one of these lines; or, if some text satisfies them all, use more particles"
ALONE = "one island is computed by one worker, whatever the cluster has: --islands 64"


@collecting_seldom()
def run(request: RunRequest, observer: Observer | None = None) -> Result:
    """Weighted samples of the posterior, and an unbiased estimate of Z. observer: called with each
    Step, or Level of exact, as it comes.

    Engines that a run in another thread is using are waited for, for as long as the deadline lets.
    Raises what Program.run raises.
    """
    if observer is not None and not callable(observer):
        raise CallError(f"an observer is called with each step: {observer!r} is no function")
    with ExitStack() as stack:
        try:
            with until(request.deadline):
                stack.enter_context(request.engines.in_one_thread())
        except DeadlinePassed as passed:
            why = f"time ran out {passed}, while a run in another thread used the same engine"
            help = "give both the loaded model, as `model=`: each then has an engine of its own"
            raise BudgetEnded(why, help) from None
        return _run(request, observer)


def _run(request: RunRequest, observer: Observer | None) -> Result:
    program, engines = request.program, request.engines
    program.renew_indexes(engines.progress)
    place: _Here | _Elsewhere = _Here(request) if request.on is None else _Elsewhere(request)
    with recording(request, place.decide) as record:
        request = place.request = request.decided(record.decision)
        model = place.model(record)
        sampled = request.call.method.draws
        recorder = BlameRecorder.of(program, model, sampled=sampled) if request.blame else None
        place.load(record)
        engines.reset_lost_mass()
        if place.spent is None:
            request.deadline.begin()
        with recorder.deaths(engines) if recorder is not None else nullcontext():
            try:
                result = _run_method(request, model, record, recorder, observer, place)
            except PopulationDied as died:
                short = model.proposals.short
                with suppress(DeadlinePassed), until(request.deadline):
                    together, details = emptied(model.proposals.emptied)
                    died.facts += together
                    died.details = {**died.details, **details}
                    died.help = LOOSEN if together else died.help
                died.facts += short_facts(short) + late_notes(model.proposals.late, program.ir())
                died.short = frozenset(short)
                raise
        if recorder is not None:
            result = recorder.of_result(result)
        with until(request.deadline):
            answered, mistakes, late = answers(
                program.checked,
                program.environment,
                request.queries,
                result,
                lambda query, answer, event: is_certain(program, query, answer, event=event),
            )
        drafts, lookahead = place.facts()
        counts, notes = draft_report(drafts)
        notes += lookahead_notes(request.lookahead, request.call, lookahead)
        if sampled:
            notes += late_notes(model.proposals.late, program.ir())
        told = (*engines.notes(), *program.index_notes(), *place.notes())
        notes = (*result.notes, *late, *notes, *told)
        result = replace(result, queries=answered, notes=notes, drafts=counts)
        record.end(result)
        if mistakes:
            raise ProgramError(mistakes, result)
        return result


class _Here:
    """A run in this process."""

    runner: RunnerOf[ProgramState] | None = None

    def __init__(self, request: RunRequest) -> None:
        self.request, self.drafting = request, drafting_of(request)
        self.lookahead: CompletionLookahead | None = None
        self.told: list[str] = []
        self.spent: Spent | None = None
        self.prompts: object = None  # kept in the cache from the pilot on

    def decide(self) -> LookaheadDecision | None:
        """How the run looks ahead, where that is to be decided. Loads the models, and begins to
        count what the run takes."""
        if not may_look_ahead(self.request):
            return self.request.lookahead.decided
        self._load_models(self.request.engines)
        with _deciding(self) as request:
            decision, self.prompts = decide(request, particles_of(request))
            return decision

    def _load_models(self, engines: Mapping[str, CachedTransformer]) -> None:
        for name in self.request.program.model_names():
            _ = engines[name]

    def model(self, record: RunRecord) -> SteeringModel:
        self.lookahead = self.request.completion_lookahead()
        guessers, self.told = guessers_of(self.request)
        engines = record.engines
        return steering_model(self.request, engines, self.drafting, self.lookahead, guessers)

    def load(self, record: RunRecord) -> None:
        """Models are loaded before the clock starts, and before any particle does."""
        self._load_models(record.engines)
        if self.lookahead is not None and not record.is_over:
            verify_surrogates(self.request.lookahead, self.request.program, self.lookahead)
        if not record.is_over:
            assert isinstance(record.engines, Engines)
            store = self.request.prefill_store
            self.told += fetch_for(self.request.program, store, record.engines)

    def at_once(self) -> int:
        """Islands computed at a time."""
        return 1

    def facts(self) -> tuple[DraftFacts | None, LookaheadFacts | None]:
        return DraftFacts.of(self.drafting), LookaheadFacts.of(self.lookahead)

    def notes(self) -> tuple[str, ...]:
        return tuple(self.told)


class _Elsewhere:
    """A run whose islands are computed by workers: here they are combined, and no model is
    loaded."""

    def __init__(self, request: RunRequest) -> None:
        assert request.on is not None
        self.request, self.remote = request, RemoteIslands(request, request.on)
        self.spent: Spent | None = None

    def decide(self) -> LookaheadDecision | None:
        """As that of _Here; a worker finds out, and loads the models."""
        if not may_look_ahead(self.request):
            return self.request.lookahead.decided
        self.remote.begin()
        with _deciding(self) as request:
            return self.remote.decide(request.seed, particles_of(request))

    def runner(self, seed: int, islands: int) -> IslandRunner[ProgramState]:
        """What computes the islands of a seed, of so many."""
        return RemoteRunner(self.remote, seed, islands)

    def model(self, record: RunRecord) -> SteeringModel:
        self.remote.decision = self.request.lookahead.decided
        return steering_model(self.request, record.engines)

    def load(self, record: RunRecord) -> None:
        if not record.is_over:
            self.remote.begin()

    def at_once(self) -> int:
        return max(1, self.remote.workers.count)

    def facts(self) -> tuple[DraftFacts | None, LookaheadFacts | None]:
        return self.remote.facts.drafts, self.remote.facts.lookahead

    def notes(self) -> tuple[str, ...]:
        alone = () if self.request.islands > 1 or self.request.aim.asked else (ALONE,)
        return (*self.remote.told, *self.remote.notes, *self.remote.facts.late, *alone)


@contextmanager
def _deciding(place: _Here | _Elsewhere) -> Iterator[RunRequest]:
    """A context in which it is decided how a run looks ahead: its time is the run's."""
    request = place.request
    request.deadline.begin()
    place.spent = Spent(request.engines.counts)
    try:
        with until(request.deadline):
            yield request
    except DeadlinePassed as passed:
        why = f"time ran out {passed}, in the pilot that decides on look-ahead"
        help = f"{request.deadline.help}, or choose: --lookahead none"
        raise BudgetEnded(why, help if request.deadline.help else "") from None


def _run_method(
    request: RunRequest,
    model: SteeringModel,
    record: RunRecord,
    recorder: BlameRecorder | None,
    observer: Observer | None,
    place: _Here | _Elsewhere,
) -> Result:
    """The Result of the method itself, its steps written to the record."""

    def observe(step: Any) -> None:
        record.step(step)
        if observer is not None:
            observer(step)

    settings: dict[str, Any] = {
        "program": request.program.name,
        "observer": observe,
        "timeout": request.deadline,
        "max_steps": request.max_steps,
        "filtering": request.filtering,
        "merge": request.merge,
        "counts": request.engines.counts,
        "account": recorder.account if recorder is not None else None,
        "runner": place.runner,
        "spent": place.spent,
    }
    if request.aim.asked:
        settings["at_once"] = place.at_once
        return adaptive_run(model, request.call, request.seed, None, request.aim, **settings)
    with _rows_kept(request):
        return run_method(
            model,
            request.call,
            request.seed,
            islands=request.islands,
            resume=record.steps_by_island,
            lazy=request.is_lazy(),
            exchange=request.exchange,
            **settings,
        )


def _rows_kept(request: RunRequest) -> AbstractContextManager[None]:
    """Keeps the rows that a search comes back to."""
    return nullcontext() if request.call.method.draws else request.engines.keeping_rows()
