"""Argument parsers whose help fits a screen, and whose errors say what was meant."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.shown import shortened
from fkdsl.cli.commands import COMMANDS, GROUPS

WIDEST = 100
"""Columns of help at most, on a terminal that has more."""
ABOUT = """\
A program says what a language model's output must satisfy. A run gives samples
of the model's own distribution given that it does, and how likely it was.
"""
END = """\
Begin with `fkdsl new my_program`. `fkdsl COMMAND -h` explains a command, and
`fkdsl --version` prints the version.

Exit status: 0 an answer, 1 the program is wrong, 2 the call is wrong,
3 inference failed, 5 no test, 70 our bug, 130 interrupted.
"""


_later_wins: ContextVar[bool] = ContextVar("later_wins", default=False)


@contextmanager
def later_wins() -> Iterator[None]:
    """Of a flag that is given twice the later one counts: where the flags of a line are added to
    those of a session."""
    token = _later_wins.set(True)
    try:
        yield
    finally:
        _later_wins.reset(token)


class ChooseFormat(argparse.Action):
    """Sets `format`, and `json`, which all parts of a command ask for; `--json` and `--format` may
    not say two things."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        format, flag = values or "json", f"{option_string} {values or ''}".strip()
        first, before = getattr(namespace, "_format", (flag, format))
        if before != format and not _later_wins.get():
            raise CallError(f"{first} and {flag} say two things", "leave one of them out")
        namespace._format = flag, format
        namespace.format, namespace.json = format, format == "json"


class TakeParameter(argparse.Action):
    """Adds a `-p NAME=VALUE`; a name has one value."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, equals, _ = values.partition("=")
        if not equals:
            help = f"write -p {shlex.quote(f'{values}=VALUE')}"
            raise CallError(f"-p {shortened(values)} has no value", help)
        if name != name.strip():
            raise CallError(f"-p {values!r} has spaces round its =", "write -p NAME=VALUE")
        others = [p for p in namespace.parameters if p.partition("=")[0] != name]
        twice = len(others) < len(namespace.parameters) and values not in namespace.parameters
        if twice and not _later_wins.get():
            help = 'leave one of them out; a list is one value: -p \'words=["a", "b"]\''
            raise CallError(f"-p {name} is given twice, with two values", help)
        namespace.parameters = [*others, values]


ELSEWHERE = {
    "batch": "a run for each row of a file: `fkdsl run my.fk --each rows.csv`",
    "each": "a run for each row of a file: `fkdsl run my.fk --each rows.csv`",
    "sample": "draws, one a line: `fkdsl run my.fk --samples 5`",
    "format": "write `fkdsl fmt`",
    "lint": "write `fkdsl check`",
    "install": "write `fkdsl models pull`",
    "pull": "write `fkdsl models pull`", "version": "write `fkdsl --version`",
    "help": "write `fkdsl -h`, or `fkdsl run -h`", "init": "write `fkdsl new my_program`",
}  # fmt: skip
"""Commands of other tools, and what to write here."""
VALUES = {
    "int": "a whole number",
    "count": "a whole number from 0 on",
    "float": "a number",
    "boolean": "true or false",
}
"""What a flag takes, by the names of what reads it."""


def count(text: str) -> int:
    """A number of things to print, or a seed of numpy's. Raises ValueError for fewer than none."""
    if (number := int(text)) < 0:
        raise ValueError
    return number


