"""Files that users name, read with care: regular files only, and no more of them than a bound.

A name may lead to a device without end, to a pipe that nobody writes to, or to a file of many
gigabytes. All of that is an OSError here, with its reason in `strerror`, before a byte is read.

>>> read_file(Path("/dev/zero"), 100)
Traceback (most recent call last):
    ...
OSError: [Errno 22] it is a device, not a file: '/dev/zero'
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from fkdsl.base.errors import CallError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
UNITS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB"))
FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
"""Not to wait for a pipe's writer, nor to take a terminal; the system of a Windows machine has
neither."""


def read_file(path: Path, most: int) -> bytes:
    """A regular file's bytes. Raises OSError for anything else, and for more than `most` bytes."""
    verify_regular(path, most)
    file = os.open(path, FLAGS)
    try:
        # It may have been exchanged since it was looked at.
        _verify(path, os.fstat(file), most)
        parts, left = (
            [],
            most + 1,
        )  # a file of /proc has size 0, whatever it holds; others grow while they are read
        while left and (part := os.read(file, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(file)
    if not left:
        raise _too_long(path, None, most)
    return b"".join(parts)


def read_text(path: Path, most: int) -> str:
    """A regular file's text, which is UTF-8. Raises OSError as `read_file` does, and
    UnicodeDecodeError."""
    return read_file(path, most).decode("utf-8")


def verify_regular(path: Path, most: int | None = None) -> None:
    """Raises OSError unless a path leads to a regular file, of at most `most` bytes."""
    try:
        _verify(path, path.stat(), most)
    except ValueError as error:  # a null character, or half of a pair of surrogates
        raise OSError(errno.EINVAL, f"no file can have this name: {error}", str(path)) from None


def _verify(path: Path, found: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        raise OSError(number, f"it is {kind}, not a file", str(path))
    if most is not None and found.st_size > most:
        raise _too_long(path, found.st_size, most)


def _too_long(path: Path, size: int | None, most: int) -> OSError:
    has = (
        f"it has {shown_size(size)}" if size is not None else f"it has more than {shown_size(most)}"
    )
    return OSError(errno.EFBIG, f"{has}; at most {shown_size(most)} are read", str(path))


def shown_size(size: int) -> str:
    """Bytes as people say them.

    >>> shown_size(999), shown_size(2_000_000), shown_size(3 << 30)
    ('999 bytes', '1.9 MB', '3 GB')
    """
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"


def check_target(path: Path) -> Path:
    """The path, if a file can be written there: a new one, or in the place of a regular one. Raises
    CallError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return path
    except (OSError, ValueError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else f"no file can have this name: {error}"
        )
        raise CallError(f"cannot write {path}: {reason}", "name another file") from None
    try:
        _verify(path, found, None)
    except OSError as error:
        raise CallError(
            f"cannot write {path}: {error.strerror}", "name a new file, or one to be replaced"
        ) from None
    return path
