"""When a run ends, and bounds on the pieces of work in it.

While a run goes on, its `Deadline` is the current one of its thread (`until`). Every loop of ours
that may be long calls `check`, which raises DeadlinePassed once the deadline has passed or another
thread has cancelled it: the interpreter at every instruction, the engine before every forward, the
library in its long functions. It uses no signals, so it works in any thread and on any system.

>>> with until(Deadline(0.01)) as deadline:
...     try:
...         while True:
...             check()
...     except DeadlinePassed as passed:
...         print(passed)
after 0.01 s

`bounded` is for the Python code of a library, which never calls `check`. It bounds the thread's
CPU time, so that a busy machine does not change what is refused, and it heeds the deadline too.

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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, TypeVar

from fkdsl.base.errors import CallError

PIECE = 1 << 16
"""Items that a loop in C goes through between two checks."""
EVERY = 32
"""Function calls between two readings of the clocks."""


class DeadlinePassed(BaseException):
    """The run ends now. It is no Exception, so that no library catches it as an error of its
    own."""


class OutOfTime(BaseException):
    """A piece of work has used up its CPU time. It is no Exception, for the same reason."""


class Deadline:
    """The moment at which a run ends.

    end: seconds on the monotonic clock; inf for never, -inf once cancelled. seconds: the length
    that was asked for, None for no bound. It counts from when the object is made, or from `begin`.
    Any thread may cancel it.
    """

    __slots__ = ("_inner", "end", "seconds")

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.end = math.inf if seconds is None else time.monotonic() + seconds
        self._inner: list[Deadline] = []

    @classmethod
    def of(cls, timeout: float | Deadline | None) -> Deadline:
        """The deadline itself, or a new one of so many seconds. Raises CallError for what is no
        length of time."""
        if isinstance(timeout, Deadline):
            return timeout
        if timeout is not None and not timeout >= 0.0:  # so that NaN, which never passes, fails too
            raise CallError(
                f"a timeout is a number of seconds from 0 on, not {timeout:g}",
                "leave it out, or write one such as 60",
            )
        return cls(timeout)

    def begin(self) -> Deadline:
        """Restarts the count of its seconds, unless it was cancelled; returns the deadline."""
        if self.end != -math.inf and self.seconds is not None:
            self.end = time.monotonic() + self.seconds
        return self

    @property
    def passed(self) -> bool:
        return time.monotonic() > self.end

    @property
    def left(self) -> float:
        """Seconds until it passes, at least 0; inf where there is no bound."""
        return max(0.0, self.end - time.monotonic())

    def check(self) -> None:
        """Raises DeadlinePassed if it has passed."""
        if time.monotonic() > self.end:
            raise DeadlinePassed(self.why)

    @property
    def why(self) -> str:
        """Why a run ends at it, in words that follow "time ran out"."""
        return (
            "since it was cancelled"
            if self.end == -math.inf
            else f"after {self.seconds or 0.0:g} s"
        )

    @property
    def help(self) -> str:
        """What to try where it has ended a run; nothing where the caller cancelled it."""
        return "" if self.end == -math.inf else "raise --timeout"

    def later(self, seconds: float) -> Deadline:
        """A deadline that passes `seconds` after this one, and is cancelled with it."""
        deadline = Deadline()
        self._inner.append(deadline)
        deadline.end, deadline.seconds = self.end + seconds, self.seconds
        return deadline

    def cancel(self) -> None:
        """Makes the run, and the runs within it, end at their next check."""
        self.end = -math.inf
        for deadline in list(self._inner):
            deadline.cancel()


_Item = TypeVar("_Item")
_Items = TypeVar("_Items", str, tuple[Any, ...])
NEVER = Deadline()
"""The deadline where none is set."""
_current: ContextVar[Deadline] = ContextVar("deadline", default=NEVER)


def current() -> Deadline:
    """The deadline of the run that this thread is in."""
    return _current.get()


def check() -> None:
    """Raises DeadlinePassed if the current deadline has passed."""
    _current.get().check()


def pieces(items: _Items) -> Iterator[_Items]:
    """A text or tuple in slices of PIECE items, with a check before each.

    >>> [len(piece) for piece in pieces("ab" * 50_000)]
    [65536, 34464]
    """
    for first in range(0, len(items), PIECE):
        check()
        yield items if len(items) <= PIECE else items[first : first + PIECE]


def gathered(items: Iterable[_Item]) -> list[_Item]:
    """The list of what an iterable gives, with a check at every PIECE items."""
    rest, found = iter(items), list[_Item]()
    while piece := list(islice(rest, PIECE)):
        check()
        found += piece
    return found


@contextmanager
def until(deadline: Deadline) -> Iterator[Deadline]:
    """Makes it the current deadline of the code inside, or keeps the current one where that is
    earlier."""
    around = _current.get()
    linked = around is not NEVER and around is not deadline
    if linked:
        # Before the comparison: then a cancellation in between reaches one of the two.
        around._inner.append(deadline)
    if around.end < deadline.end:
        deadline.end, deadline.seconds = around.end, around.seconds
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.reset(token)
        if linked:
            around._inner.remove(deadline)


class _Work(Deadline):
    """A deadline that also ends a piece of work: once this thread has used `seconds` of CPU time
    from now on, its check raises OutOfTime."""

    __slots__ = ("_last", "_next", "_seconds")

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._last, self._next = seconds, time.thread_time() + seconds, -math.inf
        around = _current.get()
        if isinstance(around, _Work) and around._last < self._last:
            self._seconds, self._last = around._seconds, around._last

    def check(self) -> None:
        super().check()
        if (now := time.monotonic()) < self._next:
            return
        used = time.thread_time()
        if used > self._last:
            raise OutOfTime(f"longer than {self._seconds:g} s of CPU time")
        self._next = now + (self._last - used)  # a thread uses no more than the time that passes


@contextmanager
def within_cpu_time(seconds: float) -> Iterator[None]:
    """Has `check` raise OutOfTime in the code inside once that has used the seconds of CPU time:
    for our own code, which calls it, where `bounded` is for a library's.

    >>> try:
    ...     with within_cpu_time(0.01):
    ...         while True:
    ...             check()
    ... except OutOfTime as error:
    ...     print(error)
    longer than 0.01 s of CPU time
    """
    with until(_Work(seconds)):
        yield


class Budget:
    """CPU time of this thread, counted from now on, for a loop of ours that checks it."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.thread_time() + seconds
        self._deadline = _current.get()

    @property
    def used(self) -> float:
        """Seconds used so far."""
        return self.seconds - (self._end - time.thread_time())

    def check(self) -> None:
        """Raises OutOfTime once it is used up, DeadlinePassed once the deadline has passed."""
        self._deadline.check()
        if time.thread_time() > self._end:
            raise OutOfTime(f"longer than {self.seconds:g} s of CPU time")

    def watch(self) -> None:
        """Checks at every few function calls of this thread from now on, until `bounded` ends. The
        profile hook costs more than most calls themselves."""
        calls = 0

        def look(frame: Any, event: str, arg: Any) -> None:
            nonlocal calls
            calls += 1
            if not calls % EVERY:
                self.check()

        sys.setprofile(look)


@contextmanager
def bounded(seconds: float, *, at_once: bool = True) -> Iterator[Budget]:
    """Raises OutOfTime in the code inside once that has used the seconds of CPU time, and
    DeadlinePassed once the current deadline has passed.

    Both are raised at a function call, so one long call of a C function is not ended. at_once:
    whether the checks begin at once; else they begin when the code calls `watch`.
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
