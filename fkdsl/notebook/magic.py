"""The cell magic `%%fk`: a cell that is a program, run as `fkdsl run` would.

    %load_ext fkdsl

    %%fk --particles 32 --seed 1 -p n=3 --to result
    program ...

The line takes the flags of `fkdsl run`, and `--to NAME` for the variable that the result goes to
(`fk`, if not said). The result shows itself as a table. Models stay loaded from cell to cell.
Mistakes are printed as on the command line.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fkdsl.api.auto import AUTO_METHOD, chosen_run
from fkdsl.api.engines import LoadedModels
from fkdsl.api.run import run
from fkdsl.base.deadline import Deadline, until
from fkdsl.base.errors import CallError, FkdslError
from fkdsl.cli.call import called_engines, called_program, called_request
from fkdsl.cli.check import warn
from fkdsl.cli.failure import report
from fkdsl.cli.flags import command_parser
from fkdsl.cli.progress import RunProgress
from fkdsl.cli.run_flags import FORMATS
from fkdsl.inference.interface import Step
from fkdsl.inference.result import SHOWN, Result

CELL = "cell.fk"
"""What messages call the cell. Its imports and schemas are in the folder of the notebook."""
BETWEEN = 0.2
"""Seconds between two lines of progress."""
NOT_HERE = ("report", "watch", "resume", "prefill", "json", "stats")
"""Flags of `fkdsl run` that a cell does not take."""


class FkMagic:
    """`%%fk` of one IPython shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.loaded: LoadedModels = {}

    def cell(self, line: str, cell: str) -> Result | None:
        """Runs a cell, and returns its result; None where it has none, whose reason is printed."""
        try:
            name, args = self._args(line)
            result = replace(self._run(args, cell), shown=args.shown)
        except FkdslError as error:
            report(error, json=False)
            return None
        except SystemExit:  # -h, which argparse has printed
            return None
        self.shell.user_ns[name] = result
        return result

    def _args(self, line: str) -> tuple[str, argparse.Namespace]:
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise CallError(f"this line is no call: {error}", "close the quotes") from None
        name = "fk"
        if "--to" in words:
            at = words.index("--to")
            name = words[at + 1] if at + 1 < len(words) else ""
            if not name.isidentifier():
                raise CallError(f"--to {name} names no variable", "write %%fk --to result")
            del words[at : at + 2]
        args = command_parser().parse_args(["run", CELL, *words])
        refused = [flag for flag in NOT_HERE if getattr(args, flag)]
        refused += ["format"] if args.format != FORMATS[0] else []
        if refused:
            flag = refused[0]
            raise CallError(f"--{flag} is for the command line", f"leave --{flag} out")
        args.loaded = self.loaded
        args.shown = args.top if any(w.split("=")[0] == "--top" for w in words) else SHOWN
        return name, args

    def _run(self, args: argparse.Namespace, cell: str) -> Result:
        deadline = Deadline(args.timeout)
        with until(deadline):
            program = called_program(args, cell)
            engines = called_engines(program, args, RunProgress(program.name))
            request = called_request(args, program, engines, deadline)
        if args.samples is not None and "samples" not in request.call.method.all_options:
            help = "leave it out; the result's `particles` have values and weights to draw from"
            raise CallError("--samples prints draws, which is for the command line", help)
        warn(program.warnings)
        with _progress(program.name) as shown:
            if args.method != AUTO_METHOD:
                return run(request, shown)
            choice = chosen_run(request)
            return choice.counted(run(choice.request, shown))


@contextmanager
def _progress(name: str) -> Iterator[Any]:
    """A function of steps that keeps a line below the cell up to date; the line goes at the end."""
    from IPython.display import display

    began, drawn = time.monotonic(), 0.0
    handle: Any = None

    def show(step: Any) -> None:
        nonlocal handle, drawn
        now = time.monotonic()
        if not isinstance(step, Step) or now - max(began, drawn) < BETWEEN:
            return
        drawn = now
        line = f"{name}   step {step.t}   {step.alive} of {len(step.particles)} alive   "
        line += f"ESS {step.ess:.1f}   log Z {step.log_Z:z.3f}"
        if handle is None:
            handle = display(_Line(line), display_id=True)
        else:
            handle.update(_Line(line))

    try:
        yield show
    finally:
        if handle is not None:
            handle.update(_Line(""))
        sys.stdout.flush()


class _Line:
    """Text that a notebook shows as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def load(shell: Any) -> None:
    """Registers `%%fk` with an IPython shell."""
    shell.register_magic_function(FkMagic(shell).cell, magic_kind="cell", magic_name="fk")
