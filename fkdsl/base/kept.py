"""Results of a function that are kept as long as they are not too large together.

>>> @kept(capacity=5, weight=len, most=10)
... def twice(text: str) -> str:
...     return 2 * text
>>> twice("a") is twice("a"), len(twice.results)
(True, 1)
>>> twice("bb"), len(twice.results)  # "aa" and "bbbb" weigh 6 together: the oldest is dropped
('bbbb', 1)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Kept(Generic[P, R]):
    """A function that remembers what it gave for the last arguments, as many as weigh at most
    `capacity` together, and at most `most`; the newest whatever it weighs."""

    def __init__(
        self, function: Callable[P, R], capacity: int, weight: Callable[[R], int], most: int
    ) -> None:
        self.function, self.capacity, self.weight, self.most = function, capacity, weight, most
        self.results: dict[Hashable, tuple[R, int]] = {}
        self.weighs = 0
        self.lock = threading.RLock()
        self.__doc__, self.__wrapped__ = function.__doc__, function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (args, tuple(sorted(kwargs.items())))
        with self.lock:
            if key in self.results:
                self.results[key] = entry = self.results.pop(key)
                return entry[0]
        result = self.function(*args, **kwargs)
        weighs = self.weight(result)
        with self.lock:
            self.weighs += weighs - self.results.pop(key, (None, 0))[1]
            self.results[key] = result, weighs
            while len(self.results) > 1 and (
                self.weighs > self.capacity or len(self.results) > self.most
            ):
                self.weighs -= self.results.pop(next(iter(self.results)))[1]
        return result

    def cache_clear(self) -> None:
        with self.lock:
            self.results, self.weighs = {}, 0


def kept(
    capacity: int, weight: Callable[[Any], int], most: int
) -> Callable[[Callable[P, R]], Kept[P, R]]:
    """A decorator; see Kept. weight: of a result."""
    return lambda function: Kept(function, capacity, weight, most)
