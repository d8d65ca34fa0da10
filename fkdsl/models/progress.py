"""How slow work on models (a download, a checksum, a conversion) reports its progress to a caller
that wants it.

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
    """The progress of one piece of work."""

    def update(self, n: int) -> None:
        """Reports that n more units are done, in the unit of the total. May be called from another
        thread."""
        ...


class Progress(Protocol):
    """Opens a meter: `with progress("fetching smollm2", total) as meter`. total: None if it is not
    known."""

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
    """The bytes of the regular files under a folder, without links and files that vanish
    meanwhile."""
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
    """Within it a thread reports to `meter` the bytes by which `folder` grows, up to `most`. every:
    seconds between two looks."""
    before = folder_bytes(folder)
    reported = 0
    done = threading.Event()

    def look() -> None:
        nonlocal reported
        while not done.wait(every):
            # An installer may have its file twice for a moment, while it unpacks or moves it.
            grown = min(most, folder_bytes(folder) - before)
            if grown > reported:
                meter.update(grown - reported)
                reported = grown

    thread = threading.Thread(target=look, name="fkdsl-watch-growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
