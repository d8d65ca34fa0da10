"""How slow work on models (a download, a checksum, a conversion) reports itself; silent unless the
caller listens.

>>> with silent("fetching", 100) as meter:
...     meter.update(40)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol


class ProgressMeter(Protocol):
    """The open end of one piece of work."""

    def update(self, n: int) -> None:
        """`n` more units are done (bytes, where the total is in bytes). May be called from another
        thread."""
        ...


class Progress(Protocol):
    """Opens a meter: `with progress("fetching smollm2", total) as meter`. A total of None is
    unknown: show activity."""

    def __call__(
        self, description: str, total: int | None
    ) -> AbstractContextManager[ProgressMeter]: ...


class _SilentMeter:
    def update(self, n: int) -> None:
        """Nobody listens."""


@contextmanager
def silent(description: str, total: int | None) -> Iterator[ProgressMeter]:
    """The Progress that shows nothing."""
    yield _SilentMeter()


def folder_bytes(folder: Path) -> int:
    """Bytes of the regular files under a folder, now; files that vanish meanwhile and links count
    nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except OSError:
            continue
    return total


@contextmanager
def watch_growth(
    folder: Path, meter: ProgressMeter, *, most: int, every: float = 0.2
) -> Iterator[None]:
    """Reports to `meter` the bytes by which `folder` grows, up to `most`, from a thread, while
    others write into it."""
    before = folder_bytes(folder)
    told = 0
    done = threading.Event()

    def look() -> None:
        nonlocal told
        while not done.wait(every):
            # An installer may hold its file twice for a moment, as it unpacks or moves it.
            grown = min(most, folder_bytes(folder) - before)
            if grown > told:
                meter.update(grown - told)
                told = grown

    thread = threading.Thread(target=look, name="fkdsl-watch-growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
