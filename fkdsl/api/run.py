"""From a RunRequest to its Result: the models are loaded, the trace is opened, the method runs, and
the queries are answered."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from fkdsl.api.blame import BlameRecorder
from fkdsl.api.drafts import draft_report, drafting_of
from fkdsl.api.lookahead import lookahead_notes, verify_surrogates
from fkdsl.api.queries import answers
from fkdsl.api.request import RunRequest
from fkdsl.api.steering import steering_model
from fkdsl.api.trace.record import RunRecord, recording
from fkdsl.api.twist_file import twist_for
from fkdsl.base.deadline import until
from fkdsl.base.errors import ProgramError
from fkdsl.inference.result import Result
from fkdsl.inference.run import Observer
from fkdsl.inference.run import run as run_method
from fkdsl.inference.samplers.adaptive import adaptive_run
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.steering.learned_twist import LearnedTwist


def run(request: RunRequest, observer: Observer | None = None) -> Result:
    """Weighted samples of the posterior, and an unbiased estimate of Z. observer: called with each
    Step, or Level of exact, as it comes.

    Raises what Program.run raises.
    """
    program, engines = request.program, request.engines
    drafting = drafting_of(request)
    with recording(request) as record:
        lookahead = request.completion_lookahead()
        guessers, told = guessers_of(request)
        model = steering_model(request, record.engines, drafting, lookahead, guessers)
        sampled = request.call.method.draws
        recorder = BlameRecorder.of(program, model, sampled=sampled) if request.blame else None
        # Models are loaded before the clock starts, and before any particle does.
        for name in program.model_names():
            _ = record.engines[name]
        if lookahead is not None and not record.is_over:
            verify_surrogates(request.lookahead, program, lookahead)
        engines.reset_lost_mass()
        request.deadline.begin()
        with recorder.deaths(engines) if recorder is not None else nullcontext():
            result = _run_method(request, model, record, recorder, observer)
        if recorder is not None:
            result = recorder.of_result(result)
        with until(request.deadline):
            answered, mistakes, late = answers(
                program.checked, program.environment, request.queries, result
            )
        counts, notes = draft_report(drafting)
        notes += lookahead_notes(request.lookahead, request.call, lookahead)
        notes = (*result.notes, *late, *notes, *engines.notes(), *told)
        result = replace(result, queries=answered, notes=notes, drafts=counts)
        record.end(result)
        if mistakes:
            raise ProgramError(mistakes, result)
        return result


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
    }
    if request.aim.asked:
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
