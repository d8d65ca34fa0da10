"""Ctrl-C while vLLM works. Between planning a step and computing it vLLM's prefix cache already
names blocks that hold nothing yet: an interrupt there would leave wrong rows to the runs after it,
of a notebook or of `fkdsl repl`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Within it Ctrl-C waits, and comes when it is left. Python takes signals in the main thread;
    others are never interrupted."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[tuple[Any, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])
