"""From a RunRequest to its Result: the models are loaded, the trace is opened, the method runs, and
the queries are answered."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from fkdsl.api.blame import BlameRecorder
from fkdsl.api.cluster.islands import RemoteIslands
from fkdsl.api.cluster.tasks import RemoteRunner
from fkdsl.api.drafts import DraftFacts, draft_report, drafting_of
from fkdsl.api.engines import Engines
from fkdsl.api.lookahead import LookaheadFacts, lookahead_notes, verify_surrogates
from fkdsl.api.prefill_store import fetch_for
from fkdsl.api.queries import answers
from fkdsl.api.request import RunRequest
from fkdsl.api.steering import steering_model
from fkdsl.api.trace.record import RunRecord, recording
from fkdsl.api.twist_file import twist_for
from fkdsl.base.deadline import until
from fkdsl.base.errors import ProgramError
from fkdsl.inference.island_runner import IslandRunner
from fkdsl.inference.result import Result
from fkdsl.inference.run import Observer, RunnerOf
from fkdsl.inference.run import run as run_method
from fkdsl.inference.samplers.adaptive import adaptive_run
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.steering.learned_twist import LearnedTwist

ALONE = "one island is computed by one worker, whatever the cluster has: --islands 64"


def run(request: RunRequest, observer: Observer | None = None) -> Result:
    """Weighted samples of the posterior, and an unbiased estimate of Z. observer: called with each
    Step, or Level of exact, as it comes.

    Raises what Program.run raises.
    """
    program, engines = request.program, request.engines
    program.renew_indexes(engines.progress)
    place: _Here | _Elsewhere = _Here(request) if request.on is None else _Elsewhere(request)
    with recording(request) as record:
        model = place.model(record)
        sampled = request.call.method.draws
        recorder = BlameRecorder.of(program, model, sampled=sampled) if request.blame else None
        place.load(record)
        engines.reset_lost_mass()
        request.deadline.begin()
        with recorder.deaths(engines) if recorder is not None else nullcontext():
            result = _run_method(request, model, record, recorder, observer, place)
        if recorder is not None:
            result = recorder.of_result(result)
        with until(request.deadline):
            answered, mistakes, late = answers(
                program.checked, program.environment, request.queries, result
            )
        drafts, lookahead = place.facts()
        counts, notes = draft_report(drafts)
        notes += lookahead_notes(request.lookahead, request.call, lookahead)
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

    def model(self, record: RunRecord) -> SteeringModel:
        self.lookahead = self.request.completion_lookahead()
        guessers, self.told = guessers_of(self.request)
        engines = record.engines
        return steering_model(self.request, engines, self.drafting, self.lookahead, guessers)

    def load(self, record: RunRecord) -> None:
        """Models are loaded before the clock starts, and before any particle does."""
        for name in self.request.program.model_names():
            _ = record.engines[name]
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

    def runner(self, seed: int, islands: int) -> IslandRunner[ProgramState]:
        """What computes the islands of a seed, of so many."""
        return RemoteRunner(self.remote, seed, islands)

    def model(self, record: RunRecord) -> SteeringModel:
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
        return (*self.remote.told, *self.remote.notes, *alone)


def guessers_of(request: RunRequest) -> tuple[tuple[LearnedTwist, ...], list[str]]:
    """Who guess what is to come in a run, its learned twist or nobody, and notes on them."""
    if request.twist is None:
        return (), []
    twist, note = twist_for(request.twist, request.program, request.engines)
    return (twist,), [note] if note else []


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
