"""When a run is to end, and bounds on the pieces of work in it.

A run's `Deadline` is the current one of its thread while the run goes on (`until`). Every loop of
ours that may be long calls `check`, which raises DeadlinePassed once the deadline has passed or
another thread has cancelled it: the interpreter at every instruction, the engine before every
forward, the library in its long functions. There are no signals in this: it works in any thread, on
any system.

>>> with until(Deadline(0.01)) as deadline:
...     try:
...         while True:
...             check()
...     except DeadlinePassed as passed:
...         print(passed)
after 0.01 s

`bounded` is for a library's Python code, which calls no `check`: it bounds the CPU time of the
thread, so that a busy machine does not change what is refused, and it sees the deadline too.

>>> try:
...     with bounded(0.01):
...         while True:
...             _ = len("")
... except OutOfTime as error:
...     print(error)
longer than 0.01 s of CPU time
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

EVERY = 32
"""Calls of functions between two looks at the clocks."""


class DeadlinePassed(BaseException):
    """The run is to end now. No Exception, so that no library takes it for a mistake of its own."""


class OutOfTime(BaseException):
    """A piece of work has used its CPU time. No Exception, for the same reason."""


class Deadline:
    """The moment at which a run ends.

    end: on the monotonic clock, in seconds; inf for never, -inf once cancelled. seconds: what was
    asked for, None where there is no bound. The seconds count from its making, or from `begin`. Any
    thread may cancel it.
    """

    __slots__ = ("_inner", "end", "seconds")

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.end = math.inf if seconds is None else time.monotonic() + seconds
        self._inner: list[Deadline] = []

    @classmethod
    def of(cls, timeout: float | Deadline | None) -> Deadline:
        """The deadline itself, or a new one of so many seconds."""
        return timeout if isinstance(timeout, Deadline) else cls(timeout)

    def begin(self) -> Deadline:
        """Counts the seconds from now on, and is itself; what was cancelled stays so."""
        if self.end != -math.inf and self.seconds is not None:
            self.end = time.monotonic() + self.seconds
        return self

    @property
    def passed(self) -> bool:
        return time.monotonic() > self.end

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0; inf where there is no bound."""
        return max(0.0, self.end - time.monotonic())

    def check(self) -> None:
        """Raises DeadlinePassed if it has passed."""
        if time.monotonic() > self.end:
            raise DeadlinePassed(self.why)

    @property
    def why(self) -> str:
        """Why a run ends at it, once it has passed."""
        return (
            "since it was cancelled"
            if self.end == -math.inf
            else f"after {self.seconds or 0.0:g} s"
        )

    def later(self, seconds: float) -> Deadline:
        """A deadline that passes so many seconds after this one, and is cancelled with it."""
        found = Deadline()
        self._inner.append(found)
        found.end, found.seconds = self.end + seconds, self.seconds
        return found

    def cancel(self) -> None:
        """Ends the run, and those within it, at their next check."""
        self.end = -math.inf
        for deadline in list(self._inner):
            deadline.cancel()


NEVER = Deadline()
"""The deadline where none is set."""
_current: ContextVar[Deadline] = ContextVar("deadline", default=NEVER)


def current() -> Deadline:
    """The deadline of the run that this thread is in."""
    return _current.get()


def check() -> None:
    """Raises DeadlinePassed if the current deadline has passed."""
    _current.get().check()


@contextmanager
def until(deadline: Deadline) -> Iterator[Deadline]:
    """What runs inside has this deadline, or the one around it where that is earlier."""
    around = _current.get()
    linked = around is not NEVER and around is not deadline
    if linked:
        around._inner.append(
            deadline
        )  # before the comparison: a cancellation in between is seen by one of the two
    if around.end < deadline.end:
        deadline.end, deadline.seconds = around.end, around.seconds
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.reset(token)
        if linked:
            around._inner.remove(deadline)


class Budget:
    """CPU time of this thread, from now on, for a loop of ours that checks it."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end, self._deadline = (
            seconds,
            time.thread_time() + seconds,
            _current.get(),
        )

    @property
    def used(self) -> float:
        """Seconds so far."""
        return self.seconds - (self._end - time.thread_time())

    def check(self) -> None:
        """Raises OutOfTime if it is used up, DeadlinePassed if the current deadline has passed."""
        self._deadline.check()
        if time.thread_time() > self._end:
            raise OutOfTime(f"longer than {self.seconds:g} s of CPU time")

    def watch(self) -> None:
        """Checks from now on at every few calls of functions of this thread, until `bounded` ends.
        That costs more than the calls themselves."""
        calls = 0

        def look(frame: Any, event: str, arg: Any) -> None:
            nonlocal calls
            calls += 1
            if not calls % EVERY:
                self.check()

        sys.setprofile(look)


@contextmanager
def bounded(seconds: float, *, at_once: bool = True) -> Iterator[Budget]:
    """Raises OutOfTime in what runs inside once it has used the seconds of CPU time, and
    DeadlinePassed once the current deadline has passed: each at a call of some function, so that
    one long call of a function in C is not ended. at_once: whether it is watched from the
    beginning, and not from when somebody calls `watch`.
    """
    budget = Budget(seconds)
    budget.check()
    before = sys.getprofile()
    if at_once:
        budget.watch()
    try:
        yield budget
    finally:
        sys.setprofile(before)
