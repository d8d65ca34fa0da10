"""`fkdsl run` and `fkdsl exact`: the call's flags to a run, and its result to the reader."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from fkdsl.api import Program, load
from fkdsl.api.blame import conflicts, with_conflicts
from fkdsl.api.engines import Engines
from fkdsl.api.hint import Hint, Need
from fkdsl.api.prefill import adopt
from fkdsl.api.trace.kept import Kept, kept_trace
from fkdsl.base.deadline import NEVER, Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, CallError, Interrupted, PopulationDied, ProgramError
from fkdsl.base.rendering import error_text
from fkdsl.base.spans import Source, Span
from fkdsl.cli.blame import blame_text
from fkdsl.cli.check import warn, without
from fkdsl.cli.output import check_file_target, print_json, say, tell
from fkdsl.cli.progress import RunProgress
from fkdsl.cli.report import died_json, result_json, result_text, sample_lines
from fkdsl.cli.stats import stats_json, stats_text
from fkdsl.cli.unfinished import going_on, unfinished_json, unfinished_text
from fkdsl.inference.islands import check_islands
from fkdsl.inference.methods import METHODS, check_method
from fkdsl.inference.samplers.adaptive import Aim
from fkdsl.values.types import BOOL, FLOAT, INT, STR, Type
from fkdsl.values.values import plain

MOST_SAMPLES = 1_000_000
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(args: argparse.Namespace) -> int:
    deadline = Deadline(args.timeout)
    with until(
        Deadline(args.timeout)
    ):  # of what is worked out before the run, which has its own time
        program = called_program(args)
        method, options = method_and_options(program, args)
        verify_flags(program, args, method, options)
        chosen = check_method(method)
        checked = chosen.checked(options)
        check_islands(chosen, args.islands)
        samples = called_samples(args, method)
        aim = called_aim(args)
        aim.check(method, args.islands)
        queries = asked(args.queries)
        program.questions(queries)
        if args.trace:
            check_file_target(args.trace, "--trace")
        warn(program.warnings)
    with RunProgress(program.name) as progress:
        engines = called_engines(program, args, progress, metered=args.stats)
        if args.prefill:
            adopt(program, args.prefill, engines)
        hint = Hint(program, engines)

        def observe(step: Any) -> None:
            progress.step(step, engines.counts()[1])
            hint.watch(step)

        wrong: ProgramError | None = None
        keeps = (
            args.trace is None
            and args.resume is None
            and chosen.resumes_with(options)
            and not aim.asked
        )
        with (
            told_of_death(program, engines, deadline, json=args.json),
            told_of_cut(args),
            kept_trace(program.name) if keeps else nullcontext(Kept()) as kept,
        ):
            try:
                result = program.run(
                    method,
                    engines=engines,
                    seed=args.seed,
                    timeout=deadline,
                    max_steps=args.max_steps,
                    filtering=args.filtering,
                    islands=args.islands,
                    target_se=aim.target_se,
                    budget_tokens=aim.tokens,
                    budget_seconds=aim.seconds,
                    trace=kept.file if keeps else args.trace,
                    resume=args.resume,
                    observer=observe,
                    blame=args.blame,
                    queries=queries,
                    **options,
                )
            except ProgramError as error:
                if error.result is None:
                    raise
                result, wrong = error.result, error
        if not args.no_hint and args.islands == 1 and not aim.asked:
            with suppress(DeadlinePassed), until(deadline):
                result = replace(
                    result, notes=(*result.notes, *hints(args, hint.exact_needs(result)))
                )
        if engines.defaulted:
            result = replace(
                result,
                notes=(
                    *result.notes,
                    "no model is named: `tiny`, which ships with fkdsl, was used",
                ),
            )
    if args.json:
        found = result_json(result, filtering=args.filtering)
        if samples:
            found["samples"] = [plain(v) for v in result.samples(samples)]
        if args.stats:
            found["stats"] = stats_json(engines)
        if wrong is not None:
            wrong.answer = found  # with the mistakes, it is printed once
            raise wrong
        print_json(found)
    elif samples:
        print("".join(f"{line}\n" for line in sample_lines(result, samples)), end="")
    else:
        say(
            result_text(result, checked, top=args.top, filtering=args.filtering),
            end="",
        )
        if result.blame is not None:
            say("\n" + blame_text(result.blame), end="")
        if args.stats:
            say("\n" + stats_text(engines), end="")
    if wrong is not None:
        sys.stdout.flush()
        raise wrong
    return 0


@contextmanager
def told_of_death(
    program: Program, engines: Engines, deadline: Deadline = NEVER, *, json: bool = False
) -> Iterator[None]:
    """A run within it that dies prints its blame, and its report names the lines that contradict
    each other. json: the blame goes with what else is known into the error's `answer`."""
    try:
        yield
    except PopulationDied as died:
        with until(deadline):
            told = (
                died
                if died.blame is not None
                else with_conflicts(died, conflicts(program, engines))
            )
        if json:
            told.answer = died_json(program.name, told)
        elif told.blame is not None:
            say(blame_text(told.blame), file=sys.stderr)
        raise told from None


@contextmanager
def told_of_cut(args: argparse.Namespace) -> Iterator[None]:
    """A run within it that is cut short prints its population so far, and how to go on."""
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
            say(unfinished_text(unfinished, args.top), end="", flush=True)
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
    """The note that exact would have been cheaper, if it would."""
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


