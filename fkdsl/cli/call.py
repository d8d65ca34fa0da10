"""From a command's flags to a program, its models and a request, for `run`, `exact`, `compare` and
`prefill`."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from typing import Any

from fkdsl.api import Program, load, parse
from fkdsl.api.arguments import example_of
from fkdsl.api.auto import AUTO_METHOD, first_method
from fkdsl.api.cluster.place import workers_of
from fkdsl.api.engines import Engines
from fkdsl.api.request import ALTERNATIVES, RunRequest
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import CallError
from fkdsl.base.spans import Source, Span
from fkdsl.cli.check import without
from fkdsl.cli.progress import RunProgress
from fkdsl.inference.method import Method
from fkdsl.inference.methods import METHODS, check_method
from fkdsl.inference.samplers.adaptive import Aim
from fkdsl.language.check.report import a
from fkdsl.values.types import BOOL, FLOAT, IMAGE, INT, STR, Type

MOST_SAMPLES = 1_000_000
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def called_program(args: argparse.Namespace, text: str | None = None) -> Program:
    """The program that the call names, with its parameters. text: that of the file, where it is not
    on the disk."""
    trust = {"allow_extern": args.allow_extern, "allow_outside": args.allow_outside}
    program = load(args.file, **trust) if text is None else parse(text, name=args.file, **trust)
    if args.program:
        program = program.select(args.program)
    return without(program(**parameters(program, args.parameters)), args.no_opt)


def called_engines(
    program: Program, args: argparse.Namespace, progress: RunProgress, *, metered: bool = False
) -> Engines:
    """The program's models by the flags of the call; none is loaded yet."""
    return program.engines(
        args.model,
        cache_memory=memory(args.cache_memory),
        dtype=args.dtype,
        device=args.device,
        runtime=args.engine,
        progress=progress.loading,
        metered=metered,
        loaded=getattr(args, "loaded", None),
    )


def called_request(
    args: argparse.Namespace, program: Program, engines: Engines, deadline: Deadline
) -> RunRequest:
    """The run that the flags of `run` and `exact` ask for."""
    method, options = called_method(program, args)
    return RunRequest.of(
        program,
        method,
        options,
        engines=engines,
        seed=args.seed,
        islands=args.islands,
        aim=called_aim(args),
        timeout=deadline,
        max_steps=args.max_steps,
        filtering=args.filtering,
        trace=args.trace,
        resume=args.resume,
        blame=args.blame,
        queries=called_queries(args.queries),
        lookahead=getattr(args, "lookahead", "auto"),
        twist=args.twist,
        prefill_store=getattr(args, "prefill_store", None),
        exchange=getattr(args, "exchange", None),
        on=workers_of(_on(args)),
        alternatives=called_alternatives(args),
    )


def _on(args: argparse.Namespace) -> str | None:
    """Where the flags say that islands are computed; None for here."""
    on: str | None = getattr(args, "on", None)
    if on is not None and getattr(args, "prefill", None):
        raise CallError(
            "a prefill is read by this process alone, and --on computes elsewhere",
            "leave it out, and each worker computes the prompt once; or use --prefill-store",
        )
    return on


def called_alternatives(args: argparse.Namespace) -> int | None:
    """How many alternatives of each draw are told of; None for as many as a trace has."""
    wanted: int | None = args.alternatives
    if wanted is not None and not (args.trace or args.resume or args.report):
        raise CallError(
            "--alternatives is for a run that is written down", "add --report out.html, or --trace"
        )
    return ALTERNATIVES if wanted is None and args.report else wanted


