"""Weights in huge pages, on Linux: a decoding step reads all of them, and with pages of 4 kB
finding where each page lies takes a tenth of its time.

    memory = LongUsed(lambda: [(begin, end), ...])     # the addresses of a model's weights
    memory.forward()                                   # once a forward

Moving takes some 0.3 to 2 ms for a megabyte, so a model's weights are moved after AFTER forwards,
by a thread of its own, while the model goes on. Their bytes stay as they are, at the same
addresses. Nothing is moved where the system's administrator wants no huge pages
(/sys/kernel/mm/transparent_hugepage/enabled is `never`), and what cannot be moved stays.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

Range = tuple[int, int]
"""The addresses of some bytes: of the first one, and behind the last one."""

AFTER = 64
"""Forwards after which a model's weights are moved."""
LEAST = 16 << 20
"""Bytes of weights from which on it is worth it: fewer stay in the processor's caches."""
SPARE = 1 << 30
"""Bytes of memory that must stay free when what a file holds is copied."""
_MEMINFO, _GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup")
_MEMORY_GROUPS = (  # of both versions: the controller, where its groups are, files and field there
    ("", "/sys/fs/cgroup", "memory.max", "anon"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss"),
)
_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
_HUGEPAGE, _COLLAPSE = 14, 25  # advice of <linux/mman.h>
_MAY_MOVE, _FIXED = 1, 2  # flags of mremap
_READ_WRITE, _PRIVATE, _ANONYMOUS = 3, 0x02, 0x20
_FAILED = ctypes.c_void_p(-1).value


class LongUsed:
    """The memory of a model's weights. ranges: where they lie, asked when they are moved."""

    def __init__(self, ranges: Callable[[], Iterable[Range]]) -> None:
        self._ranges, self._left = ranges, AFTER

    def forward(self) -> None:
        """Counts a forward of the model."""
        if self._left:
            self._left -= 1
            if not self._left and page_size():
                ranges, self._ranges = self._ranges, list
                threading.Thread(target=_move_weights, args=(ranges,), daemon=True).start()


def _move_weights(ranges: Callable[[], Iterable[Range]]) -> None:
    """Moves what `ranges` gives, which lives for as long as this function holds `ranges`."""
    parts = joined(ranges())
    if sum(end - begin for begin, end in parts) >= LEAST:
        move(parts)


@cache
def page_size() -> int:
    """Bytes of a huge page; 0 where there are none, or none are wanted."""
    if sys.platform != "linux":
        return 0
    try:
        if "[never]" in _ENABLED.read_text():
            return 0
        return int(_SIZE.read_text())
    except (OSError, ValueError):
        return 0


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The ranges in order, as one where less than a huge page lies between two."""
    gap = page_size()
    found: list[Range] = []
    for begin, end in sorted(ranges):
        if found and begin < found[-1][1] + gap:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def move(ranges: Sequence[Range]) -> int:
    """Puts the bytes in some ranges into huge pages; how many bytes there are of these. The ranges
    ascend, and none overlaps another. Nobody writes to what is there of files."""
    size = page_size()
    if not size:
        return 0
    moved, mapped = 0, mappings()
    for begin, end in ranges:
        for part in mapped:
            if part.begin < end and begin < part.end:
                # Whole pages of what the range touches, as far as the mapping goes.
                low = max(begin // size, -(-part.begin // size)) * size
                high = min(-(-end // size), part.end // size) * size
                if low < high:
                    moved += _move(low, high, part)
    return moved


def _move(begin: int, end: int, part: Mapped) -> int:
    """Moves whole huge pages of one mapping."""
    if part.is_anonymous:
        _libc().madvise(begin, end - begin, _HUGEPAGE)
        return 0 if _libc().madvise(begin, end - begin, _COLLAPSE) else end - begin
    if not part.is_private or available() < end - begin + SPARE:
        return 0
    return _copied(begin, end)


def _copied(begin: int, end: int) -> int:
    """Puts a copy in the place of what a file holds, at the same addresses: who reads there
    meanwhile reads the same bytes, before and after."""
    libc, size, n = _libc(), page_size(), end - begin
    room = libc.mmap(None, n + size, _READ_WRITE, _PRIVATE | _ANONYMOUS, -1, 0)
    if room == _FAILED:
        return 0
    at = -(-room // size) * size
    libc.madvise(at, n, _HUGEPAGE)
    ctypes.memmove(at, begin, n)
    if libc.mremap(at, n, n, _MAY_MOVE | _FIXED, ctypes.c_void_p(begin)) == _FAILED:
        libc.munmap(room, n + size)
        return 0
    for low, high in ((room, at), (at + n, room + n + size)):
        if low < high:
            libc.munmap(low, high - low)
    return n


class Mapped(NamedTuple):
    """A mapping of the process. is_private: whether writing to it changes no file."""

    begin: int
    end: int
    is_anonymous: bool
    is_private: bool


def mappings() -> list[Mapped]:
    """The mappings that may be read and written, in ascending order."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, _, _, inode, *name = line.split(None, 5)
        if access.startswith("rw"):
            begin, end = (int(address, 16) for address in addresses.split("-"))
            private = access.endswith("p")
            anonymous = inode == "0" and private and (not name or name[0] == "[heap]")
            found.append(Mapped(begin, end, anonymous, private and not anonymous and inode != "0"))
    return found


def anonymous() -> list[Range]:
    """Where memory lies that belongs to no file."""
    return [(part.begin, part.end) for part in mappings() if part.is_anonymous]


def without(ranges: Iterable[Range], others: Sequence[Range]) -> list[Range]:
    """What is in some ranges and in no other."""
    left = list(ranges)
    for low, high in others:
        parts = [((b, min(e, low)), (max(b, high), e)) for b, e in left]
        left = [(b, e) for pair in parts for b, e in pair if b < e]
    return left


def available() -> int:
    """Bytes of memory that are free for new purposes, in the process's control group (a container,
    say) too; 0 where the system does not say."""
    free = 0
    with suppress(OSError, ValueError):
        free = 1024 * (_field(_MEMINFO, "MemAvailable:") or 0)
    return min([free, *_left_to_groups()])


def _left_to_groups() -> Iterator[int]:
    """Bytes below the limit of each control group that the process is in, what the system may take
    back at any time not counted."""
    with suppress(OSError, ValueError):
        for line in _GROUPS.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            for kind, root, limit, used in _MEMORY_GROUPS:
                if kind in kinds.split(","):
                    group = Path(root, path.lstrip("/"))
                    for folder in (group, *group.parents[: len(Path(path).parts) - 1]):
                        with suppress(OSError, ValueError):  # no limit, or not to be seen from here
                            most = int((folder / limit).read_text())
                            yield max(most - (_field(folder / "memory.stat", used) or 0), 0)


def _field(path: Path, name: str) -> int | None:
    """The number behind a name in a file of the system."""
    rows = (line.split() for line in path.read_text().splitlines())
    return next((int(row[1]) for row in rows if row and row[0] == name), None)


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    libc.madvise.argtypes = (pointer, size, ctypes.c_int)
    libc.munmap.argtypes = (pointer, size)
    libc.mmap.argtypes = (pointer, size, *[ctypes.c_int] * 3, ctypes.c_long)
    libc.mremap.argtypes = (pointer, size, size, ctypes.c_int, pointer)
    libc.mmap.restype = libc.mremap.restype = pointer
    return libc
