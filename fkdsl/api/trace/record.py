"""Writes a trace, and goes on from one.

    with recording(request) as record:
        result = run(..., observer=record.step, resume=record.steps_by_island)
        record.end(result)

When it is opened, the file is empty, or has a run to go on with, or one that is complete, for
which no model is loaded. Writing changes no draw.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.cluster.engines import RemoteEngines
from fkdsl.api.drafts import drafting_of
from fkdsl.api.engines import Engines
from fkdsl.api.lookahead import LookaheadDecision
from fkdsl.api.request import RunRequest, StepsByIsland
from fkdsl.api.steering import steering_model
from fkdsl.api.trace.derive import is_own
from fkdsl.api.trace.file import Trace, TraceFile, parse_trace, verify_trace
from fkdsl.api.trace.header import (
    model_marks,
    recorded_decision,
    run_header,
    surrogate_marks,
    verify_same_run,
)
from fkdsl.api.trace.lines import StepWriter
from fkdsl.api.trace.rebuild import is_complete, rebuild
from fkdsl.api.trace.recorded import Recorded
from fkdsl.base.errors import (
    BudgetEnded,
    CallError,
    FkdslError,
    InternalError,
    Interrupted,
    PopulationDied,
    ProgramError,
)
from fkdsl.base.spans import Source
from fkdsl.inference.interface import Step
from fkdsl.inference.result import Result
from fkdsl.machine.particle import Executable
from fkdsl.machine.places import Places
from fkdsl.values.values import plain

Decide = Callable[[], LookaheadDecision | None]
"""Decides how `--lookahead auto` looks ahead in a run; None where it is not `auto`."""


class RunRecord:
    """A run's trace while the run goes on.

    engines: the models to run on. steps_by_island: what the run has behind it, None for nothing.
    file: None where nothing is to be written. resumed: whether the run goes on from steps of a
    file. decision: how `--lookahead auto` looks ahead, None where it is not `auto`.
    """

    def __init__(
        self,
        engines: Engines | Recorded,
        steps_by_island: StepsByIsland | None = None,
        file: TraceFile | None = None,
        places: Places | None = None,
        trace: Trace | None = None,
        decision: LookaheadDecision | None = None,
    ) -> None:
        self.engines, self.steps_by_island, self._file = engines, steps_by_island, file
        self.decision = decision
        self._lines = StepWriter(engines, places if places is not None else Places(()))
        self._lines.last.update({r: steps[-1] for r, steps in (steps_by_island or {}).items()})
        self.resumed = bool(steps_by_island) and trace is not None
        for line in trace.steps if trace is not None else ():
            self._lines.know(line)

    @property
    def is_over(self) -> bool:
        """Whether the run has all of its steps behind it, so that no model is loaded."""
        return isinstance(self.engines, Recorded)

    def step(self, step: Any) -> None:
        """Writes a Step down; the levels of exact are not written."""
        if self._file is not None and isinstance(step, Step):
            self._file.add(self._lines.line(step))

    def end(self, result: Result) -> None:
        """Writes the last line: the result."""
        if self._file is not None:
            self._file.add({"result": result_summary(result)})

    def cut(self, error: BudgetEnded | Interrupted) -> None:
        """Names the file in the population of a run that was cut short, if it can go on from
        there."""
        if (
            self._file is not None
            and not self._file.given_up
            and self._lines.last
            and error.unfinished is not None
        ):
            error.unfinished = replace(error.unfinished, resume=str(self._file.path))

    def died(self, error: PopulationDied) -> None:
        """Writes the last line of a run that died."""
        if self._file is not None:
            self._file.add({"died": error.report})


MOST_DOCUMENTS = 1_000
"""Documents that the last line has at most."""


def result_summary(result: Result) -> dict[str, Any]:
    """The last line's summary of a result; the particles are in the last step. null stands for a
    bound that is not known, and for a number that JSON does not have."""
    facts: dict[str, Any] = _finite(
        {
            "log_z": result.log_z,
            "log_z_se": result.log_z_se,
            "log_z_bounds": result.log_z_bounds,
            "posterior": [
                {"value": plain(a.value), "probability": a.probability} for a in result.posterior
            ],
            "sole": result.sole,
            "ess": result.ess,
            "steps": result.steps,
            "seconds": result.seconds,
            "model_calls": result.model_calls,
            "forwarded_tokens": result.forwarded_tokens,
            "notes": result.notes,
            "documents": [
                {**plain(e.value), "probability": e.probability, "se": e.se}
                for e in result.evidence()[:MOST_DOCUMENTS]
            ],
        }
    )
    return facts


def _finite(value: Any) -> Any:
    """The data with None for each number that is infinite or NaN."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {k: _finite(v) for k, v in value.items()}
        case list() | tuple():
            return [_finite(v) for v in value]
    return value


