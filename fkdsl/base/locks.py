"""How caches that runs in several threads share are guarded.

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
"""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping
from functools import wraps
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K")
V = TypeVar("V")
_evicting = threading.Lock()


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
