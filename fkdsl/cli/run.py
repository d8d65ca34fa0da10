"""`fkdsl run` and `fkdsl exact`: the call's flags to a run, and its result to the reader."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from fkdsl.api.auto import AUTO_METHOD, AutoChoice, chosen_run
from fkdsl.api.blame import conflicts, with_conflicts
from fkdsl.api.hint import Hint, Need
from fkdsl.api.prefill import adopt
from fkdsl.api.request import RunRequest
from fkdsl.api.run import run
from fkdsl.api.trace.kept import Kept, kept_trace
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, CallError, Interrupted, PopulationDied, ProgramError
from fkdsl.base.rendering import error_text
from fkdsl.cli.blame import blame_text
from fkdsl.cli.call import called_engines, called_program, called_request, called_samples
from fkdsl.cli.check import warn
from fkdsl.cli.formats import print_answers
from fkdsl.cli.output import check_file_target, print_json, say, tell
from fkdsl.cli.page import Page, check_report, reported_page
from fkdsl.cli.progress import RunProgress
from fkdsl.cli.report import died_json, line_of, result_json, result_text
from fkdsl.cli.stats import stats_json, stats_text
from fkdsl.cli.unfinished import going_on, unfinished_json, unfinished_text
from fkdsl.cli.watch import Watch
from fkdsl.inference.result import Result
from fkdsl.values.values import plain

TOP = 10
"""Values that a table has, if --top does not say it."""


def main(args: argparse.Namespace) -> int:
    if args.each is not None:
        from fkdsl.cli import each

        return each.main(args)
    if args.out is not None:
        raise CallError("--out is for --each", "write `> answer.txt`, or --each ROWS.csv")
    deadline = Deadline.of(args.timeout)
    with until(Deadline.of(args.timeout)):  # what is worked out before the run has its own time
        program = called_program(args)
        progress = RunProgress(program.name)
        engines = called_engines(program, args, progress, metered=args.stats)
        request = called_request(args, program, engines, deadline)
        samples = called_samples(args, request.call.method)
        if args.top is not None and (samples or args.json):
            flag, what = ("--samples", "draws") if samples else ("--json", "all answers")
            raise CallError(
                f"--top is of a table of answers, and {flag} prints {what}", "leave one of them out"
            )
        if args.trace:
            check_file_target(args.trace, "--trace")
        check_report(args)
        warn(program.warnings)
    with progress:
        if args.prefill:
            adopt(program, args.prefill, engines)
        choice = None
        if getattr(args, "method", None) == AUTO_METHOD:
            choice = chosen_run(request, progress.stage)
            progress.stage(program.name)
            request = choice.request
        progress.islands = request.known_islands
        engines = request.engines  # those of a cluster, where it computes
        hint = Hint(program, engines)
        page, wrong = _page(args, request, progress, hint)
        assert page.result is not None
        result = page.result
        result = result if choice is None else choice.counted(result)
        notes = list(result.notes)
        hinted = not args.no_hint and choice is None and request.on is None
        if hinted and args.islands == 1 and not request.aim.asked:
            with suppress(DeadlinePassed), until(deadline):
                notes += hints(args, hint.exact_needs(result))
        if engines.defaulted:
            notes.append("no model is named: `tiny`, which ships with fkdsl, was used")
        result = replace(result, notes=tuple(notes))
    if args.json:
        _print_json(args, request, result, samples, wrong, choice)
    else:
        _print_text(args, request, result, samples)
    if wrong is not None:
        sys.stdout.flush()
        raise wrong
    return CallError.exit_status if page.failed else 0


def _page(
    args: argparse.Namespace, request: RunRequest, progress: RunProgress, hint: Hint
) -> tuple[Page, ProgramError | None]:
    """(the page with the result, the mistakes in its queries or None)."""

    watch: Watch | None = None
    if args.watch:
        model = request.program.feynman_kac(engines=request.engines)
        watch = Watch(request.program.name, model, progress)

    def observe(step: Any) -> None:
        if watch is not None:
            watch.step(step)
        else:
            progress.step(step, request.engines.counts()[1])
        hint.watch(step)

    keeps = request.trace is None and request.resume is None and request.goes_on
    with (
        watch or nullcontext(),
        reported_death(request, json=args.json),
        reported_cut(args),
        kept_trace(request.program.name) if keeps else nullcontext(Kept()) as kept,
        reported_page(args, request, kept.file or request.trace) as page,
    ):
        try:
            page.result = run(replace(request, trace=page.trace), observe)
        except ProgramError as error:
            if error.result is None:
                raise
            page.result = error.result
            return page, error
        return page, None


def _print_json(
    args: argparse.Namespace,
    request: RunRequest,
    result: Result,
    samples: int,
    wrong: ProgramError | None,
    choice: AutoChoice | None,
) -> None:
    answer = result_json(result, filtering=args.filtering)
    if samples:
        answer["samples"] = [plain(v) for v in result.samples(samples)]
    if choice is not None:
        answer["auto"] = choice.json()
    if args.stats:
        answer["stats"] = stats_json(request.engines)
        if request.engines.fetched is not None:
            answer["store"] = request.engines.fetched.json()
    if wrong is not None:
        wrong.answer = answer  # it is printed once, with the mistakes
    else:
        print_json(answer)


def _print_text(
    args: argparse.Namespace, request: RunRequest, result: Result, samples: int
) -> None:
    if args.format != "table":
        print_answers(result, args.format, samples, args.top)
        return
    if samples:
        say("".join(f"{line_of(v)}\n" for v in result.samples(samples)), end="")
        return
    options = request.call.options
    say(
        result_text(
            result, options, top=TOP if args.top is None else args.top, filtering=args.filtering
        ),
        end="",
    )
    if result.blame is not None:
        say("\n" + blame_text(result.blame), end="")
    if args.stats:
        say("\n" + stats_text(request.engines), end="")
        fetched = request.engines.fetched
        say("" if fetched is None else fetched.text(), end="")


@contextmanager
def reported_death(request: RunRequest, *, json: bool) -> Iterator[None]:
    """A context in which a run that dies prints its blame, and its error names the lines that
    contradict each other. json: the blame goes into the error's `answer` instead."""
    try:
        yield
    except PopulationDied as died:
        if died.blame is None and request.on is None:
            with until(request.deadline):
                died = with_conflicts(died, conflicts(request.program, request.engines))
        if json:
            died.answer = died_json(request.program.name, died)
        elif died.blame is not None:
            say(blame_text(died.blame), file=sys.stderr)
        raise died from None


