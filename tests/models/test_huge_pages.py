"""Weights are moved to huge pages without a change of what is in them."""

from __future__ import annotations

import ctypes
import mmap
import threading
from pathlib import Path

import numpy as np
import pytest

from fkdsl.models.compat import huge_pages
from fkdsl.models.compat.huge_pages import (
    AFTER,
    LongUsed,
    Range,
    joined,
    mappings,
    move,
    page_size,
    without,
)
from fkdsl.models.interface import ForwardRow
from fkdsl.models.registry import load_model

needs_huge_pages = pytest.mark.skipif(not page_size(), reason="the system has no huge pages")


def test_ranges_near_each_other_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "page_size", lambda: 10)
    assert joined([(30, 40), (0, 5), (14, 20), (3, 8)]) == [(0, 20), (30, 40)]
    assert joined([]) == []


def test_what_is_in_no_other_range() -> None:
    assert without([(0, 10), (20, 30)], [(2, 3), (8, 22), (30, 40)]) == [(0, 2), (3, 8), (22, 30)]
    assert without([(5, 6)], [(0, 10)]) == []


def _in_huge_pages(begin: int, end: int) -> int:
    """kB of the mappings that begin in a range which are in huge pages."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and ":" not in head:
            inside = begin <= int(head.split("-")[0], 16) < end
        elif inside and head in ("AnonHugePages:",):
            found += int(line.split()[1])
    return found


@needs_huge_pages
@pytest.mark.parametrize("of_file", [True, False])
def test_bytes_stay_as_they_are(tmp_path: Path, of_file: bool) -> None:
    size = page_size()
    data = np.random.default_rng(0).integers(0, 256, 4 * size + 123, dtype=np.uint8).tobytes()
    path = tmp_path / "weights"
    path.write_bytes(data)
    flags = mmap.MAP_PRIVATE | (0 if of_file else mmap.MAP_ANONYMOUS)
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno() if of_file else -1, len(data), flags)
    if not of_file:
        memory[:] = data
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    part = next(m for m in mappings() if m.begin <= begin < m.end)
    assert part.is_anonymous is not of_file
    moved = move([(begin, begin + len(data))])
    assert memory[:] == data
    assert path.read_bytes() == data
    if moved:  # the kernel may have no such page left
        assert moved >= 3 * size
        assert _in_huge_pages(begin - 4 * size, begin + len(data)) >= moved >> 10


@pytest.mark.parametrize(
    ("line", "files", "free"),
    [
        ("0::/box/run", {"box/memory.max": "900", "box/memory.stat": "file 700\nanon 200"}, 700),
        ("0::/box/run", {"memory.max": "300", "memory.stat": "anon 500"}, 0),
        ("0::/box", {"box/memory.max": "max", "box/memory.stat": "anon 500"}, 4096),
        ("4:memory:/unseen", {"memory.limit_in_bytes": "950", "memory.stat": "total_rss 50"}, 900),
        ("4:cpu:/", {"memory.limit_in_bytes": "950", "memory.stat": "total_rss 50"}, 4096),
    ],
)
def test_what_a_container_may_take_is_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, files: dict[str, str], free: int
) -> None:
    for name, text in {"meminfo": "MemAvailable: 4 kB", "groups": line, **files}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(huge_pages, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(huge_pages, "_GROUPS", tmp_path / "groups")
    groups = [(kind, str(tmp_path), *names) for kind, _, *names in huge_pages._MEMORY_GROUPS]
    monkeypatch.setattr(huge_pages, "_MEMORY_GROUPS", groups)
    assert huge_pages.available() == free


@needs_huge_pages
def test_weights_are_moved_once_after_some_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[list[Range]] = []
    monkeypatch.setattr(huge_pages, "move", moved.append)
    monkeypatch.setattr(huge_pages, "LEAST", 0)
    memory = LongUsed(lambda: [(4096, 8192)])
    for n in range(2 * AFTER):
        assert not moved or n >= AFTER
        memory.forward()
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.daemon and n == AFTER - 1:
                thread.join(1.0)
    assert moved == [[(4096, 8192)]]


@needs_huge_pages
def test_a_model_gives_the_same_rows_from_moved_weights() -> None:
    model = load_model("tiny")
    row = ForwardRow(None, model.start("The sea"), (0,))
    before = model.forward([row])[0].log_probs
    move(joined(model.decoder.weights_at()))  # type: ignore[attr-defined]
    assert np.array_equal(model.forward([row])[0].log_probs, before)
