"""The trace of a run that asked for none. It is kept in the cache folder until the run ends, so
that a run that is cut short, even by a kill, can go on by --resume.

    with kept_trace("short_words") as kept:
        result = program.run(trace=kept.file)   # None where the folder cannot be written

The file is removed when the run ends, with an answer or an error, and stays when the run is cut
short. The bytes of a file, the number of files and their age are bounded.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fkdsl.api.trace.file import TraceFile
from fkdsl.base.errors import BudgetEnded, CallError, Interrupted
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.cache import cache_root

FILES = 20
"""Traces in the folder at most; the oldest are removed first."""
DAYS = 7
"""Days for which a trace is kept."""
BYTES = 256 << 20
"""Bytes of a trace at most; the trace of a run that writes more is removed."""


class KeptFile(TraceFile):
    """A trace file that is removed where it cannot be written or grows too large; the run goes on
    without it."""

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
    """A kept trace. file: None where there is none."""

    file: KeptFile | None = None


def kept_folder() -> Path:
    """The folder of the traces of runs that asked for none."""
    return cache_root() / "runs"


@contextmanager
def kept_trace(name: str) -> Iterator[Kept]:
    """The trace of a run that begins now; it is removed when the run ends. name: the program's."""
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
    """Removes old traces, and the oldest of too many, but none of a run in progress."""
    newest_first = sorted(folder.glob("*.jsonl"), key=_changed, reverse=True)
    for place, path in enumerate(newest_first):
        if place >= FILES - 1 or time.time() - _changed(path) > DAYS * 86_400:
            with suppress(OSError, CallError):
                TraceFile(path).close()  # raises while another process writes it
                path.unlink()


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
