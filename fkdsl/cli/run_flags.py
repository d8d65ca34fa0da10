"""The flags of the commands that load and run programs."""

from __future__ import annotations

import argparse
from typing import Any

from fkdsl.inference.methods import METHODS

FORMATS = ("table", "json", "jsonl", "csv", "text")
"""How answers are printed (cli/formats.py)."""


class ChooseFormat(argparse.Action):
    """Sets `format`, and `json`, which all parts of a command ask for."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.format = values or "json"
        namespace.json = namespace.format == "json"


def add_loading(parser: argparse.ArgumentParser) -> None:
    """How programs are read and compiled."""
    parser.add_argument(
        "--allow-extern",
        action="store_true",
        help="let programs run the Python code they declare",
    )
    add_outside(parser)
    parser.add_argument(
        "--no-opt",
        action="append",
        default=[],
        metavar="NAME",
        help="switch the optimiser off, or one part: --no-opt=fuse",
    )


def add_outside(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="let programs name files that are not below the folder of their main file",
    )


def add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.fk")
    parser.add_argument("--program", metavar="NAME", help="which of the file's programs")
    add_loading(parser)


def add_call(parser: argparse.ArgumentParser) -> None:
    """What every command that runs a program takes."""
    add_program(parser)
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the program",
    )
    parser.add_argument(
        "--model",
        help="alias, hub id, folder, .gguf, model of the file, .fk file with a table, "
        "or bytes(...) of one",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same answer (default 0)"
    )
    parser.set_defaults(format="table", json=False)
    parser.add_argument("--json", action=ChooseFormat, nargs=0, help="print one JSON object")
    parser.add_argument(
        "--max-steps", type=int, default=10_000, help="stop after this many steps (default 10000)"
    )
    parser.add_argument(
        "--cache-memory", metavar="SIZE", help="memory for the cache, such as 500M or 4G"
    )
    parser.add_argument(
        "--dtype", help="precision of the model: float32, bfloat16, float16, float64, int8"
    )
    parser.add_argument("--device", help="where the model runs: cpu, cuda")


def add_run(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    """The flags of `run`, and of `exact`, whose method is fixed."""
    add_call(parser)
    if not fixed:
        parser.add_argument("--method", help=f"inference: {', '.join(METHODS)}, or auto")
    _add_options(parser, fixed=fixed)
    _add_aim(parser, fixed=fixed)
    if not fixed:
        parser.add_argument(
            "--lookahead",
            default="auto",
            metavar="auto|none|twist|proposal|both|FILE",
            help="how texts with conditions look ahead to their end by a surrogate of the model "
            "(default auto)",
        )
    parser.add_argument(
        "--no-hint", action="store_true", help="do not look whether exact would have been cheaper"
    )
    parser.add_argument(
        "--filtering", action="store_true", help="print the filtering posterior of every step too"
    )
    parser.add_argument(
        "--blame",
        action="store_true",
        help="print what each condition, factor and observe line did",
    )
    parser.add_argument(
        "--trace", metavar="FILE.jsonl", help="write the run down, for `fkdsl replay` and --resume"
    )
    parser.add_argument(
        "--resume",
        metavar="FILE.jsonl",
        help="go on with the run of this file, and in it; begin it if there is none",
    )
    parser.add_argument(
        "--report", metavar="FILE.html", help="write a page of the run, to look at in a browser"
    )
    parser.add_argument("--prefill", metavar="FILE", help="decode from what `fkdsl prefill` wrote")
    parser.add_argument(
        "--twist", metavar="FILE", help="weigh particles on their way by what `fkdsl tune` learned"
    )
    parser.add_argument(
        "--stats",
        action="store_true",
        help="print what the model's forwards took, prefill and decoding apart",
    )
    parser.add_argument(
        "--query",
        dest="queries",
        action="append",
        default=[],
        metavar="[NAME=]EXPRESSION",
        help="a posterior expectation over `value`, such as 'contains(value, \"sea\")'",
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop after this time, with status 3"
    )
    _add_printing(parser)


def _add_printing(parser: argparse.ArgumentParser) -> None:
    """How a run is shown."""
    parser.add_argument("--top", type=int, default=10, help="how many values to print (default 10)")
    parser.add_argument(
        "--format",
        action=ChooseFormat,
        choices=FORMATS,
        help="how to print the answers: a table (default), one JSON object, an object for each, "
        "CSV, or the answers alone",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show each particle's text and weight as it grows, on stderr",
    )


def _add_options(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    """The options of the methods, each once."""
    options = parser.add_argument_group("inference options (each belongs to some methods)")
    added: set[str] = set()
    for method in [METHODS["exact"]] if fixed else METHODS.values():
        for name, option in method.all_options.items():
            if name not in added:
                added.add(name)
                flag = f"--{name.replace('_', '-')}"
                options.add_argument(flag, type=option.reader, help=option.doc)
    if "samples" not in added:
        options.add_argument(
            "--samples", type=int, help=METHODS["rejection"].options["samples"].doc
        )


def _add_aim(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    """The number of islands, and what finds it."""
    parser.add_argument(
        "--islands",
        type=int,
        default=1,
        metavar="R",
        help="independent populations, for standard errors by any method (default 1)",
    )
    if not fixed:
        parser.add_argument(
            "--on",
            metavar="ray[=ADDRESS]",
            help="compute the islands on a Ray cluster, with the same answer; needs fkdsl[ray]",
        )
        parser.add_argument(
            "--exchange",
            type=int,
            metavar="T",
            help="after every T steps resample whole islands, where few of them have most of the "
            "weight",
        )
        parser.add_argument(
            "--target-se",
            type=float,
            metavar="NATS",
            help="as many islands as this standard error of log Z asks for, such as 0.1",
        )
        parser.add_argument(
            "--budget",
            action="append",
            default=[],
            metavar="tokens=N|seconds=S",
            help="islands for about so many tokens forwarded, or so much time",
        )
