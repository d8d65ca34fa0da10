"""How what runs in several threads share is guarded: caches, and language models.

There are three ways, the cheapest first: one attribute with one immutable value, which is read once
and replaced whole; a `dict` whose entries depend on their keys alone, so that it does not matter
which thread writes them; and, where a lookup changes more than one thing, a lock of the object,
which its `locked` methods hold.

>>> class Counter:
...     def __init__(self): self.lock, self.n = threading.RLock(), 0
...     @locked
...     def next(self): self.n += 1; return self.n
>>> Counter().next()
1

A language model, whose forwards write into buffers of its own, is used by one thread at a time
(`in_turn`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from fkdsl.base.deadline import check

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
_evicting = threading.Lock()
_others = threading.RLock()  # of objects that take no attribute
LOOK = 0.05
"""Seconds between two looks of a waiting thread at its deadline."""


def locked(method: F) -> F:
    """A method that holds its object's `lock`, an RLock, while it runs."""

    @wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            return method(self, *args, **kwargs)

    return cast(F, run)


def remember(known: MutableMapping[K, V], key: K, value: V, most: int) -> V:
    """Sets known[key] = value, drops the oldest entries above `most`, and returns the value.

    Where two threads compute the same entry, each gets its own and the later one is kept; they are
    equal, since entries depend on their keys alone.
    """
    with _evicting:
        while len(known) >= most:
            del known[next(iter(known))]
        known[key] = value
    return value


@contextmanager
def taking_turns(shared: Any) -> Iterator[None]:
    """A context in which no other thread is that takes turns at the same object. It may be entered
    again within itself. Raises DeadlinePassed where the current deadline passes before its turn.

    >>> with taking_turns(print), taking_turns(print):
    ...     pass
    """
    turn = _taken(shared)
    try:
        yield
    finally:
        turn.release()


def in_turn(shared: Any, call: Callable[..., R], *args: Any) -> R:
    """What a call gives that is made within `taking_turns(shared)`."""
    turn = _taken(shared)
    try:
        return call(*args)
    finally:
        turn.release()


def _taken(shared: Any) -> threading.RLock:
    """The lock of an object's turns, once it is this thread's turn."""
    turn = _turn_of(shared)
    if not turn.acquire(blocking=False):
        while not turn.acquire(timeout=LOOK):
            check()
    return turn


class _Turn:
    """The lock of an object's turns. A copy that is made in another place has one of its own, so
    that the object can be pickled as before."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __reduce__(self) -> tuple[type[_Turn], tuple[()]]:
        return _Turn, ()


def _turn_of(shared: Any) -> threading.RLock:
    known: dict[str, Any] | None = getattr(shared, "__dict__", None)
    if type(known) is not dict:
        return _others
    turn: _Turn | None = known.get("_turn")
    # setdefault, so that two threads that come first get the same lock.
    return (turn if turn is not None else known.setdefault("_turn", _Turn())).lock
