"""`fkdsl check` and `fkdsl explain`: what is known of a program without running it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.rendering import render, render_all
from fkdsl.cli.failure import diagnostic_json
from fkdsl.cli.flags import ALL
from fkdsl.cli.output import print_json, say
from fkdsl.language.check.checker import Checked
from fkdsl.language.compile import check_file, compile_ir, program_warnings

if TYPE_CHECKING:
    from fkdsl.api import Program


def main(args: argparse.Namespace) -> int:
    return (
        _check(args.files, json=args.json, allow_outside=args.allow_outside)
        if args.command == "check"
        else _explain(args)
    )


def _check(files: list[str], *, json: bool, allow_outside: bool) -> int:
    """Prints every file's mistakes, and one line on stdout for each file without any, or one object
    for all. Returns the exit status."""
    errors: list[Diagnostic] = []
    reports: list[dict[str, Any]] = []
    for file in files:
        try:
            diagnostics = warnings_of(check_file(Path(file), allow_outside=allow_outside))
        except ProgramError as error:
            errors += error.diagnostics
            diagnostics = error.diagnostics
            say(render_all(diagnostics), end="\n\n", file=sys.stderr)
            reports.append(
                {
                    "file": file,
                    "ok": False,
                    "diagnostics": [diagnostic_json(d) for d in diagnostics],
                }
            )
            continue
        warn(diagnostics)
        reports.append(
            {"file": file, "ok": True, "diagnostics": [diagnostic_json(d) for d in diagnostics]}
        )
        n = len(diagnostics)
        if not json:
            say(f"{file}: ok" + (f", {n} warning{'s' if n > 1 else ''}" if n else ""))
    n = len(errors)
    if n:
        say(f"{n} error{'s' if n > 1 else ''}", file=sys.stderr)
    if json:
        everything = [d for report in reports for d in report["diagnostics"]]
        print_json({"status": 1 if n else 0, "files": reports, "diagnostics": everything})
    return 1 if n else 0


def warnings_of(checked: Checked) -> tuple[Diagnostic, ...]:
    """The warnings of a file without mistakes: the checker's, and the optimiser's of each of its
    programs."""
    warnings = [
        w for name in checked.programs for w in program_warnings(checked, compile_ir(checked, name))
    ]
    return tuple(dict.fromkeys(warnings or checked.warnings))


def _explain(args: argparse.Namespace) -> int:
    from fkdsl.api import load
    from fkdsl.ir.printed import explain

    program = load(args.file, allow_outside=args.allow_outside)
    if args.program:
        program = program.select(args.program)
    program = without(program, args.no_opt)
    say(explain(program.ir()), end="")
    return 0


def warn(warnings: tuple[Diagnostic, ...]) -> None:
    """Prints the warnings on stderr."""
    for w in warnings:
        say(render(w), end="\n\n", file=sys.stderr)


def without(program: Program, names: list[str]) -> Program:
    """The program without the optimisations of each `--no-opt`."""
    for item in names:
        program = program.without(*(() if item == ALL else item.split(",")))
    return program
