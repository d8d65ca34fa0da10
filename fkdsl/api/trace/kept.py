"""The trace of a run that asked for none: kept in the cache folder until the run has ended, so that
one that was cut short, even by a kill, can go on by --resume.

    with kept_trace("short_words") as kept:
        result = program.run(trace=kept.file)          # kept.file is None where the folder cannot be written

The file goes when the run ends, well or not; it stays where the run is cut. What stays is bounded:
by bytes a file, by files, and by days.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fkdsl.api.trace.file import TraceFile
from fkdsl.base.errors import BudgetEnded, CallError, Interrupted
from fkdsl.models.cache import cache_root

FILES = 20
"""Traces of runs that were cut which the folder holds; then the oldest go."""
DAYS = 7
"""Days for which one is kept."""
BYTES = 256 << 20
"""Bytes of one at most; a run that writes more has none."""


class KeptFile(TraceFile):
    """A trace file that gives up, and is gone, where it cannot be written or grows too large: the
    run goes on."""

    most = BYTES

    def add(self, line: Mapping[str, Any]) -> None:
        if self.given_up:
            return
        try:
            super().add(line)
            self.given_up = self.path.stat().st_size > self.most
        except (CallError, OSError):
            self.given_up = True
        if self.given_up:
            with suppress(OSError):
                self.cut(0)
                self.path.unlink()


@dataclass
class Kept:
    """file: None where there is none to write."""

    file: KeptFile | None = None


def kept_folder() -> Path:
    """Where the traces of runs that asked for none are."""
    return cache_root() / "runs"


@contextmanager
def kept_trace(name: str) -> Iterator[Kept]:
    """The trace of a run that begins now, removed when it ends. name: the program's."""
    kept = Kept(_new_file(name))
    stays = False
    try:
        yield kept
    except (BudgetEnded, Interrupted) as error:
        stays = error.unfinished is not None and error.unfinished.resume is not None
        raise
    finally:
        if kept.file is not None and not stays:
            with suppress(OSError):
                kept.file.path.unlink()


def _new_file(name: str) -> KeptFile | None:
    folder = kept_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder)
        prefix = re.sub(r"\W", "_", name)[:40]
        number, path = tempfile.mkstemp(".jsonl", f"{prefix}-", folder)  # mode 0600
        os.close(number)
        return KeptFile(Path(path))
    except (OSError, CallError):
        return None


def _sweep(folder: Path) -> None:
    """Removes what is too old or too much, but no file of a run in progress."""
    found = sorted(folder.glob("*.jsonl"), key=_changed, reverse=True)
    for place, path in enumerate(found):
        if place >= FILES - 1 or time.time() - _changed(path) > DAYS * 86_400:
            with suppress(OSError, CallError):
                TraceFile(path).close()  # refused while another process writes it
                path.unlink()


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
