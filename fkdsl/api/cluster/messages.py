"""What workers and the run's own process say to each other, as JSON.

A task:     {"task": number, "seed", "islands", "island", "start": STEP or null, "until", "seconds",
             "lookahead": decision or null}
            {"task": number, "pilot": {"seed", "particles"}, "seconds"}   how a run looks ahead
A message:  {"ready": marks, ...}                                the models are loaded
            {"error": ERROR}                                     they cannot be
            {"task", "steps": [STEP], "calls", "tokens"}         steps; what it has cost so far
            {"task", "steps", "calls", "tokens", "over": facts}  the last of them
            {"task", "decision", "calls", "tokens"}              how the run looks ahead
            {"task", "error": ERROR}                             it failed
            {"task", "ended": true}                              it was stopped, or was late

A STEP is the line of a trace, and the figures of the population that a trace leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fkdsl.api.trace.lines import StepWriter
from fkdsl.api.trace.rebuild import read_step
from fkdsl.base.diagnostics import Diagnostic, Edit
from fkdsl.base.errors import (
    BudgetEnded,
    CallError,
    FkdslError,
    InferenceFailed,
    InternalError,
    ModelUnavailable,
    ProgramError,
)
from fkdsl.base.spans import NOWHERE, Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Step
from fkdsl.machine.places import Places
from fkdsl.machine.state import ProgramState
from fkdsl.machine.state_json import log_weight_from_json, log_weight_to_json
from fkdsl.models.attachments import Attachment

KINDS: Mapping[str, type[FkdslError]] = {
    kind.__name__: kind for kind in (BudgetEnded, ModelUnavailable, CallError, InferenceFailed)
}
"""Errors that are their message, their help and their facts."""


def written(message: Mapping[str, Any]) -> bytes:
    """A message or a task as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode()


# ------------------------------------------------------------------------ steps


def step_to_json(step: Step[ProgramState], writer: StepWriter) -> dict[str, Any]:
    """The next step of an island."""
    return {
        "line": writer.line(step),
        "ess": step.ess,
        "log_Z": log_weight_to_json(step.log_Z),
        "unfinished": step.unfinished,
        "proposed": step.proposed,
        "accepted": step.accepted,
    }


def step_from_json(
    data: Mapping[str, Any],
    last: Step[ProgramState] | None,
    engines: Mapping[str, CachedTransformer],
    places: Places,
    known: dict[int, Attachment],
) -> Step[ProgramState]:
    """The step again, to the last bit. last: the island's step before it. known: see read_step."""
    return replace(
        read_step(data["line"], last, engines, places, known),
        ess=float(data["ess"]),
        log_Z=log_weight_from_json(data["log_Z"]),
        unfinished=data["unfinished"],
        proposed=data["proposed"],
        accepted=data["accepted"],
    )


# ----------------------------------------------------------------------- errors


def error_to_json(error: Exception, places: Places | None) -> dict[str, Any]:
    """An error of a worker. places: of the program's files; None where they are not known."""
    if isinstance(error, ProgramError):
        return {
            "kind": "ProgramError",
            "diagnostics": [_diagnostic_to_json(d, places) for d in error.diagnostics],
        }
    if isinstance(error, FkdslError) and type(error).__name__ in KINDS:
        return {
            "kind": type(error).__name__,
            "message": error.message,
            "help": error.help,
            "facts": list(error.facts),
        }
    return {"kind": "InternalError", "message": f"{type(error).__name__}: {error}"}


def error_from_json(data: Mapping[str, Any], places: Places, where: str) -> FkdslError:
    """The error again. where: the worker, which is named where the machine may be to blame."""
    kind = data["kind"]
    if kind == "ProgramError":
        return ProgramError([_diagnostic_from_json(d, places) for d in data["diagnostics"]])
    if kind not in KINDS:
        return InternalError(f"{where}: {data['message']}")
    message = data["message"] if kind == "BudgetEnded" else f"{where}: {data['message']}"
    error = KINDS[kind](message, data["help"])
    error.facts = tuple(data["facts"])
    return error


def _diagnostic_to_json(d: Diagnostic, places: Places | None) -> dict[str, Any]:
    return {
        "code": d.code,
        "message": d.message,
        "span": _span_to_json(d.span, places),
        "label": d.label,
        "help": d.help,
        "notes": list(d.notes),
        "severity": d.severity,
        "edits": [[_span_to_json(e.span, places), e.text] for e in d.edits],
    }


def _diagnostic_from_json(data: Mapping[str, Any], places: Places) -> Diagnostic:
    return Diagnostic(
        data["code"],
        data["message"],
        _span_from_json(data["span"], places),
        data["label"],
        data["help"],
        tuple(data["notes"]),
        data["severity"],
        tuple(Edit(_span_from_json(span, places), text) for span, text in data["edits"]),
    )


def _span_to_json(span: Span, places: Places | None) -> list[int] | None:
    try:
        return places.write(span) if places is not None else None
    except InternalError:  # it stands in no file of the program
        return None


def _span_from_json(data: list[int] | None, places: Places) -> Span:
    return NOWHERE if data is None else places.read(data)
