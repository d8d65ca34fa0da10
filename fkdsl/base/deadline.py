"""A bound on the time of Python code that has none of its own: a library reading what a stranger wrote.

>>> try:
...     with deadline(0.01):
...         while True:
...             _ = len("")
... except OutOfTime as error:
...     print(error)
longer than 0.01 s
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class OutOfTime(BaseException):
    """The time is over. No Exception, so that the library that is stopped does not take it for a mistake of its own."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in what runs inside once the seconds are over, at the next call of any function."""
    end = time.monotonic() + seconds

    def look(frame: Any, event: str, arg: Any) -> None:
        if time.monotonic() > end:
            raise OutOfTime(f"longer than {seconds:g} s")

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
