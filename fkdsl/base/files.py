"""Files that users name: only regular files are read, and only up to a number of bytes.

A name may lead to a device that never ends, to a pipe that nobody writes to, or to a file of many
gigabytes. Each is an OSError here, with the reason in `strerror`, before a byte is read.

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
"""So that opening neither waits for a pipe's writer nor takes over a terminal. Windows has none of
the first two."""


def real_path(path: str | Path) -> Path:
    """The path with its symbolic links followed; where they lead round in a circle, as it is, which
    whoever reads it will say. `Path.resolve` raises RuntimeError there."""
    return Path(os.path.realpath(path))


def read_file(path: Path, most: int) -> bytes:
    """A regular file's bytes. Raises OSError for anything else, and for more than `most` bytes."""
    verify_regular(path, most)
    file = os.open(path, FLAGS)
    try:
        # Somebody may have replaced it since it was checked.
        _verify(path, os.fstat(file), most)
        # A file of /proc says that its size is 0, and others grow while they are read.
        parts, room = [], most + 1
        while room and (part := os.read(file, min(room, 1 << 20))):
            parts.append(part)
            room -= len(part)
    finally:
        os.close(file)
    if not room:
        raise _too_long(path, None, most)
    return b"".join(parts)


def read_text(path: Path, most: int) -> str:
    """The text of a regular UTF-8 file. Raises OSError as `read_file` does, and
    UnicodeDecodeError."""
    return read_file(path, most).decode("utf-8")


def verify_regular(path: Path, most: int | None = None) -> None:
    """Raises OSError unless a path leads to a regular file, of at most `most` bytes."""
    try:
        _verify(path, path.stat(), most)
    except ValueError as error:  # the name has a null character or a lone surrogate
        raise OSError(errno.EINVAL, f"no file can have this name: {error}", str(path)) from None


def _verify(path: Path, status: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(number, f"it is {kind}, not a file", str(path))
    if most is not None and status.st_size > most:
        raise _too_long(path, status.st_size, most)


def _too_long(path: Path, size: int | None, most: int) -> OSError:
    length = shown_size(size) if size is not None else f"more than {shown_size(most)}"
    reason = f"it has {length}; at most {shown_size(most)} are read"
    return OSError(errno.EFBIG, reason, str(path))


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
    """The path, where a new file can be written or a regular one replaced. Raises CallError for any
    other."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return path
    except (OSError, ValueError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else f"no file can have this name: {error}"
        )
        raise CallError(f"cannot write {path}: {reason}", "name another file") from None
    try:
        _verify(path, status, None)
    except OSError as error:
        raise CallError(
            f"cannot write {path}: {error.strerror}", "name a new file, or one to be replaced"
        ) from None
    return path