def called_method(program: Program, args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The method of the flags, else the file's, and the options of the flags; of `auto`, the method
    that the pilot begins with.

    Raises CallError for a flag of another method than the file's, and says how to choose one.
    """
    own = program.method[0]
    auto = getattr(args, "method", None) == AUTO_METHOD
    method = "exact" if args.command == "exact" else args.method or own
    options = {
        name: value
        for name in {name for m in METHODS.values() for name in m.all_options}
        if (value := getattr(args, name, None)) is not None
    }
    if auto:
        options.pop("samples", None)
        first = first_method(AUTO_METHOD, options, args.islands, bool(args.resume), _on(args))
        return str(first), {}
    known = check_method(method).all_options
    if "samples" not in known:
        options.pop("samples", None)  # draws to be printed
    wrong = next((name for name in options if name not in known), None)
    chosen_by_file = args.command != "exact" and not args.method and program.checked.infer
    if wrong is not None and chosen_by_file:
        other = next(m.name for m in METHODS.values() if wrong in m.all_options)
        flag = [f"--{wrong.replace('_', '-')}", str(options[wrong])]
        call = shlex.join(["fkdsl", "run", args.file, "--method", other, *flag])
        raise CallError(
            f"the file says `infer {own}`, which has no option `{wrong}`",
            f"choose a method: {call}",
        )
    return method, options


def called_samples(args: argparse.Namespace, method: Method) -> int:
    """The number of draws from the posterior to print, 0 for a table. For rejection, --samples is
    an option of the method."""
    if args.samples is None or "samples" in method.all_options:
        return 0
    if not 1 <= args.samples <= MOST_SAMPLES:
        raise CallError(
            f"--samples is between 1 and {MOST_SAMPLES:,}, not {args.samples}", "write --samples 10"
        )
    return int(args.samples)


def called_aim(args: argparse.Namespace) -> Aim:
    """The target and the budgets of the flags; exact has none. A number without a unit counts
    tokens, as for compare."""
    budgets: dict[str, Any] = {}
    for text in getattr(args, "budget", []):
        unit, _, number = text.rpartition("=")
        try:
            value = {"": int, "tokens": int, "seconds": float}[unit](number)
        except (KeyError, ValueError):
            raise CallError(
                f"--budget {text} is no budget",
                "write --budget tokens=20000 or --budget seconds=30",
            ) from None
        known = budgets.setdefault(unit or "tokens", value)
        if known is not value and known != value:
            what = f"--budget {unit or 'tokens'}"
            raise CallError(f"{what} is given twice, with two values", "leave one of them out")
    return Aim(getattr(args, "target_se", None), budgets.get("tokens"), budgets.get("seconds"))


def parameters(program: Program, given: list[str]) -> dict[str, Any]:
    """The values of `-p name=value`, parsed by the types of the parameters."""
    types = dict(
        zip((p.name for p in program.info.definition.params), program.info.params, strict=True)
    )
    values: dict[str, Any] = {}
    for item in given:
        name, _, text = item.partition("=")  # there is one: TakeParameter
        values[name] = value_of(name, text, types.get(name, STR))
    return values


def called_queries(given: list[str]) -> dict[str, Span]:
    """The expressions of `--query` by name; the name stands before `=`, else it is the expression
    itself."""
    queries: dict[str, Span] = {}
    for item in given:
        named = re.match(r"\s*([^\W\d]\w*)\s*=(?![=~])", item)
        name, start = (named[1], named.end()) if named else (item.strip(), 0)
        if not item[start:].strip():
            raise CallError(
                f"--query {item!r} says no expression", "write --query 'contains(value, \"sea\")'"
            )
        if name in queries:
            raise CallError(
                f"--query `{name}` is given twice",
                "give each a name: --query 'long=len(value) > 9'",
            )
        queries[name] = Span(Source("--query", item), start, len(item))
    return queries


def value_of(name: str, text: str, wanted: Type) -> Any:
    """A parameter's text as a value of its type; lists are written as JSON."""
    try:
        if wanted in (STR, IMAGE):  # an image is named by its path
            return text
        if wanted == BOOL:
            return {"true": True, "false": False}[text]
        if wanted == INT:
            return int(text)
        if wanted == FLOAT:
            return float(text)
        return json.loads(text)
    except (ValueError, KeyError, RecursionError):
        given = shorten(text)
        help = f"write -p {shlex.quote(f'{name}={example_of(wanted)}')}"
        raise CallError(f"the parameter `{name}` takes {a(wanted)}, not {given!r}", help) from None


def shorten(text: str, most: int = 60) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= most else text[: most - 3] + "..."


def memory(text: str | None, flag: str = "--cache-memory") -> int | None:
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
        raise CallError(f"{flag} {text} is no size", "write 500M or 4G")
    return size
