"""Calls of libraries that recurse along a stranger's data: on a deeper stack where the usual one
overflows.

>>> def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
>>> on_deep_stack(lambda: depth(5_000))
5000
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from fkdsl.base.deadline import Deadline, until

T = TypeVar("T")
FRAMES = 20_000
STACK = 256 * 1024 * 1024
"""Bytes of address space; only the pages that are used take memory."""
_one_at_a_time = threading.Lock()


def on_deep_stack(call: Callable[[], T]) -> T:
    """The result of a pure call, which is repeated in a thread with a deep stack if it recurses too
    deep. Raises RecursionError beyond FRAMES."""
    try:
        return call()
    except RecursionError:
        pass
    result: list[Any] = []
    failure: list[BaseException] = []

    deadline, context = Deadline(), copy_context()

    def run() -> None:
        try:
            with until(deadline):
                result.append(call())
        except BaseException as error:
            failure.append(error)

    with _one_at_a_time:
        limit, size = sys.getrecursionlimit(), threading.stack_size(STACK)
        sys.setrecursionlimit(max(limit, FRAMES))
        try:
            thread = threading.Thread(target=context.run, args=(run,))
            thread.start()
            try:
                thread.join()
            except KeyboardInterrupt:
                deadline.cancel()
                raise
        finally:
            sys.setrecursionlimit(limit)
            threading.stack_size(size)
    if failure:
        raise failure[0]
    value: T = result[0]
    return value
