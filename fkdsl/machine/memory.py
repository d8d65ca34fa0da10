"""What a particle's values and contexts take, and the bound on it.

Where an operator or a function makes a text or a list that is not small, its bytes are charged to
the particle, roughly; so are the tokens of contexts. Whenever an eighth of the bound has been
charged, what the particle really holds is measured, by walking all that its variables reach. So a
value costs one comparison of lengths, and a walk is made only where much is made.

>>> from fkdsl.values.values import Record
>>> charge_of("a" * 10, 8), charge_of("a" * 1000, 8), charge_of((1,) * 1000, 8), charge_of(7, 8)
(0, 1000, 8000, 0)
>>> text = "a" * 1000
>>> 1000 < size([text]) < 1100, size([text, text]) < 1200
(True, True)
>>> size([text, Record({"b": "b" * 1000})]) > 2000
True
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from fkdsl.base.deadline import check
from fkdsl.engine.cached_transformer import Context
from fkdsl.models.attachments import Attachment
from fkdsl.values.faults import Fault
from fkdsl.values.values import Record, Token

SIZED = frozenset((str, tuple, Record))
"""Types of values that may be large."""
SMALL = 256
"""Characters or items up to which a text or a list is not charged."""
OLD, FRESH = 8, 64
"""Bytes that an item of a list is taken for, if it was there before, and if it was made with the
list."""
NODE = 256
"""Bytes that a token of a context is taken for."""
STEPS = 8
"""A particle is measured after every so-manieth part of its bound."""
LOOKS = 4096
"""Values between two looks at the deadline."""


class Memory:
    """The bytes that a particle has been charged.

    now: so far; it only grows. measured: as far as the last measurement goes. op: where the
    instruction in progress began; what it made since is in no variable yet, and counts as held.
    outer: what the instructions that called pure functions had made before. frames: of those
    functions, the innermost last.
    """

    __slots__ = ("frames", "measured", "now", "op", "outer")

    def __init__(self, now: int = 0) -> None:
        self.now = self.op = now
        self.measured = self.outer = 0
        self.frames: list[Any] = []

    @property
    def pending(self) -> int:
        """What the instruction in progress has made."""
        return self.now - self.op

    def drop(self, before: int, kept: Any) -> None:
        """What has been made since `pending` was `before` is garbage but for one value; of a list,
        all of it may be in it."""
        if kept is None or isinstance(kept, bool | int | float | str | Token):
            self.op = self.now - before - (charge_of(kept, OLD) if isinstance(kept, str) else 0)


def no_memory() -> Fault:
    """What is said where the machine itself had no more memory."""
    return Fault("FK415", "the machine has no memory left for this", HELP)


def charge_of(value: Any, item: int) -> int:
    """Bytes, roughly, that a value takes; 0 for a small one. item: for each item of a list."""
    kind = type(value)
    if kind is str:
        return len(value) if len(value) > SMALL else 0
    if kind is tuple:
        return item * len(value) if len(value) > SMALL else 0
    return FRESH * len(value) if kind is Record else 0


def size(values: Iterable[Any], seen: set[int] | None = None, most: float = float("inf")) -> int:
    """Bytes of the values and all that they hold, what is shared counted once. seen: ids of values
    that are counted already. Stops, with a number above `most`, as soon as that is passed."""
    total, known = 0, seen if seen is not None else set()
    todo, visited = list(values), 0
    while todo and total <= most:
        value = todo.pop()
        if id(value) in known:
            continue
        known.add(id(value))
        visited += 1
        if not visited % LOOKS:
            check()
        total += sys.getsizeof(value)
        match value:
            case tuple():
                todo.extend(value)
            case Record():
                total += sys.getsizeof(value._fields)
                todo.extend(value._fields.values())
            case np.ndarray():
                total += int(value.nbytes)
            case Token():
                todo.append(value.text)
            case Attachment():
                total += value.nbytes
            case bool() | int() | float() | str():
                pass
            case _ if hasattr(value, "__dict__"):  # a distribution
                todo.extend(vars(value).values())
    return total


def measure(
    memory: Memory,
    variables: Iterable[tuple[str, Any]],
    contexts: Iterable[Context],
    most: int,
) -> None:
    """Measures what a particle holds. Raises Fault (FK415) if it is more than `most` bytes.

    variables: names and values, of all frames. contexts: nodes of prefix trees.
    """
    memory.measured = memory.now
    pending = memory.pending + memory.outer
    seen: set[int] = set()
    by_name: dict[str, int] = {}
    for name, value in variables:
        by_name[name] = by_name.get(name, 0) + size([value], seen, most)
    held = 0
    for context in contexts:
        node: Context | None = context
        while node is not None and id(node) not in seen:
            seen.add(id(node))
            held += NODE
            if isinstance(node.token, Attachment):
                held += node.token.nbytes
            node = node.parent
    total = pending + held + sum(by_name.values())
    if total > most:
        raise Fault("FK415", _message(by_name, pending, held, most), HELP)


HELP = "keep what is still needed: shorter texts, fewer items, or a count of them"


def _message(by_name: dict[str, int], pending: int, contexts: int, most: int) -> str:
    shares = {f"`{name}`": n for name, n in by_name.items() if not name.startswith(".")}
    shares |= {"what this line makes": pending, "its contexts": contexts}
    what = max(shares, key=shares.__getitem__)
    return f"this particle's values take more than {most >> 20:,} MiB, most of it {what}"
