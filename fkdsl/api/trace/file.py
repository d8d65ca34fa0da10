"""A trace on the disk: one JSON object a line. Each line is written by one call, so a kill leaves
whole lines and at most one torn one, at the end.

Lines are handed to the operating system and not forced onto the disk: a killed process loses
nothing; a machine that loses its power may lose the last seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fkdsl.api.trace.schema import verify_end, verify_header, verify_step
from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, read_file
from fkdsl.base.quick_dataclass import dataclass

FORMAT = 1
"""The version of the format, which stands in a file's first line."""
KEY = "fkdsl_trace"
MOST_BYTES = 1 << 30
"""Bytes that a trace may have."""
SUM = "sum"
"""The last field of each line but the first: its checksum. The first line needs none, since
--resume compares it with the run itself."""
TAIL = len(',"sum":"0123456789abcdef"}')
START = f'{{"{KEY}":'.encode()
"""How every trace begins."""


@dataclass(frozen=True)
class Trace:
    """The lines of a trace file. steps: the lines of steps, in order. end: the last line, None for
    an unfinished run. size: bytes of whole lines. head: bytes of the first line."""

    path: Path
    header: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    end: Mapping[str, Any] | None
    size: int
    head: int


def read_trace(path: str | Path) -> Trace:
    """The trace of a file. Raises CallError if there is none, and if this version cannot read
    it."""
    path = Path(path)
    try:
        raw = read_file(path, MOST_BYTES)
    except FileNotFoundError:
        raise CallError(f"there is no file {path}", "a run writes one with --trace") from None
    except OSError as error:
        raise CallError(
            f"cannot read {path}: {error.strerror}", "name a file that a run wrote with --trace"
        ) from None
    trace = parse_trace(path, raw)
    if trace is None:
        raise CallError(
            f"{path} is empty: the run was killed before it began", "run it again, with --resume"
        )
    return trace


def parse_trace(path: Path, raw: bytes) -> Trace | None:
    """The trace of these bytes; None where not even the first line is whole."""
    verify_trace(path, raw)
    whole = raw[: raw.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    if not lines:
        return None
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            data = decoded(line)
        except (ValueError, RecursionError):
            if number == len(lines) and number > 1:  # a machine that went down cut it off
                whole = whole[: -len(line) - 1]
                break
            data = None
        if not isinstance(data, dict):
            raise CallError(
                f"{path} is damaged at line {number}",
                f"keep what is before: head -n {number - 1} {path}",
            )
        parsed.append(data)
    header, *rest = parsed
    if header[KEY] != FORMAT:
        writer = header.get("fkdsl", "of another time")
        raise CallError(
            f"{path} is a trace of format {header[KEY]}; "
            f"this version of fkdsl reads format {FORMAT}",
            f"read it by the version that wrote it, fkdsl {writer}",
        )
    for number, data in enumerate(parsed, 1):
        try:
            _verify(data, number, header)
        except ValueError as error:
            keep = (
                f"keep what is before: head -n {number - 1} {path}"
                if number > 1
                else "run it again, with --trace"
            )
            raise CallError(f"{path} is damaged at line {number}: {error}", keep) from None
    steps = [line for line in rest if "t" in line]
    end = rest[-1] if rest and "t" not in rest[-1] else None
    return Trace(path, header, tuple(steps), end, len(whole), len(lines[0]) + 1)


def _verify(data: Mapping[str, Any], number: int, header: Mapping[str, Any]) -> None:
    if number == 1:
        verify_header(data)
    elif "t" in data:
        verify_step(data, header["models"])
    else:
        verify_end(data)


def decoded(line: bytes) -> Any:
    """A line's data without its sum; older versions wrote lines without one. Raises ValueError for
    a line that is no JSON, and for a sum that is not the line's."""
    data = json.loads(line, parse_constant=_no_number)
    if not isinstance(data, dict) or data.pop(SUM, None) is None:
        return data
    if not line.endswith(with_sum(line[:-TAIL] + b"}")[-TAIL:]):
        raise ValueError("its sum is another line's")
    return data


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def with_sum(line: bytes) -> bytes:
    """A line, without its newline, with its sum as the last field, by which a changed byte is
    found."""
    digest = blake2b(line, digest_size=8).hexdigest()
    return line[:-1] + f',"{SUM}":"{digest}"}}'.encode()


def verify_trace(path: Path, raw: bytes) -> None:
    """Raises CallError for bytes that are neither empty nor the beginning of a trace."""
    if raw[: len(START)] != START[: len(raw)]:
        raise CallError(f"{path} is no trace of fkdsl", "name a file that a run wrote with --trace")


class TraceFile:
    """An open trace file, which one process at a time writes. given_up: whether it no longer writes
    what it is given."""

    given_up = False

    def __init__(self, path: Path) -> None:
        self.path = check_target(path)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise CallError(
                f"cannot write {path}: {error.strerror}", "name a file in a folder that is there"
            ) from None
        try:
            self._lock()
        except CallError:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: the user must see to it that there is one writer
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CallError(
                f"another process is writing {self.path}", "wait for it, or name another file"
            ) from None
        except OSError:  # a file system without locks
            return

    def read(self) -> bytes:
        """All bytes of the file. Raises CallError for more than a trace may have."""
        try:
            return read_file(self.path, MOST_BYTES)
        except OSError as error:
            raise CallError(
                f"cannot read {self.path}: {error.strerror}", "name another file"
            ) from None

    def cut(self, size: int) -> None:
        """Keeps the first `size` bytes only."""
        os.ftruncate(self._file, size)

    def add(self, line: Mapping[str, Any]) -> None:
        """Writes one line, by one call unless the system takes a part."""
        raw = encoded(line)
        if KEY not in line:
            raw = with_sum(raw[:-1]) + b"\n"
        try:
            while raw:
                raw = raw[os.write(self._file, raw) :]
        except OSError as error:
            message = f"cannot write {self.path}: {error.strerror}"
            raise CallError(message, "make room, then go on with --resume") from None

    def close(self) -> None:
        os.close(self._file)


def encoded(line: Mapping[str, Any]) -> bytes:
    """A line's bytes: UTF-8, or ASCII where a text has a lone surrogate."""
    text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n"
