"""What a command prints when it has no answer: a message on stderr, and with --json an object on
stdout."""

from __future__ import annotations

from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import FkdslError, ProgramError
from fkdsl.base.spans import Span
from fkdsl.cli.output import print_json, tell


def report(error: FkdslError, *, json: bool) -> int:
    """Prints what is wrong and returns the exit status. json: whether an object goes to stdout
    too."""
    text = str(error)
    if isinstance(error, ProgramError):
        n = sum(d.severity == "error" for d in error.diagnostics)
        text += f"\n\n{n} error{'s' if n != 1 else ''}"
    else:
        text = f"error: {text}"
    if json:
        print_json(failure_json(error))
    tell(text)
    return error.exit_status


def failure_json(error: FkdslError) -> dict[str, Any]:
    """The object that `--json` prints for a command without an answer (docs/language.md). Where the
    error has an `answer`, its fields come first: what is known of a run that died, or a result
    whose queries are wrong."""
    diagnostics = error.diagnostics if isinstance(error, ProgramError) else ()
    return {
        **(error.answer or {}),
        "status": error.exit_status,
        "error": error.message,
        "help": error.help,
        "facts": list(error.facts),
        "diagnostics": [diagnostic_json(d) for d in diagnostics],
    }


def diagnostic_json(d: Diagnostic) -> dict[str, Any]:
    """A diagnostic as data; line and column count from 1, and the end is the column after the last
    character."""
    return {
        "severity": d.severity,
        "code": d.code,
        "message": d.message,
        **_place(d.span),
        "label": d.label,
        "notes": list(d.notes),
        "help": d.help,
        "edits": [{**_place(e.span), "new_text": e.text} for e in d.edits],
    }


def _place(span: Span) -> dict[str, Any]:
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }
