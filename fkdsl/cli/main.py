"""`fkdsl`: the command line, its commands and its exit statuses.

    0 an answer   1 the program is wrong   2 the call is wrong   3 inference failed
    5 no test was found   70 our own bug   130 interrupted

A command is imported when it is called, so that `fkdsl --version` and `fkdsl check` are quick.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import NoReturn

from fkdsl.base.collector import OBJECTS
from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.errors import BudgetEnded, CallError, FkdslError, InternalError, Interrupted
from fkdsl.cli.commands import COMMANDS
from fkdsl.cli.failure import report
from fkdsl.cli.flags import ALL, command_parser
from fkdsl.cli.output import discard, finish, prepare_streams, reason, tell


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status. Prints fkdsl's own errors, and raises none."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv is None:
            gc.set_threshold(OBJECTS)  # it is a process of our own
            prepare_streams()
        return finish(_run(given))
    except BrokenPipeError:
        # The reader of our output, such as `head`, has read enough.
        discard(sys.stdout)
        return finish(0)
    except FkdslError as error:
        return _failed(error, given)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        return _failed(
            CallError(
                f"{place}{reason(error)}",
                "see whether there is room, and who may read and write it",
            ),
            given,
        )


def _run(given: list[str]) -> int:
    """Runs a command and returns its exit status. Raises fkdsl's own errors, and InternalError for
    any other."""
    try:
        if not given:
            command_parser().print_help()
            return 0
        # Without a name, argparse would take the file that follows for one.
        only = given[0] if given[0] in COMMANDS else None
        args = command_parser(only).parse_args(
            [f"--no-opt={ALL}" if a == "--no-opt" else a for a in given]
        )
        args.given = given
        status: int = import_module(COMMANDS[args.command].module).main(args)
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
    except BaseException as error:  # a panic in a Rust library is no Exception
        if os.environ.get("FKDSL_DEBUG"):
            raise
        raise InternalError(
            f"{type(error).__name__}: {error}; set FKDSL_DEBUG=1 to see where"
        ) from None


def _failed(error: FkdslError, given: list[str]) -> int:
    """Reports an error. --json is looked up in the call itself, which may be too wrong to parse."""
    json = not {"--json", "--format=json"}.isdisjoint(given) or ("--format", "json") in pairwise(
        given
    )
    try:
        return finish(report(error, json=json))
    except OSError:
        discard(sys.stdout)
        tell(f"error: {error}")
        return finish(error.exit_status)


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
