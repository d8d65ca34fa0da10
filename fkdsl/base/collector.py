"""Python's searches for cycles of objects, which take long in a process that has loaded much: a
full one goes through all that torch and transformers have made.

A population's objects live for a step, which is long enough to make Python search again and again,
and a run leaves no cycles (tests/api/test_collector.py). So it searches seldom while one goes on.

>>> with collecting_seldom():
...     gc.get_threshold()[0] >= OBJECTS
True
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 200_000
"""New objects between two searches. At Python's 700 they cost a fifth of a second while modules are
imported, whose objects all stay; at 50,000 one search still falls into `fkdsl check`, and takes a
twentieth of its time."""
_lock = threading.Lock()
_before: list[tuple[int, int, int]] = []
"""The thresholds before each of the runs that go on began."""


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Python searches for cycles every OBJECTS new objects, if it does at all and not more seldom.
    It is as before once the last that asked for it, in whatever thread, is over."""
    with _lock:
        first, *others = before = gc.get_threshold()
        _before.append(before)
        if 0 < first < OBJECTS:
            gc.set_threshold(OBJECTS, *others)
    try:
        yield
    finally:
        with _lock:
            first_before = _before[0]
            _before.pop()
            if not _before and gc.get_threshold()[0] == OBJECTS:
                gc.set_threshold(*first_before)
