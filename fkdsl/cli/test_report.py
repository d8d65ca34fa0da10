"""Test runs as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fkdsl.api.outcomes import ExpectLine, TestRun
from fkdsl.api.unbiasedness import FALSE_ALARM, MethodCheck
from fkdsl.base.errors import ProgramError
from fkdsl.base.shown import one_line
from fkdsl.cli.failure import diagnostic_json

WIDTH = 80


def failure_text(file: str, run: TestRun) -> str:
    """The failed lines of a test with their figures, and the methods that disagree with the
    figures."""
    title = f" {one_line(file)}: {one_line(run.test.title)} "
    lines = [title.center(WIDTH, "_")]
    if run.error:
        return "\n".join([*lines, run.error, ""])
    for line in run.lines:
        if line.outcome == "failed":
            lines += line_text(line)
    for m in run.methods:
        if not m.passed:
            lines += [
                f"{file}:{run.test.span.line}: {m.variant} disagrees with the exact figures",
                f"    {m.reason}",
            ]
    return "\n".join([*lines, ""])


def line_text(line: ExpectLine) -> list[str]:
    """The place of a line, the line itself with its number, and the figures in it."""
    span = line.written.span
    source, number = span.source, span.line
    note = f" ({line.note})" if line.note else ""
    return [
        f"{source.name}:{number}: {line.outcome}{note}",
        f"> {number:4d} | {source.line_text(number).strip()}",
        *(f"E      | {text} = {value}" for text, value in line.figures),
    ]


def verbose_lines(run: TestRun) -> str:
    """A test's outcome and how it was found, then its lines, then its methods with the errors that
    would have been found in them."""
    took = f"({run.by or 'not run'}, {run.seconds:.1f} s)"
    lines = [f"  {one_line(run.test.title)}  {run.outcome.upper()}  {took}"]
    for line in run.lines:
        figures = ", ".join(f"{text} = {value}" for text, value in line.figures)
        lines.append(f"    {line.outcome:9}  {line.written.span.text}   [{figures}]")
    lines += [f"    {_method(m)}" for m in run.methods]
    return "\n".join(lines)


def _method(m: MethodCheck) -> str:
    if not m.runs:
        return f"{'skipped':9}  {m.variant}: {m.reason}"
    if not m.passed:
        return f"{'failed':9}  {m.variant}: {m.reason}"
    errors = ", ".join(f"{name} {_share(d)}" for name, d in m.detectable.items())
    side = " too large only" if m.one_sided else ""
    return f"{'agrees':9}  {m.variant}: {m.runs} runs; would have found an error{side} of {errors}"


def _share(error: float | None) -> str:
    return "(none)" if error is None else f"{100 * error:.2g}%"


def summary_text(runs: Sequence[TestRun], broken: int, seconds: float) -> str:
    """The last line, and before it how many checks of methods there were, and which errors would
    have shown. broken: files with mistakes."""
    counts = Counter(run.outcome for run in runs)
    parts = [f"{counts[o]} {o}" for o in ("passed", "failed", "undecided", "error") if counts[o]]
    parts += [f"{broken} file{'s' if broken > 1 else ''} with mistakes"] if broken else []
    lines = []
    checks = [m for run in runs for m in run.methods if m.runs]
    if checks:
        errors = [error for m in checks if (error := m.detectable.get("Z")) is not None]
        shown = (
            f"; errors of Z from {_share(min(errors))} to {_share(max(errors))} would have shown"
            if errors
            else ""
        )
        runs_made = sum(m.runs for m in checks)
        lines.append(
            f"methods: {len(checks)} checks, {runs_made} runs, "
            f"false alarm {FALSE_ALARM:g} a test{shown}"
        )
    text = f" {', '.join(parts) or 'no tests found'} in {seconds:.1f} s "
    return "\n".join([*lines, text.center(WIDTH, "=")])


def file_json(
    file: str, runs: Sequence[TestRun], error: ProgramError | None
) -> list[dict[str, Any]]:
    """An object for each test, or one for a file that has mistakes."""
    if error is not None:
        diagnostics = [diagnostic_json(d) for d in error.diagnostics]
        return [
            {
                "file": file,
                "title": None,
                "outcome": "error",
                "error": str(error),
                "diagnostics": diagnostics,
            }
        ]
    return [_test_json(file, run) for run in runs]


def _test_json(file: str, run: TestRun) -> dict[str, Any]:
    return {
        "file": file,
        "line": run.test.span.line,
        "title": run.test.title,
        "outcome": run.outcome,
        "by": run.by or None,
        "seconds": run.seconds,
        "error": run.error or None,
        "expectations": [
            {
                "line": line.written.span.line,
                "text": line.written.span.text,
                "outcome": line.outcome,
                "figures": dict(line.figures),
                "note": line.note or None,
            }
            for line in run.lines
        ],
        "methods": [
            {
                "method": m.variant,
                "runs": m.runs,
                "agrees": m.passed if m.runs else None,
                "reason": m.reason or None,
                "wealth": m.wrong.wealth if m.wrong else None,
                "detectable": dict(m.detectable),
                "by_step": m.by_step,
                "one_sided": m.one_sided,
            }
            for m in run.methods
        ],
    }
