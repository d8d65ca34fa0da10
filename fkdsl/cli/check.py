"""`fkdsl check` and `fkdsl explain`: what can be said of a program without running it."""

from __future__ import annotations

import argparse
import sys

from fkdsl.api import Program, load
from fkdsl.base.diagnostics import Diagnostic, render, render_all
from fkdsl.base.errors import ProgramError
from fkdsl.cli.main import ALL
from fkdsl.ir.printed import explain


def main(args: argparse.Namespace) -> int:
    return _check(args.files) if args.command == "check" else _explain(args)


def _check(files: list[str]) -> int:
    """Every file's mistakes; one line on stdout for each that has none."""
    errors = 0
    for file in files:
        try:
            program = load(file)
            names = list(program.checked.programs)
            found = [w for name in names for w in program.select(name).warnings] or list(program.checked.warnings)
        except ProgramError as error:
            errors += len(error.diagnostics)
            print(render_all(error.diagnostics), end="\n\n", file=sys.stderr)
            continue
        warnings = tuple(dict.fromkeys(found))
        warn(warnings)
        n = len(warnings)
        print(f"{file}: ok" + (f", {n} warning{'s' if n > 1 else ''}" if n else ""))
    if errors:
        print(f"{errors} error{'s' if errors > 1 else ''}", file=sys.stderr)
    return 1 if errors else 0


def _explain(args: argparse.Namespace) -> int:
    program = load(args.file)
    if args.program:
        program = program.select(args.program)
    program = without(program, args.no_opt)
    print(explain(program.ir()), end="")
    return 0


def warn(warnings: tuple[Diagnostic, ...]) -> None:
    """The warnings, on stderr."""
    for w in warnings:
        print(render(w), end="\n\n", file=sys.stderr)


def without(program: Program, given: list[str]) -> Program:
    """The program with what `--no-opt` names switched off."""
    for item in given:
        program = program.without(*(() if item == ALL else item.split(",")))
    return program
