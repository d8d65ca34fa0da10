"""`fkdsl fmt`: programs in their canonical form, in place, or what would change."""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fkdsl.base.errors import CallError, ProgramError
from fkdsl.base.files import check_target, read_file, real_path
from fkdsl.base.rendering import render_all
from fkdsl.base.spans import Source
from fkdsl.cli.output import say
from fkdsl.language.formatting.formatter import format_text
from fkdsl.language.syntax.parser import MAX_BYTES, read_source

STDIN = "-"


def main(args: argparse.Namespace) -> int:
    """0 where all went well; 1 for a file with mistakes, or, with --check, one that would
    change."""
    if args.files == [STDIN]:
        return _stdin(check=args.check, diff=args.diff)
    if STDIN in args.files:
        raise CallError("- stands for stdin, alone", "format the files by another call")
    changed, same, wrong = 0, 0, 0
    for path in _programs(args.files):
        try:
            source = read_source(path)
            text = format_text(source)
        except ProgramError as error:
            say(render_all(error.diagnostics), end="\n\n", file=sys.stderr)
            wrong += 1
            continue
        if text == source.text:
            same += 1
            continue
        changed += 1
        if args.diff:
            _print_diff(source, text)
        if not (args.check or args.diff):
            _write(path, text)
        say(
            f"{'would reformat' if args.check or args.diff else 'reformatted'} {path}",
            file=sys.stderr,
        )
    say(_summary(changed, same, wrong, dry=args.check or args.diff), file=sys.stderr)
    return 1 if wrong or (changed and args.check) else 0


def _stdin(*, check: bool, diff: bool) -> int:
    source = Source("<stdin>", sys.stdin.read().replace("\r\n", "\n"))
    try:
        text = format_text(source)
    except ProgramError as error:
        say(render_all(error.diagnostics), file=sys.stderr)
        return 1
    if diff:
        _print_diff(source, text)
    elif not check:
        sys.stdout.write(text)
    return 1 if check and text != source.text else 0


def _programs(names: list[str]) -> Iterator[Path]:
    """The files named, and those of the folders named, each once."""
    seen: set[Path] = set()
    for name in names:
        path = Path(name)
        files = sorted(path.rglob("*.fk")) if path.is_dir() else [path]
        if not files:
            raise CallError(f"there is no .fk file in {path}", "name files, or a folder with some")
        for file in files:
            if real_path(file) not in seen:
                seen.add(real_path(file))
                yield file


def _print_diff(source: Source, text: str) -> None:
    before, after = source.text.splitlines(), text.splitlines()
    for line in difflib.unified_diff(before, after, source.name, source.name, lineterm=""):
        say(line)


def _write(path: Path, text: str) -> None:
    """Replaces a file at once, so that nothing is lost on the way; its line ends stay as they
    were."""
    target = check_target(real_path(path))
    crlf = b"\r\n" in read_file(target, MAX_BYTES)
    raw = text.replace("\n", "\r\n" if crlf else "\n").encode("utf-8")
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        try:
            file.write(raw)
            file.close()
            shutil.copymode(target, file.name)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _summary(changed: int, same: int, wrong: int, *, dry: bool) -> str:
    parts = [
        f"{_files(changed)} {'would change' if dry else 'reformatted'}" if changed else "",
        f"{_files(same)} left as {'they are' if same > 1 else 'it is'}" if same else "",
        f"{_files(wrong)} with mistakes" if wrong else "",
    ]
    return ", ".join(part for part in parts if part)


def _files(n: int) -> str:
    return f"{n} file{'s' if n != 1 else ''}"
