"""The writing of a trace, and the going on from one.

    with recording(request) as record:
        result = run(..., observer=record.step, resume=record.courses)
        record.end(result)

Opening finds out what the file holds: nothing, a run to go on with, or one that is complete, for
which no model is loaded. What is written changes no draw.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.drafts import drafting_of
from fkdsl.api.engines import Engines
from fkdsl.api.request import RunRequest, Steps
from fkdsl.api.steering import steering_model
from fkdsl.api.trace.derive import is_own
from fkdsl.api.trace.file import Trace, TraceFile, parse_trace, verify_trace
from fkdsl.api.trace.header import model_marks, run_header, verify_same_run
from fkdsl.api.trace.rebuild import Recorded, is_complete, parents, rebuild, token_text
from fkdsl.base.errors import (
    BudgetEnded,
    CallError,
    FkdslError,
    InternalError,
    Interrupted,
    PopulationDied,
)
from fkdsl.base.spans import Source
from fkdsl.inference.interface import Step
from fkdsl.inference.result import Result
from fkdsl.machine.ops import Executable
from fkdsl.machine.places import Places
from fkdsl.machine.state import ProgramState
from fkdsl.machine.state_json import log_weight_to_json, state_to_json
from fkdsl.values.values import plain


class Record:
    """A run's trace as the run goes on. engines: what to run on. courses: the steps that are behind
    it. file: None where there is nothing to write, any more or at all. resumed: whether it goes on
    from steps of a file."""

    def __init__(
        self, engines: Engines | Recorded, courses: Steps | None = None, file: TraceFile | None = None,
        places: Places | None = None, trace: Trace | None = None,
    ) -> None:  # fmt: skip
        self.engines, self.courses, self._file = engines, courses, file
        self._places = places if places is not None else Places(())
        self._last = {island: course[-1] for island, course in (courses or {}).items()}
        self._told: set[tuple[str, int]] = set()
        self.resumed = bool(courses) and trace is not None
        for line in trace.steps if trace is not None else ():
            self._told.update(
                (name, int(i)) for name, texts in line.get("tokens", {}).items() for i in texts
            )

    def step(self, step: Any) -> None:
        """Writes a Step down; the levels of exact are not written."""
        if self._file is not None and isinstance(step, Step):
            self._file.add(self._line(step))
            self._last[step.island] = step

    def end(self, result: Result) -> None:
        """Writes the last line: what the run came to."""
        if self._file is not None:
            self._file.add({"result": summary(result)})

    def cut(self, error: BudgetEnded | Interrupted) -> None:
        """Adds to what a run was cut short with where it can go on from."""
        if (
            self._file is not None
            and not self._file.given_up
            and self._last
            and error.unfinished is not None
        ):
            error.unfinished = replace(error.unfinished, resume=str(self._file.path))

    def died(self, error: PopulationDied) -> None:
        """Writes the last line of a run that came to nothing."""
        if self._file is not None:
            self._file.add({"died": error.report})

    def _line(self, step: Step[ProgramState]) -> dict[str, Any]:
        before = parents(step.t, self._last.get(step.island))
        first: dict[int, int] = {}
        tokens: dict[str, dict[str, Any]] = {}
        particles = []
        for i, (particle, w) in enumerate(zip(step.particles, step.log_weights, strict=True)):
            a, x = step.ancestors[i], particle.state
            parent = before[a] if 0 <= a < len(before) else None
            line: dict[str, Any] = {} if a == i else {"ancestor": a}
            if parent is None or parent.lineage != particle.lineage:
                line["lineage"] = particle.lineage.hex()
            line["log_weight"] = log_weight_to_json(float(w))
            if id(x) in first:
                line["state"] = first[id(x)]
            elif parent is None or parent.state is not x:
                first[id(x)] = i
                line["state"] = state_to_json(
                    x, self._places, parent.state if parent is not None else None
                )
                self._tell(x, line["state"], tokens)
            particles.append(line)
        found: dict[str, Any] = {"t": step.t, "island": step.island, "resampled": step.resampled}
        if tokens:
            found["tokens"] = tokens
        return {**found, "particles": particles}

    def _tell(
        self, x: ProgramState, written: Mapping[str, Any], tokens: dict[str, dict[str, Any]]
    ) -> None:
        """Adds the texts of tokens that the file does not know yet."""
        for c, data in zip(x.contexts, written.get("contexts", ()), strict=True):
            for i in data.get("tokens", data.get("add", ())):
                if (c.model, i) not in self._told:
                    self._told.add((c.model, i))
                    raw = self.engines[c.model].model.vocabulary.tokens[i]
                    tokens.setdefault(c.model, {})[str(i)] = token_text(raw)


def summary(result: Result) -> dict[str, Any]:
    """What people look for at the end of a trace; the particles are in the last step. null: no
    bound, or a number that JSON has not."""
    found: dict[str, Any] = _finite(
        {
            "log_z": result.log_z,
            "log_z_se": result.log_z_se,
            "log_z_bounds": result.log_z_bounds,
            "posterior": [
                {"value": plain(a.value), "probability": a.probability} for a in result.posterior
            ],
            "ess": result.ess,
            "steps": result.steps,
            "seconds": result.seconds,
            "model_calls": result.model_calls,
            "forwarded_tokens": result.forwarded_tokens,
            "notes": result.notes,
        }
    )
    return found


def _finite(value: Any) -> Any:
    """Data with null for each number that is infinite or no number."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {k: _finite(v) for k, v in value.items()}
        case list() | tuple():
            return [_finite(v) for v in value]
    return value


