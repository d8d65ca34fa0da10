"""`fkdsl repl prog.fk`: runs a file again and again as one edits it, with its models kept loaded.

The file is read anew at each run, so it is edited in any editor. A line holds flags of `fkdsl run`,
for this run; an empty one repeats the last run.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from importlib import import_module

from fkdsl.api.engines import LoadedModels
from fkdsl.base.errors import CallError, FkdslError
from fkdsl.cli.commands import COMMANDS
from fkdsl.cli.failure import report
from fkdsl.cli.flags import command_parser
from fkdsl.cli.output import say, tell
from fkdsl.cli.parsers import later_wins

PROMPT = "fkdsl> "
HELP = """a line is flags of `fkdsl run` for this run, such as --seed 2 -p n=3
an empty line is the last run again
set FLAGS   flags for every run from now on
exact, check, explain, test   the command of that name on the file, and its flags
help, quit"""
OTHERS = ("exact", "check", "explain", "test")
BARE = ("check", "test")
"""Commands that take no flag of a run."""


def main(args: argparse.Namespace) -> int:
    """Reads lines until `quit` or the end of the input. A mistake ends no session."""
    session = Session(args.file, args.given[1:])
    say(f"{args.file}: an empty line runs it; edit it and run it again; `help` says more")
    session.line("")
    while True:
        try:
            if sys.stdin.isatty():
                import readline  # noqa: F401 (input() edits lines with it)
            line = input(PROMPT if sys.stdin.isatty() else "")
        except EOFError:
            return 0
        if line.strip() in ("quit", "exit", "q"):
            return 0
        session.line(line)


class Session:
    """A file with the flags that it is run with, and the models that were loaded for it. flags: as
    they were given, the file among them."""

    def __init__(self, file: str, flags: list[str]) -> None:
        self.file, self.always = file, flags
        self.last: list[str] = []
        self.loaded: LoadedModels = {}

    def line(self, line: str) -> int:
        """Does what a line says, and returns the exit status that it would have as a command."""
        try:
            return self._do(_words(line))
        except FkdslError as error:
            return report(error, json=False)
        except KeyboardInterrupt as error:
            if not getattr(error, "reported", False):
                tell("interrupted")
            return 130
        except SystemExit:  # -h, which argparse has printed
            return 0

    def _do(self, words: list[str]) -> int:
        first = words[0] if words else ""
        if first == "help":
            say(HELP)
            return 0
        if first == "set":
            self._parsed("run", [*self.always, *words[1:]])
            self.always = [*self.always, *words[1:]]
            return 0
        if first in OTHERS:
            own = [self.file] if first in BARE else self._of(first)
            return self._call(first, [*own, *words[1:]])
        if words:
            self._parsed("run", [*self.always, *words])
            self.last = words
        return self._call("run", [*self.always, *self.last])

    def _of(self, command: str) -> list[str]:
        """The flags of every run that another command has too."""
        try:
            self._parsed(command, self.always)
        except CallError:
            return [self.file]
        return self.always

    def _call(self, command: str, words: list[str]) -> int:
        args = self._parsed(command, words)
        args.given, args.loaded = [command, *words], self.loaded
        status: int = import_module(COMMANDS[command].module).main(args)
        return status

    def _parsed(self, command: str, words: list[str]) -> argparse.Namespace:
        with later_wins():
            return command_parser().parse_args([command, *words])


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise CallError(f"this line is no call: {error}", "close the quotes") from None
