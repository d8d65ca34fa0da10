"""A run's clock: where its time went, by the lines of the program. Only runs that are asked for
blame have one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span


@dataclass
class Clock:
    """Seconds by line, and those that language models took; the rest is what is left of the run's
    time.

    own: what only blame itself took, no part of the run's time.
    """

    by_place: dict[Span, float] = field(default_factory=dict)
    models: float = 0.0
    own: float = 0.0

    @contextmanager
    def line(self, place: Span) -> Iterator[None]:
        """What is done within is charged to a line."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.by_place[place] = self.by_place.get(place, 0.0) + time.perf_counter() - began

    @contextmanager
    def model(self) -> Iterator[None]:
        """What is done within is a language model's."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.models += time.perf_counter() - began

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done within is done for blame alone."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.own += time.perf_counter() - began