class CommandParser(argparse.ArgumentParser):
    """A parser that raises CallError for a wrong call, with the option or the command that was
    meant. Its help has the line of usage that it is given, and groups in the order in which they
    are added."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_formatter, add_help=False, **settings)
        # Whoever reads the help need not be told how to have it.
        self.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)

    def format_help(self) -> str:
        return super().format_help().replace("positional arguments:\n", "arguments:\n", 1)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0])
        return parsed, unknown

    def _refuse(self, unknown: str) -> NoReturn:
        flag = unknown.partition("=")[0]
        if not flag.startswith("-"):
            many = any(action.nargs == "+" for action in self._actions)
            help = "write the files beside each other" if many else self._meant_by(unknown)
            raise CallError(f"{unknown!r} is one argument too many", help)
        known = [name for action in self._actions for name in action.option_strings]
        near = near_name(flag, known)
        raise CallError(
            f"`{self.prog}` has no option {flag}",
            f"did you mean `{near}`?" if near else self._see(),
        )

    def _meant_by(self, unknown: str) -> str:
        """What an argument too many may have been meant as."""
        flags = {name for action in self._actions for name in action.option_strings}
        if "-p" in flags and re.match(r"[a-z_]\w*=", unknown):
            return f"a parameter is given by -p {shlex.quote(unknown)}"
        if "--each" in flags and unknown.endswith((".csv", ".tsv", ".jsonl")):
            return f"for a run of each row of a file write --each {shlex.quote(unknown)}"
        return self._see()

    def _see(self) -> str:
        return f"see `{self.prog} -h`"

    def error(self, message: str) -> NoReturn:
        kind = re.match(r"argument (.*?)(?:/.*)?: invalid (\w+) value: (.*)", message)
        if kind is not None:
            flag, name, given = kind.groups()
            in_seconds = flag in ("--timeout", "--seconds")
            help = f"write seconds: {flag} 60" if in_seconds else self._see()
            raise CallError(f"{flag} takes {VALUES.get(name, name)}, not {given}", help)
        bare = re.match(r"argument (.*?)(?:/.*)?: expected one argument", message)
        if bare is not None:
            action = next(a for a in self._actions if bare[1] in a.option_strings)
            between = "=" if bare[1].startswith("--") else " "
            help = f"write {bare[1]}{between}{action.metavar or action.dest.upper()}"
            raise CallError(f"{bare[1]} has no value", help)
        if re.match(r"ambiguous option: --p(?:=.*)? ", message):
            raise CallError(message, "a parameter is given by -p NAME=VALUE, with one dash")
        wrong = re.match(r"argument (.*): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if wrong is None:
            raise CallError(message.removeprefix("argument "), self._see())
        what, given, listed = wrong.groups()
        choices = re.findall(r"[\w.-]+", listed)
        near = near_name(given, choices)
        of = f"command `{given}`" if what == "command" else f"{what} {given}"
        help = (
            f"one of {', '.join(choices)}"
            if what != "command"
            else ELSEWHERE.get(given, f"see `{self.prog} -h`")
        )
        if what == "command" and given.endswith(".fk"):
            help = f"write `fkdsl run {shlex.quote(given)}`"
        raise CallError(f"there is no {of}", f"did you mean `{near}`?" if near else help)


class MainParser(CommandParser):
    """The parser of `fkdsl` itself, whose help is the list of commands."""

    def format_help(self) -> str:
        lists = [
            "\n".join([title, *(f"  {name:<15} {of.doc}" for name, of in group.items())])
            for title, group in GROUPS.items()
        ]
        return "\n".join(["usage: fkdsl COMMAND ...\n", ABOUT, "\n\n".join(lists), "", END])


def command_settings(name: str) -> dict[str, Any]:
    """What the parser of a command is made with."""
    command = COMMANDS[name]
    width = max((len(call) for call, _ in command.examples), default=0)
    examples = [f"  {call:<{width}}   {what}".rstrip() for call, what in command.examples]
    return {
        "help": command.doc,
        "usage": f"fkdsl {name} {command.call}".replace("%", "%%"),
        "description": f"{command.doc[0].upper()}{command.doc[1:]}.",
        "epilog": "\n".join(["examples:", *examples]) if examples else "",
    }


def _formatter(prog: str) -> argparse.HelpFormatter:
    width = min(shutil.get_terminal_size().columns, WIDEST) - 2
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=width)
