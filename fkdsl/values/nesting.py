"""The depth of nested values and the number of their parts, with bounds on both.

Comparing, showing and storing a value visits all its parts, with a call for each level. A list that
has itself as two items (`xs = [xs, xs]` in a loop) takes little memory but has 2**n parts, so the
bound on memory does not stop it.

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
"""Most levels of lists and records within each other."""
MOST_PARTS = 1 << 18
"""Most parts of a list or record that has others in it, shared parts counted each time."""
MOST_COMBINED = 1024
"""Most parts of a product, power or mixture of contexts: each is computed over the whole vocabulary
at every draw."""
FEW_PARTS = 256
"""A list of at most so many parts is added to a longer one without visiting that one's parts."""
WALKED = 1 << 12
"""Lists and records walked between two checks of the deadline."""
COMBINED = (Product, Power, Mixture)
HOLDERS = frozenset((tuple, Record, *COMBINED))


class Nesting(NamedTuple):
    """The size of a nested value. depth: levels of lists and records. parts: lists, records and
    items, shared ones counted each time."""

    depth: int
    parts: int


def nesting(value: Any, known: dict[int, Nesting] | None = None) -> Nesting:
    """The depth and the number of parts of a value. Shared parts are visited once. known: the
    results by id() of values that were visited."""
    if type(value) not in HOLDERS:
        return Nesting(0, 1)
    known = {} if known is None else known
    result = known.get(id(value))
    if result is None:
        if not len(known) % WALKED:
            check()
        depth, parts = 0, 1
        for item in _items(value):
            if type(item) in HOLDERS:
                inner = nesting(item, known)
                depth, parts = max(depth, inner.depth), parts + inner.parts
            else:
                parts += 1
        result = known[id(value)] = Nesting(depth + 1, parts)
    return result


def verify_nesting(value: Any) -> None:
    """Raises Fault (FK415) if a list, a record or a combination of contexts is nested too deep or
    has too many parts."""
    if type(value) not in HOLDERS or not any(type(item) in HOLDERS for item in _items(value)):
        return
    depth, parts = nesting(value)
    if type(value) in COMBINED:
        if depth > MOST_DEEP or parts > MOST_COMBINED:
            raise Fault(
                "FK415",
                f"this combines contexts more than {MOST_DEEP} deep, or more than "
                f"{MOST_COMBINED:,} of them",
                "combine fewer: a power for a product of one context with itself",
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
    """`verify_nesting` for the value of `a + b` or `a * b`, without visiting a long list to which a
    short one is added."""
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
