"""A trace on the disk: one JSON object a line, each written by one call, so that a kill leaves
whole lines and at most one torn one, which is the last.

Lines are handed to the operating system, not forced onto the disk: a killed process loses nothing,
a machine that loses its power may lose the last seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fkdsl.api.trace.schema import verify_end, verify_header, verify_step
from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, read_file

FORMAT = 1
"""The version of the format; a file says it in its first line."""
KEY = "fkdsl_trace"
MOST = 1 << 30
"""Bytes of a trace that is read."""
SUM = "sum"
"""The last field of each line but the first, which --resume compares with the run itself."""
TAIL = len(',"sum":"0123456789abcdef"}')
START = f'{{"{KEY}":'.encode()
"""How every trace begins."""


@dataclass(frozen=True)
class Trace:
    """What a trace file holds. steps: its lines of steps, in order. end: the last line, None while
    the run goes on. size: bytes of whole lines. head: bytes of the first."""

    path: Path
    header: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    end: Mapping[str, Any] | None
    size: int
    head: int


def read_trace(path: str | Path) -> Trace:
    """The trace of a file. Raises CallError if there is none, or if this version cannot read it."""
    path = Path(path)
    try:
        raw = read_file(path, MOST)
    except FileNotFoundError:
        raise CallError(f"there is no file {path}", "a run writes one with --trace") from None
    except OSError as error:
        raise CallError(
            f"cannot read {path}: {error.strerror}", "name a file that a run wrote with --trace"
        ) from None
    found = parse_trace(path, raw)
    if found is None:
        raise CallError(
            f"{path} is empty: the run was killed before it began", "run it again, with --resume"
        )
    return found


def parse_trace(path: Path, raw: bytes) -> Trace | None:
    """The trace that bytes hold; None of nothing, or of a first line that is torn."""
    verify_trace(path, raw)
    whole = raw[: raw.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    if not lines:
        return None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            data = decoded(line)
        except (ValueError, RecursionError):
            if number == len(lines) and number > 1:  # cut off by a machine that went down
                whole = whole[: -len(line) - 1]
                break
            data = None
        if not isinstance(data, dict):
            raise CallError(
                f"{path} is damaged at line {number}",
                f"keep what is before: head -n {number - 1} {path}",
            )
        found.append(data)
    header, *rest = found
    if header[KEY] != FORMAT:
        message = f"{path} is a trace of format {header[KEY]}; this version of fkdsl reads format {FORMAT}"
        raise CallError(
            message,
            f"read it by the version that wrote it, fkdsl {header.get('fkdsl', 'of another time')}",
        )
    for number, data in enumerate(found, 1):
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
    """A line's data without its sum, which lines of older versions have not. Raises ValueError for
    what is no JSON, and for a line of which the sum is not."""
    data = json.loads(line, parse_constant=_no_number)
    if not isinstance(data, dict) or data.pop(SUM, None) is None:
        return data
    if not line.endswith(with_sum(line[:-TAIL] + b"}")[-TAIL:]):
        raise ValueError("its sum is another line's")
    return data


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def with_sum(line: bytes) -> bytes:
    """A line, without its newline, with its sum at the end: who changes a byte of it is found
    out."""
    digest = blake2b(line, digest_size=8).hexdigest()
    return line[:-1] + f',"{SUM}":"{digest}"}}'.encode()


def verify_trace(path: Path, raw: bytes) -> None:
    """Raises CallError for a file that is neither empty nor a trace."""
    if raw[: len(START)] != START[: len(raw)]:
        raise CallError(f"{path} is no trace of fkdsl", "name a file that a run wrote with --trace")


class TraceFile:
    """An open trace file, to which one process at a time writes. given_up: whether nothing is
    written any more."""

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
        except ImportError:  # a system without it: two writers are the user's care
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
        """All of it. Raises CallError for more than a trace may have."""
        try:
            return read_file(self.path, MOST)
        except OSError as error:
            raise CallError(
                f"cannot read {self.path}: {error.strerror}", "name another file"
            ) from None

    def cut(self, size: int) -> None:
        """Leaves the first `size` bytes."""
        os.ftruncate(self._file, size)

    def add(self, line: Mapping[str, Any]) -> None:
        """Writes one line, in one call unless the system takes less."""
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
    """A line's bytes: UTF-8, or ASCII where a text has half a surrogate pair."""
    text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n"
