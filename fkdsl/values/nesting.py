"""How deep a value is nested, how many parts it has when it is written out, and the bounds on both.

What compares, shows or stores a value walks all its parts, one call within another. A list that
holds itself twice over (`xs = [xs, xs]` in a loop) takes little memory and has 2**n parts, so the
bound on memory does not see it.

>>> nesting((1, (2, 3))), nesting("text")
(Nesting(depth=2, parts=5), Nesting(depth=0, parts=1))
>>> verify_nesting(((), ())) is None
True
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from fkdsl.base.deadline import check
from fkdsl.values.faults import Fault
from fkdsl.values.token_distributions import Mixture, Power, Product
from fkdsl.values.values import Record

MOST_DEEP = 128
"""Lists and records within each other."""
MOST_PARTS = 1 << 18
"""Parts of a list or a record that holds others, written out."""
MOST_COMBINED = 1024
"""Parts of a product, power or mixture of contexts: each is computed over the whole vocabulary at
every draw."""
FEW_PARTS = 256
"""Parts of a list that another takes in without being walked itself."""
WALKED = 1 << 12
"""Lists and records walked between two checks of the deadline."""
COMBINED = (Product, Power, Mixture)
HOLDERS = frozenset((tuple, Record, *COMBINED))


class Nesting(NamedTuple):
    """depth: lists and records within each other. parts: lists, records and items, what is shared
    counted each time."""

    depth: int
    parts: int


def nesting(value: Any, known: dict[int, Nesting] | None = None) -> Nesting:
    """The depth and the parts of a value; what is shared is walked once. known: by id, what is
    walked already."""
    if type(value) not in HOLDERS:
        return Nesting(0, 1)
    known = {} if known is None else known
    found = known.get(id(value))
    if found is None:
        if not len(known) % WALKED:
            check()
        depth, parts = 0, 1
        for item in _items(value):
            if type(item) in HOLDERS:
                inner = nesting(item, known)
                depth, parts = max(depth, inner.depth), parts + inner.parts
            else:
                parts += 1
        found = known[id(value)] = Nesting(depth + 1, parts)
    return found


def verify_nesting(value: Any) -> None:
    """Raises Fault (FK415) if a list, a record or a combination of contexts that holds others is
    nested too deep or has too many parts."""
    if type(value) not in HOLDERS or not any(type(item) in HOLDERS for item in _items(value)):
        return
    depth, parts = nesting(value)
    if type(value) in COMBINED:
        if depth > MOST_DEEP or parts > MOST_COMBINED:
            message = f"this combines contexts more than {MOST_DEEP} deep, or more than {MOST_COMBINED:,} of them"
            raise Fault(
                "FK415", message, "combine fewer: a power for a product of one context with itself"
            )
        return
    if depth > MOST_DEEP:
        raise Fault(
            "FK415",
            f"this nests lists and records more than {MOST_DEEP} deep",
            "keep the items in one list",
        )
    if parts > MOST_PARTS:
        message = f"written out, this value has more than {MOST_PARTS:,} parts"
        raise Fault("FK415", message, "hold fewer lists within lists, or each of them once")


def verify_joined(value: tuple[Any, ...], a: Any, b: Any) -> None:
    """The same of `a + b` or `a * b`. A short list at the end of a long one is no reason to walk
    the long one."""
    if type(a) is tuple and type(b) is tuple and nesting(min(a, b, key=len)).parts <= FEW_PARTS:
        return
    verify_nesting(value)


def _items(value: Any) -> Collection[Any]:
    match value:
        case Record():
            return value._fields.values()
        case Product(left, right):
            return (left, right)
        case Power(base):
            return (base,)
        case Mixture(parts):
            return parts
    return value  # type: ignore[no-any-return]
