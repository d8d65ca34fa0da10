"""The flags of the commands that load and run programs, in groups: the program, the model, ..., and
last how it is read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from fkdsl.cli.parsers import ChooseFormat, TakeParameter, count
from fkdsl.inference.options import Option
from fkdsl.models.dtypes import DTYPE_NAMES
from fkdsl.models.runtimes import RUNTIMES

FORMATS = ("table", "json", "jsonl", "csv", "text")
"""How answers are printed (cli/formats.py)."""
FEW = 4
"""Methods at most that the help of an option names."""


def add_program(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Which program."""
    program = parser.add_argument_group("the program")
    program.add_argument("file", metavar="FILE.fk", help="the file")
    program.add_argument("--program", metavar="NAME", help="which of the file's programs")
    return program


def add_call(parser: argparse.ArgumentParser) -> None:
    """What every command that runs a program takes first: the program and the model."""
    add_program(parser).add_argument(
        "-p",
        dest="parameters",
        action=TakeParameter,
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the program",
    )
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--model",
        metavar="MODEL",
        help="alias (tiny, smollm2), hub id, folder, .gguf, model of the file, .fk file with a "
        "table, or bytes(...) of one",
    )
    model.add_argument("--device", metavar="DEVICE", help="where it runs: cpu, cuda, auto")
    model.add_argument("--dtype", metavar="DTYPE", help=f"its precision: {', '.join(DTYPE_NAMES)}")
    model.add_argument(
        "--engine",
        metavar="ENGINE",
        help=f"another library that computes it: {', '.join(RUNTIMES)}",
    )
    model.add_argument(
        "--cache-memory", metavar="SIZE", help="memory for the cache, such as 500M or 4G"
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How programs are read and compiled."""
    reading = parser.add_argument_group("how the program is read")
    reading.add_argument(
        "--allow-extern",
        action="store_true",
        help="let programs run the Python code they declare",
    )
    add_outside(reading)
    reading.add_argument(
        "--no-opt",
        action="append",
        default=[],
        metavar="NAME",
        help="switch the optimiser off, or one part: --no-opt=fuse",
    )


def add_outside(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="let programs name files that are not below the folder of their main file",
    )


def add_repeating(parser: argparse.ArgumentParser) -> None:
    """The seed, the bound on steps, and JSON."""
    add_seed(parser)
    add_steps(parser)
    add_json(parser)


def add_seed(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="the same seed gives the same answer (default 0)",
    )


def add_steps(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--max-steps",
        type=int,
        default=10_000,
        metavar="N",
        help="stop after this many steps (default 10000)",
    )


def add_json(parser: argparse._ActionsContainer) -> None:
    parser.set_defaults(format="table", json=False)
    parser.add_argument("--json", action=ChooseFormat, nargs=0, help="print one JSON object")


def add_run(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    """The flags of `run`, and of `exact`, whose method is fixed."""
    add_call(parser)
    _add_inference(parser, fixed=fixed)
    _add_options(parser, fixed=fixed)
    _add_aim(parser, fixed=fixed)
    _add_printing(parser)
    _add_files(parser)
    _add_rows(parser)
    add_reading(parser)


def _add_inference(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    from fkdsl.inference.methods import METHODS

    inference = parser.add_argument_group("inference")
    if not fixed:
        inference.add_argument(
            "--method",
            metavar="METHOD",
            help=f"{', '.join(METHODS)}, or auto, which chooses by a pilot (default: the file's "
            "`infer` line)",
        )
    add_seed(inference)
    if not fixed:
        inference.add_argument(
            "--lookahead",
            default="auto",
            metavar="HOW",
            help="how texts with conditions look ahead to their end by a surrogate of the model: "
            "auto (default: both, as far as a pilot trusts it), none, twist, proposal, both, or a "
            "surrogate's FILE",
        )
    inference.add_argument(
        "--twist", metavar="FILE", help="weigh particles on their way by what `fkdsl tune` learned"
    )
    add_steps(inference)
    inference.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop after this time, with status 3"
    )


def _add_options(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    """The options of the methods, each once."""
    from fkdsl.inference.methods import METHODS

    options = parser.add_argument_group("options of the methods")
    having: dict[str, dict[str, Option]] = {}
    for method in [METHODS["exact"]] if fixed else METHODS.values():
        for name, option in method.all_options.items():
            having.setdefault(name, {})[method.name] = option
    for name, of in having.items():
        first = next(iter(of.values()))
        options.add_argument(
            f"--{name.replace('_', '-')}",
            type=first.reader,
            metavar=_metavar(first),
            help=option_help(of),
        )
    if "samples" not in having:
        options.add_argument(
            "--samples", type=int, metavar="N", help="draws from the posterior to print, one a line"
        )


def _metavar(option: Option) -> str:
    match option.default:
        case bool():
            return "true|false"
        case str():
            return "NAME"
        case float():
            return "X"
        case _:
            return "N"


def option_help(of: Mapping[str, Option]) -> str:
    """An option's help: what it is, its choices, its defaults, and its methods where they are few.
    of: the option in each method that has it."""
    first = next(iter(of.values()))
    listed = [one for one in first.one_of if one not in first.doc]
    choices = f": {', '.join(listed)}" if listed else ""
    defaults: dict[str, list[str]] = {}
    for method, option in of.items():
        default = option.default
        shown = f"{default:g}" if isinstance(default, float) else str(default).lower()
        defaults.setdefault(shown, []).append(method)
    usual, *others = defaults
    differ = [f"{method} {default}" for default in others for method in defaults[default]]
    named = f"{', '.join(of)}; " if len(of) <= FEW else ""
    return f"{first.doc}{choices} ({named}default {usual}{''.join(f', {one}' for one in differ)})"


def _add_aim(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    """The number of islands, and what finds it."""
    aim = parser.add_argument_group("how sure the answer is")
    aim.add_argument(
        "--islands",
        type=int,
        default=1,
        metavar="R",
        help="independent populations, for standard errors by any method (default 1)",
    )
    if not fixed:
        aim.add_argument(
            "--target-se",
            type=float,
            metavar="NATS",
            help="as many islands as this standard error of log Z asks for, such as 0.1",
        )
        aim.add_argument(
            "--budget",
            action="append",
            default=[],
            metavar="AMOUNT",
            help="islands for about so many tokens forwarded, tokens=N, or so much time, seconds=S",
        )
        aim.add_argument(
            "--on",
            metavar="ray[=ADDRESS]",
            help="compute the islands on a Ray cluster, with the same answer; needs fkdsl[ray]",
        )
        aim.add_argument(
            "--exchange",
            type=int,
            metavar="T",
            help="after every T steps resample whole islands, where few of them have most of the "
            "weight",
        )
    aim.add_argument(
        "--no-hint", action="store_true", help="do not look whether exact would have been cheaper"
    )


def _add_printing(parser: argparse.ArgumentParser) -> None:
    """What is printed of a run."""
    printed = parser.add_argument_group("what is printed")
    printed.add_argument(
        "--query",
        dest="queries",
        action="append",
        default=[],
        metavar="[NAME=]EXPRESSION",
        help="a posterior expectation over `value`, such as 'contains(value, \"sea\")'",
    )
    printed.add_argument(
        "--top", type=count, metavar="N", help="how many values (default 10; of --format, all)"
    )
    printed.add_argument(
        "--format",
        action=ChooseFormat,
        choices=FORMATS,
        metavar="FORMAT",
        help="table (default), json: one object, jsonl: an object for each answer, csv, or text: "
        "the answers alone",
    )
    add_json(printed)
    printed.add_argument(
        "--blame",
        action="store_true",
        help="what each condition, factor and observe line did",
    )
    printed.add_argument(
        "--filtering", action="store_true", help="the filtering posterior of every step too"
    )
    printed.add_argument(
        "--stats",
        action="store_true",
        help="what the model's forwards took, prefill and decoding apart",
    )
    printed.add_argument(
        "--watch",
        action="store_true",
        help="each particle's text and weight as it grows, on stderr",
    )


def _add_rows(parser: argparse.ArgumentParser) -> None:
    """A run for each row of a file."""
    rows = parser.add_argument_group("a run for each row of a file")
    rows.add_argument(
        "--each",
        metavar="ROWS",
        help="a .csv, .tsv or .jsonl file, whose columns are named like parameters; the models are "
        "loaded once, and --timeout is each row's",
    )
    rows.add_argument(
        "--out",
        metavar="FILE",
        help="write the answers there (.jsonl or .csv) as they come; the same call goes on where "
        "one was stopped",
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    """What a run reads and writes."""
    files = parser.add_argument_group("files of the run")
    files.add_argument(
        "--report", metavar="FILE.html", help="write a page of the run, to look at in a browser"
    )
    files.add_argument(
        "--trace", metavar="FILE.jsonl", help="write the run down, for `fkdsl replay` and --resume"
    )
    files.add_argument(
        "--alternatives",
        type=int,
        metavar="K",
        help="how many of each draw's likeliest outcomes --trace and --report tell of (default 5)",
    )
    files.add_argument(
        "--resume",
        metavar="FILE.jsonl",
        help="go on with the run of this file, and in it; begin it if there is none",
    )
    files.add_argument("--prefill", metavar="FILE", help="decode from what `fkdsl prefill` wrote")
    files.add_argument(
        "--prefill-store",
        metavar="FOLDER|URL",
        help="fetch the prompts that `fkdsl prefill --store` puts there",
    )
