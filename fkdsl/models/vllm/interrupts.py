"""Ctrl-C while vLLM works. Between planning a step and computing it vLLM's prefix cache already
names blocks that hold nothing yet: an interrupt there would leave wrong rows to the runs after it,
of a notebook or of `fkdsl repl`. So an interrupt waits for the end of the step.

A step that hangs, as when another process of a group is gone, never ends, and Python runs no
handler of signals while it waits in vLLM's code. So a thread watches: where a step has not ended
some seconds after Ctrl-C it says so, and a further Ctrl-C ends the process.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

GRACE = 5.0
"""Seconds that a step may take after Ctrl-C before anything is said."""
LOOK = 0.1
"""Seconds between two looks at whether the step has ended."""
INTERRUPTED = 130
"""The exit status of a process that Ctrl-C ended."""


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Within it Ctrl-C waits, and comes when it is left. Python takes signals in the main thread;
    others are never interrupted."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[tuple[Any, Any]] = []
    watch = _watch()
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    before = signal.set_wakeup_fd(watch.tell, warn_on_full_buffer=False)
    watch.begin(before)
    try:
        yield
    finally:
        watch.end()
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[0])


class Watch:
    """A thread that reads which signals come, from a pipe into which the system's own handler
    writes them at once. tell: the pipe's end for that."""

    def __init__(self) -> None:
        self._read, self.tell = os.pipe()
        os.set_blocking(self.tell, False)
        self._step, self._others = 0, -1
        threading.Thread(target=self._run, name="fkdsl-vllm-interrupts", daemon=True).start()

    def begin(self, others: int) -> None:
        """A step begins. others: where signals other than Ctrl-C were to be told; -1 for
        nowhere."""
        self._step, self._others = abs(self._step) + 1, others

    def end(self) -> None:
        """The step has ended."""
        self._step = -self._step

    def _run(self) -> None:
        while True:
            if self._interrupted():
                self._wait(self._step)

    def _interrupted(self) -> bool:
        """Waits for a signal; whether it is Ctrl-C. Others go where they were told before."""
        number = os.read(self._read, 1)
        if number[0] != signal.SIGINT and self._others >= 0:
            with suppress(OSError):
                os.write(self._others, number)
        return number[0] == signal.SIGINT

    def _wait(self, step: int) -> None:
        """Until the step ends in which Ctrl-C came, which has a negative number from then on."""
        speaks, told = time.monotonic() + GRACE, False
        while step > 0 and self._step == step:
            ready = select.select([self._read], [], [], LOOK)[0]
            if self._step != step:
                return
            if ready and self._interrupted() and told:
                os._exit(INTERRUPTED)
            if not told and time.monotonic() >= speaks:
                told = True
                print(
                    "fkdsl stops when vLLM's step has ended, which takes long; Ctrl-C once more "
                    "ends the process at once",
                    file=sys.stderr,
                    flush=True,
                )


@cache
def _watch() -> Watch:
    return Watch()