def called_program(args: argparse.Namespace) -> Program:
    """The program that the call names, with its parameters."""
    program = load(args.file, allow_extern=args.allow_extern, allow_outside=args.allow_outside)
    if args.program:
        program = program.select(args.program)
    return without(program(**parameters(program, args.parameters)), args.no_opt)


def called_engines(
    program: Program, args: argparse.Namespace, progress: RunProgress, *, metered: bool = False
) -> Engines:
    """The program's models as the call's flags say; none is loaded yet."""
    return program.engines(
        args.model,
        cache_memory=memory(args.cache_memory),
        dtype=args.dtype,
        device=args.device,
        progress=progress.loading,
        metered=metered,
    )


def method_and_options(program: Program, args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The method and its options: the flags', over the file's where the method is the file's."""
    own, own_options = program.method
    method = "exact" if args.command == "exact" else args.method or own
    flags = {
        name: value
        for name in {name for m in METHODS.values() for name in m.all_options}
        if (value := getattr(args, name, None)) is not None
    }
    if method in METHODS and "samples" not in METHODS[method].all_options:
        flags.pop("samples", None)  # draws to be printed
    return method, {**own_options, **flags} if method == own else flags


def called_samples(args: argparse.Namespace, method: str) -> int:
    """How many draws from the posterior are to be printed, 0 for a table; for rejection it is an
    option of its own."""
    if args.samples is None or "samples" in check_method(method).all_options:
        return 0
    if not 1 <= args.samples <= MOST_SAMPLES:
        raise CallError(
            f"--samples is between 1 and {MOST_SAMPLES:,}, not {args.samples}", "write --samples 10"
        )
    return int(args.samples)


def verify_flags(
    program: Program, args: argparse.Namespace, method: str, options: dict[str, Any]
) -> None:
    """Raises CallError for a flag of another method than the one that the file chooses, and says
    how to choose one."""
    own = program.method[0]
    wrong = next(
        (name for name in options if method in METHODS and name not in METHODS[method].all_options),
        None,
    )
    if (
        wrong is None
        or program.checked.infer is None
        or method != own
        or args.command == "exact"
        or args.method
    ):
        return
    having = [name for name, m in METHODS.items() if wrong in m.all_options]
    flag = f"--{wrong.replace('_', '-')} {options[wrong]}"
    call = shlex.join(["fkdsl", "run", args.file, "--method", having[0], *flag.split(" ", 1)])
    raise CallError(
        f"the file says `infer {own}`, which has no option `{wrong}`", f"choose a method: {call}"
    )


def called_aim(args: argparse.Namespace) -> Aim:
    """The target and the budgets of the call's flags; exact has none. A number alone counts tokens,
    as in compare."""
    found: dict[str, Any] = {}
    for text in getattr(args, "budget", []):
        unit, _, number = text.rpartition("=")
        try:
            found[unit or "tokens"] = {"": int, "tokens": int, "seconds": float}[unit](number)
        except (KeyError, ValueError):
            raise CallError(
                f"--budget {text} is no budget",
                "write --budget tokens=20000 or --budget seconds=30",
            ) from None
    return Aim(getattr(args, "target_se", None), found.get("tokens"), found.get("seconds"))


def parameters(program: Program, given: list[str]) -> dict[str, Any]:
    """The values of `-p name=value`, read by the parameters' types."""
    types = dict(
        zip((p.name for p in program.info.definition.params), program.info.params, strict=True)
    )
    found: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            help = f"write -p {shlex.quote(f'{item}=VALUE')}"
            raise CallError(f"-p {shorten(item)} has no value", help)
        found[name] = _value(name, text, types.get(name, STR))
    return found


def asked(given: list[str]) -> dict[str, Span]:
    """The expressions of `--query` by name: the one before `=`, else the expression's text."""
    found: dict[str, Span] = {}
    for item in given:
        named = re.match(r"\s*([^\W\d]\w*)\s*=(?![=~])", item)
        name, start = (named[1], named.end()) if named else (item.strip(), 0)
        if not item[start:].strip():
            raise CallError(
                f"--query {item!r} says no expression", "write --query 'contains(value, \"sea\")'"
            )
        if name in found:
            raise CallError(
                f"--query `{name}` is given twice",
                "give each a name: --query 'long=len(value) > 9'",
            )
        found[name] = Span(Source("--query", item), start, len(item))
    return found


def _value(name: str, text: str, wanted: Type) -> Any:
    """A parameter's text as its type says; lists are written as JSON."""
    try:
        if wanted == STR:
            return text
        if wanted == BOOL:
            return {"true": True, "false": False}[text]
        if wanted == INT:
            return int(text)
        if wanted == FLOAT:
            return float(text)
        return json.loads(text)
    except (ValueError, KeyError, RecursionError):
        examples: dict[Type, str] = {BOOL: "true", INT: "5", FLOAT: "0.5"}
        example = examples.get(wanted, '["a", "b"]')
        given = shorten(text)
        help = f"write -p {shlex.quote(f'{name}={example}')}"
        raise CallError(f"the parameter `{name}` is a {wanted}, not {given!r}", help) from None


def shorten(text: str, most: int = 60) -> str:
    """A text of the call as a message shows it."""
    return text if len(text) <= most else text[: most - 3] + "..."


def memory(text: str | None) -> int | None:
    """Bytes of a size such as 500M or 4G."""
    if text is None:
        return None
    number, unit = (
        (text[:-1], UNITS.get(text[-1:].upper(), 0)) if text[-1:].isalpha() else (text, 1)
    )
    try:
        size = int(float(number) * unit)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise CallError(f"--cache-memory {text} is no size", "write 500M or 4G")
    return size
