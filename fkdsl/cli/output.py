"""What a command writes: text for any terminal, JSON for any reader, and no traceback where the
reader has gone or the disk is full.

>>> print(json_text({"x": float("-inf"), "y": [1.5]}))
{"x": null, "y": [1.5], "notes": ["null stands for -inf, which JSON has not: x"]}
"""

from __future__ import annotations

import codecs
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target
from fkdsl.base.shown import escaped_json, shown

PLAIN = {"█": "#", "±": "+-", "…": "...", "─": "-", "—": "-", "→": "->", "≤": "<=", "≥": ">="}
"""Replacements for our own signs in encodings that lack them."""
ESCAPED = "fkdsl-escaped"
"""The name of our streams' error handler, which writes our signs by PLAIN and other characters as
escapes such as \\u4e2d."""
MOST_NAMED = 3
"""Places that a note on null names at most."""


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = [
        PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode()
        for c in error.object[error.start : error.end]
    ]
    return "".join(shown), error.end


codecs.register_error(ESCAPED, _escape)


def prepare_streams() -> None:
    """Makes stdout and stderr accept any text. Raises CallError where stdout is closed."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (open as long as the process lives)
    if sys.stdout is None:
        # Else the next file that is opened would be the process's stdout.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        raise CallError(
            "standard output is closed, so there is nowhere to write the answer",
            "write `> answer.txt`",
        )
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ESCAPED)


def finish(status: int) -> int:
    """Flushes both streams at the end of a command and returns the exit status: 2 where the answer
    could not be written, else `status`.

    It is no failure if the reader, such as `head`, has read enough.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)
    except (OSError, ValueError) as error:
        discard(sys.stdout)
        tell(f"error: cannot write to standard output: {reason(error)}")
        status = 2
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        discard(sys.stderr)
    return status


def say(
    text: str = "", *, end: str = "\n", file: TextIO | None = None, flush: bool = False
) -> None:
    """Prints text for people, on stdout unless `file` says otherwise. All such text goes through
    here or `tell`, so that no character of a value, a name or a program's line controls the
    terminal."""
    with _named(file):
        print(shown(text), end=end, file=file, flush=flush)


@contextmanager
def _named(file: TextIO | None) -> Iterator[None]:
    """Names standard output in the system's error where that is what cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if file is not None:
            raise
        raise OSError(error.errno, error.strerror, "standard output") from None


def tell(text: str) -> None:
    """Prints text on stderr, if that can be written."""
    try:
        say(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Drops what a stream has buffered, so that Python does not fail to flush it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def reason(error: Exception) -> str:
    """The system's reason for an error, in words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# ------------------------------------------------------------------------- JSON


def json_text(data: Mapping[str, Any]) -> str:
    """An object as JSON. inf, -inf and nan become null, and `notes` says where; lone surrogates,
    and characters that control a terminal, are written as escapes."""
    places: dict[str, dict[str, None]] = {}
    clean = _without_infinities(data, "", places)
    if places:
        clean["notes"] = [
            *clean.get("notes", ()),
            *(_note(number, [*where]) for number, where in places.items()),
        ]
    text = escaped_json(json.dumps(clean, ensure_ascii=False, allow_nan=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return escaped_json(json.dumps(clean, allow_nan=False))
    return text


def _note(number: str, places: list[str]) -> str:
    more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    return f"null stands for {number}, which JSON has not: {', '.join(places[:MOST_NAMED])}{more}"


def _without_infinities(value: Any, place: str, places: dict[str, dict[str, None]]) -> Any:
    match value:
        case float() if not math.isfinite(value):
            places.setdefault(str(value), {})[place] = None
            return None
        case dict():
            return {
                k: _without_infinities(v, f"{place}.{k}" if place else str(k), places)
                for k, v in value.items()
            }
        case list() | tuple():
            return [_without_infinities(v, f"{place}[]", places) for v in value]
    return value


def print_json(data: Mapping[str, Any]) -> None:
    """Prints the object of `--json` on a line of stdout."""
    with _named(None):
        print(json_text(data))


# ------------------------------------------------------------------------ files


def check_file_target(path: str | Path, flag: str) -> None:
    """Raises CallError for a path at which no file can be written. Called before the work."""
    path = Path(path)
    if path.suffix == ".fk":
        raise CallError(f"{flag} {path} is named like a program", "name a file of another kind")
    if path.is_dir():
        raise CallError(f"{flag} {path} is a folder", f"name a file in it: {flag} {path / 'out'}")
    if not path.parent.is_dir():
        raise CallError(
            f"{flag} {path}: there is no folder {path.parent}",
            "make the folder first, or name another",
        )
    check_target(path)


def check_folder_target(path: str | Path, flag: str) -> None:
    """Raises CallError for a path at which no folder can be made. Called before the work."""
    path = Path(path)
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise CallError(
                f"{flag} {path}: {part} is a file, not a folder", "name a folder, which is made"
            )