@contextmanager
def recording(request: RunRequest, decide: Decide) -> Iterator[RunRecord]:
    """The record of a run that is about to begin: written to `request.trace` from the beginning, or
    going on with `request.resume`. A TraceFile is closed at the end. decide: how the run looks
    ahead; it is asked where no file tells.

    Raises CallError for a file that is of another run, or is no trace.
    """
    trace, resume = request.trace, request.resume
    if trace is None and not isinstance(resume, Path):
        yield RunRecord(request.engines, resume, decision=decide())
        return
    code = request.program.feynman_kac(engines=request.engines).code
    places = Places.of(code, sources_of(request.program))
    file = trace if isinstance(trace, TraceFile) else _open(resume, trace)
    try:
        record = _begin(file, request, places, code, decide)
        try:
            yield record
        except PopulationDied as error:
            record.died(error)
            raise
        except (BudgetEnded, Interrupted) as error:
            if request.goes_on:
                record.cut(error)
            raise
        except Exception as error:
            if _is_the_files_fault(error, request, record):
                raise CallError(
                    f"the run cannot go on from {file.path}, "
                    "whose steps are not those of this program",
                    "begin anew with --trace",
                ) from None
            raise
    finally:
        file.close()


def _open(*paths: Path | StepsByIsland | None) -> TraceFile:
    """The first of these files, opened."""
    return TraceFile(next(path for path in paths if isinstance(path, Path)))


def _is_the_files_fault(error: Exception, request: RunRequest, record: RunRecord) -> bool:
    """Whether a run failed because it went on from steps that are not its own. A bug of ours is to
    be reported as one, however the run began, and so is a mistake of the program."""
    expected = isinstance(error, FkdslError) and not isinstance(error, InternalError | ProgramError)
    if expected or not record.resumed or os.environ.get("FKDSL_DEBUG"):
        return False
    if request.on is not None:
        return False  # the run cannot be done again here, where no model is loaded
    assert record.steps_by_island is not None
    request = request.decided(record.decision)
    model = steering_model(
        request, request.engines, drafting_of(request), request.completion_lookahead()
    )
    return not is_own(request, model, record.steps_by_island)


def _begin(
    file: TraceFile, request: RunRequest, places: Places, code: Executable, decide: Decide
) -> RunRecord:
    """Reads the file, which decides how the run begins: anew, from the last step, or, where the
    trace is complete, at its end."""
    program, engines = request.program, request.engines
    header = run_header(request, places.sources)
    raw = file.read()
    verify_trace(file.path, raw)
    trace = parse_trace(file.path, raw) if request.resume is not None else None
    if trace is None:
        decision = decide()
        request = request.decided(decision)
        header["auto"] = decision.json() if decision is not None else None
        header["models"] = model_marks(engines, program.model_names())
        header["surrogates"] = surrogate_marks(request)
        file.cut(0)
        file.add(header)
        return RunRecord(engines, None, file, places, decision=decision)
    verify_same_run(trace, header)
    decision = recorded_decision(trace, request)
    request = request.decided(decision)
    if isinstance(engines, RemoteEngines):
        for line in trace.steps:
            engines.learn(line)
    goes_on = request.call.resumes
    if goes_on and trace.steps:
        recorded = Recorded(trace)
        steps_by_island = rebuild(trace, recorded, places, code)
        if is_complete(steps_by_island, header["islands"]):
            file.cut(trace.size)
            return RunRecord(
                recorded, steps_by_island, None if trace.end is not None else file, places, trace,
                decision,
            )  # fmt: skip
    marks = {
        "models": model_marks(engines, program.model_names()),
        "surrogates": surrogate_marks(request),
    }
    verify_same_run(trace, marks | header)
    if trace.end is not None:
        return RunRecord(engines, decision=decision)
    file.cut(trace.size if goes_on else trace.head)
    if not goes_on:
        return RunRecord(engines, None, file, places, decision=decision)
    steps_by_island = rebuild(trace, engines, places, code)
    return RunRecord(engines, steps_by_island, file, places, trace, decision)


def sources_of(program: CalledProgram) -> list[Source]:
    """The program's own file, then those that it imports."""
    return [module.source for module in (program.checked.module, *program.checked.imported)]
