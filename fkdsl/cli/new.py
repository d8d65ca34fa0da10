"""`fkdsl new`: a program to begin with, and its test."""

from __future__ import annotations

import argparse
import keyword
import re
from importlib.resources import files
from pathlib import Path

from fkdsl.base.errors import CallError
from fkdsl.cli.output import say
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS
from fkdsl.templates import TEMPLATES

NAME = "NAME"
"""What stands for the program's name in a template."""
REPORT = "out.html"
"""A page's name in the calls that are suggested."""


def main(args: argparse.Namespace) -> int:
    if args.list:
        say("\n".join(f"{name:<12}{what}" for name, what in TEMPLATES.items()))
        return 0
    if args.name is None:
        raise CallError("`fkdsl new` needs a name", "such as: fkdsl new my_program --template json")
    path = Path(args.name).with_suffix(".fk")
    name = _program_name(path.stem)
    written = {path: _template(f"{args.template}.fk")}
    if args.template == "json":
        written[path.with_suffix(".json")] = _template("json.json")
    _check_targets(path, list(written))
    for target, text in written.items():
        # In comments and file names the name is as it was given; as a program's it is a word.
        own = text.replace(f"program {NAME}(", f"program {name}(").replace(NAME, path.stem)
        target.write_text(own, "utf-8")
    say(f"wrote {' and '.join(map(str, written))}; now:")
    commands = [(f"fkdsl {command} {path}", what) for command, what in _next(args.template)]
    width = max(len(call) for call, _ in commands)
    say("\n".join(f"  {call:<{width}}   {what}" for call, what in commands))
    return 0


def _next(template: str) -> list[tuple[str, str]]:
    """What one does with a new program: commands, and what each is for."""
    if template == "table":
        runs = [("exact", "its probabilities")]
    else:
        runs = [
            ("run", "on the model that it names, fetched once"),
            ("run --model tiny", "on a small model that comes with fkdsl"),
        ]
    return [
        *runs,
        ("test", "its test: exact figures, and every method held to them"),
        (f"run --report {REPORT}", "a page of the run, to open in a browser"),
    ]


def _program_name(stem: str) -> str:
    name = re.sub(r"[^0-9A-Za-z_]", "_", stem)
    taken = keyword.iskeyword(name) or name in KEYWORDS | DECLARATIONS
    if not name.isidentifier() or taken:
        raise CallError(f"{stem!r} is no name for a program", "name it with letters, digits and _")
    return name


def _check_targets(path: Path, targets: list[Path]) -> None:
    if not path.parent.is_dir():
        raise CallError(f"there is no folder {path.parent}", "make it first, or name another")
    for target in targets:
        if target.exists() or target.is_symlink():
            raise CallError(f"{target} is there already", "choose another name")


def _template(name: str) -> str:
    return files("fkdsl.templates").joinpath(name).read_text("utf-8")