@contextmanager
def recording(request: RunRequest) -> Iterator[Record]:
    """The record of a run that is about to begin: written to `request.trace` from the beginning, or
    going on with `request.resume`. A TraceFile is closed at the end.

    Raises CallError for a file that is of another run, or is no trace.
    """
    trace, resume = request.trace, request.resume
    if trace is None and not isinstance(resume, Path):
        yield Record(request.engines, resume)
        return
    code = request.program.feynman_kac(engines=request.engines).code
    places = Places.of(code, _sources(request.program))
    file = trace if isinstance(trace, TraceFile) else _open(resume, trace)
    try:
        record = _begin(file, request, places, code)
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


def _open(*paths: Path | Steps | None) -> TraceFile:
    """The first of these files, opened."""
    return TraceFile(next(path for path in paths if isinstance(path, Path)))


def _is_the_files_fault(error: Exception, request: RunRequest, record: Record) -> bool:
    """Whether a run failed because it went on from steps that are not its own. A bug of ours is to
    be reported as one, however the run began."""
    ours = isinstance(error, InternalError) or not isinstance(error, FkdslError)
    if not ours or not record.resumed or os.environ.get("FKDSL_DEBUG"):
        return False
    assert record.courses is not None
    model = steering_model(request, request.engines, drafting_of(request))
    return not is_own(request, model, record.courses)


def _begin(file: TraceFile, request: RunRequest, places: Places, code: Executable) -> Record:
    """What the file holds decides how the run begins: anew, from its last step, or not at all where
    all is done."""
    program, engines = request.program, request.engines
    header = run_header(request, places.sources)
    raw = file.read()
    verify_trace(file.path, raw)
    trace = parse_trace(file.path, raw) if request.resume is not None else None
    if trace is None:
        header["models"] = model_marks(engines, program.model_names())
        file.cut(0)
        file.add(header)
        return Record(engines, None, file, places)
    verify_same_run(trace, header)
    goes_on = request.call.resumes
    if goes_on and trace.steps:
        recorded = Recorded(trace)
        courses = rebuild(trace, recorded, places, code)
        if is_complete(courses, header["islands"]):
            file.cut(trace.size)
            return Record(recorded, courses, None if trace.end is not None else file, places, trace)
    verify_same_run(trace, {"models": model_marks(engines, program.model_names()), **header})
    if trace.end is not None:
        return Record(engines)
    file.cut(trace.size if goes_on else trace.head)
    if not goes_on:
        return Record(engines, None, file, places)
    return Record(engines, rebuild(trace, engines, places, code), file, places, trace)


def _sources(program: CalledProgram) -> list[Source]:
    """The program's own file, then those that it imports."""
    return [module.source for module in (program.checked.module, *program.checked.imported)]