@contextmanager
def reported_cut(args: argparse.Namespace) -> Iterator[None]:
    """A context in which a run that is cut short prints its population so far, and how to go
    on."""
    try:
        yield
    except (BudgetEnded, Interrupted) as error:
        unfinished = error.unfinished
        if unfinished is None:
            raise
        how = (
            f"go on from here: {going_on(args.given, unfinished.resume)}"
            if unfinished.resume
            else ""
        )
        if not args.json and unfinished.particles:
            say(
                unfinished_text(unfinished, TOP if args.top is None else args.top),
                end="",
                flush=True,
            )
        if isinstance(error, BudgetEnded):
            help = "; or ".join(filter(None, (error.help, how)))
            cut = BudgetEnded(error.message, help, unfinished)
            cut.answer = unfinished_json(unfinished)
            raise cut from None
        if args.json:
            print_json(unfinished_json(unfinished))
        tell(error_text(f"interrupted past step {unfinished.step}", help=how))
        error.reported = True
        raise


def hints(args: argparse.Namespace, need: Need | None) -> list[str]:
    """The note that exact would have been cheaper, with the call; none where `need` is None."""
    if need is None:
        return []
    own = [
        ("--program", args.program),
        *(("-p", p) for p in args.parameters),
        ("--model", args.model),
    ]
    given = [shlex.join((flag, value)) for flag, value in own if value]
    call = " ".join(["fkdsl exact", shlex.quote(args.file), *given])
    return [f"exact needs only {need.states} states and {need.tokens} tokens: {call}"]
