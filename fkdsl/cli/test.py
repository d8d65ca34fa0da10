"""`fkdsl test`: runs the test blocks of files, and reports as pytest does.

Exit status: 0 no test failed, 1 a test failed or a file is wrong, 2 the call is wrong, 5 no test
was found, 130 interrupted. A test that sampling cannot decide counts as undecided, not as failed.
"""

from __future__ import annotations

import argparse
import sys
import time

from fkdsl.api import load
from fkdsl.api.outcomes import TestRun, TestSettings
from fkdsl.api.test_blocks import run_test
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.rendering import render_all
from fkdsl.cli.check import without
from fkdsl.cli.output import print_json, say
from fkdsl.cli.progress import RunProgress, is_live
from fkdsl.cli.test_report import failure_text, file_json, summary_text, verbose_lines

LETTERS = {"passed": ".", "failed": "F", "undecided": "?", "error": "E"}
NONE_FOUND = 5


@dataclass(frozen=True)
class FileRun:
    """A file and the outcomes of its tests. error: why it could not be loaded."""

    file: str
    runs: tuple[TestRun, ...]
    error: ProgramError | None = None


def main(args: argparse.Namespace) -> int:
    runs = 100 if args.runs is None else args.runs
    if runs < 1:
        raise CallError(
            f"a method is run at least once, not {runs} times",
            "write --runs 100, or --no-methods",
        )
    if args.no_methods and args.runs is not None:
        raise CallError(
            "--no-methods runs no method, and --runs says how often", "leave one of them out"
        )
    if not args.seconds > 0:  # so that nan fails too
        raise CallError(
            f"a test has a number of seconds above 0, not {args.seconds:g}", "write --seconds 30"
        )
    began = time.monotonic()
    settings = TestSettings(not args.no_methods, runs=runs, seed=args.seed, seconds=args.seconds)
    files = [run_file(file, args, settings) for file in args.files]
    runs = [run for file in files for run in file.runs]
    wrong = any(f.error is not None for f in files) or any(
        r.outcome in ("failed", "error") for r in runs
    )
    seconds = time.monotonic() - began
    if args.json:
        tests = [t for f in files for t in file_json(f.file, f.runs, f.error)]
        print_json({"tests": tests, "seconds": seconds, "seed": args.seed})
    else:
        for f in files:
            for run in f.runs:
                if run.outcome in ("failed", "error"):
                    say(failure_text(f.file, run))
        say(summary_text(runs, sum(f.error is not None for f in files), seconds))
    return 1 if wrong else 0 if runs else NONE_FOUND


def run_file(file: str, args: argparse.Namespace, settings: TestSettings) -> FileRun:
    """Runs a file's tests and prints a letter for each as it ends; mistakes in the file go to
    stderr."""
    try:
        program = without(
            load(file, allow_extern=args.allow_extern, allow_outside=args.allow_outside),
            args.no_opt,
        )
        program = program.select(args.program) if args.program else program
    except ProgramError as error:
        say(render_all(error.diagnostics), end="\n\n", file=sys.stderr)
        return FileRun(file, (), error)
    chosen = [t for t in program.checked.tests if args.keyword in t.title]
    if not chosen:
        return FileRun(file, ())
    prints = not args.json
    # On a terminal a live line of progress takes the place of letters that come one by one.
    letters = prints and not args.verbose and not is_live()
    if prints and (letters or args.verbose):
        say(f"{file} ", end="" if letters else "\n", flush=True)
    runs = []
    for number, test in enumerate(chosen, 1):
        with RunProgress(f"{file}: test {number} of {len(chosen)}") as progress:
            runs.append(run_test(program, test, settings, progress.advance))
        if letters:
            say(LETTERS[runs[-1].outcome], end="", flush=True)
        elif prints and args.verbose:
            say(verbose_lines(runs[-1]))
    if letters:
        say()
    elif prints and not args.verbose:
        say(f"{file} {''.join(LETTERS[run.outcome] for run in runs)}")
    return FileRun(file, tuple(runs))
