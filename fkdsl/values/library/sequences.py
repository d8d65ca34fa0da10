"""Functions of lists. Some also take a text, as the list of its characters (len, reversed,
enumerate)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fkdsl.base.deadline import PIECE, check, gathered, pieces
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import (
    ANY,
    BOOL,
    DOCUMENT,
    FLOAT,
    INT,
    RECORD,
    STR,
    TOKEN,
    List,
    Pair,
    Type,
    common_type,
)
from fkdsl.values.values import Token, show

MAX_RANGE = 1_000_000
XS = Parameter("xs", ANY)


def item_of(t: Type) -> Type | None:
    """The type of the items of a list or text; None for other types."""
    if isinstance(t, List):
        return t.item
    return STR if t in (STR, TOKEN) else ANY if t == ANY else None


def _number_items(types: Sequence[Type]) -> Type | str:
    """The type of the items: int or float, and int for bools."""
    item = item_of(types[0]) if types else None
    if item in (INT, BOOL):
        return INT
    if item in (FLOAT, ANY):
        return FLOAT
    return f"sum adds the numbers of a list, not {types[0] if types else 'nothing'}"


def _extreme(types: Sequence[Type]) -> Type | str:
    """The type of the items, or the widest of the arguments'."""
    common = item_of(types[0]) if len(types) == 1 else types[0]
    if common is None:
        return f"a list or several values are compared, not one {types[0]}"
    for t in types[1:]:
        joined = common_type(common, t)
        if joined is None:
            return f"cannot compare {common} with {t}"
        common = joined
    if common not in (INT, FLOAT, STR, BOOL, TOKEN, ANY):
        return f"{common} has no order"
    return common


def _same_list(types: Sequence[Type]) -> Type | str:
    """list[T] for a list[T]."""
    item = item_of(types[0])
    return f"expected a list, not {types[0]}" if item is None else List(item)


def _ordered_list(types: Sequence[Type]) -> Type | str:
    """list[T] for a list[T] of numbers, texts or tokens."""
    result = _same_list(types)
    if isinstance(result, List) and result.item not in (INT, FLOAT, STR, BOOL, TOKEN, ANY):
        return f"{result.item} has no order"
    return result


def _pairs(types: Sequence[Type]) -> Type | str:
    """A list of tuples, with an item of each list."""
    items: list[Type] = []
    for t in types:
        item = item_of(t)
        if item is None:
            return f"zip takes lists, not {t}"
        items.append(item)
    return List(Pair(tuple(items)))


def _numbered(types: Sequence[Type]) -> Type | str:
    """A list of tuples, an int and an item."""
    item = item_of(types[0])
    return f"enumerate takes a list, not {types[0]}" if item is None else List(Pair((INT, item)))


def _length(types: Sequence[Type]) -> Type | str:
    """int."""
    return (
        INT
        if item_of(types[0]) is not None or types[0] in (RECORD, DOCUMENT)
        else f"{types[0]} has no length"
    )


def _items(xs: Any) -> tuple[Any, ...]:
    if isinstance(xs, str | tuple):
        return tuple(xs)
    raise BuiltinError(f"expected a list, found {show(xs)!r}")


@pure("len", [XS], _length)
def len_(xs: Any) -> int:
    """The number of items, characters or fields.

    >>> len_("abc"), len_((1, 2))
    (3, 2)
    """
    try:
        return len(xs)
    except TypeError:
        raise BuiltinError(f"{show(xs)!r} has no length") from None


@pure(
    "range",
    [Parameter("start", INT), Parameter("stop", INT, None), Parameter("step", INT, 1)],
    List(INT),
)
def range_(start: int, stop: int | None, step: int) -> tuple[int, ...]:
    """The whole numbers from start up to stop, without stop; with one argument from 0 up to it.

    >>> range_(3, None, 1), range_(1, 6, 2)
    ((0, 1, 2), (1, 3, 5))
    """
    if step == 0:
        raise BuiltinError("range with step 0", "give a step above or below 0")
    r = range(start) if stop is None else range(start, stop, step)
    if len(r) > MAX_RANGE:
        raise BuiltinError(f"a range of {len(r):,} numbers", f"ranges have at most {MAX_RANGE:,}")
    return tuple(r)


def _plain(x: Any) -> Any:
    return x.text if isinstance(x, Token) else x


def _extreme_of(choose: Any, name: str, args: tuple[Any, ...]) -> Any:
    values = _items(args[0]) if len(args) == 1 else args
    if not values:
        raise BuiltinError(f"{name} of no values", "test its length first")
    try:
        best = [choose(piece, key=_plain) for piece in pieces(values)]
        return choose(best, key=_plain)
    except TypeError:
        raise BuiltinError(
            f"{name} of values that cannot be compared", "give values of one type"
        ) from None


@pure("min", [Parameter("xs", ANY)], _extreme, variadic=ANY)
def min_(*args: Any) -> Any:
    """The least item of a list, or the least of several arguments."""
    return _extreme_of(min, "min", args)


@pure("max", [Parameter("xs", ANY)], _extreme, variadic=ANY)
def max_(*args: Any) -> Any:
    """The greatest item of a list, or the greatest of several arguments.

    >>> max_((1, 3, 2)), max_(4, 2.5)
    (3, 4)
    """
    return _extreme_of(max, "max", args)


@pure("sum", [XS], _number_items)
def sum_(xs: Any) -> float:
    """The sum of a list of numbers, with false as 0 and true as 1."""
    total: float = 0
    for piece in pieces(_items(xs)):
        for x in piece:
            if not isinstance(x, int | float):
                raise BuiltinError(f"sum of {show(x)!r}, which is no number")
            total += x
    return total


@pure("all", [Parameter("xs", List(BOOL))], BOOL)
def all_(xs: tuple[bool, ...]) -> bool:
    """Whether every item is true; true for an empty list."""
    return all(xs)


@pure("any", [Parameter("xs", List(BOOL))], BOOL)
def any_(xs: tuple[bool, ...]) -> bool:
    """Whether some item is true; false for an empty list."""
    return any(xs)


@pure("sorted", [XS, Parameter("reverse", BOOL, False)], _ordered_list)
def sorted_(xs: Any, reverse: bool) -> tuple[Any, ...]:
    """The items from least to greatest, or from greatest to least.

    >>> sorted_((3, 1, 2), False), sorted_((3, 1, 2), True)
    ((1, 2, 3), (3, 2, 1))
    """
    try:
        return _sorted(xs if isinstance(xs, str) else _items(xs), reverse)
    except TypeError:
        raise BuiltinError(
            "sorted of values that cannot be compared", "give values of one type"
        ) from None


def _sorted(items: str | tuple[Any, ...], reverse: bool) -> tuple[Any, ...]:
    """`sorted`, in pieces with checks of the deadline where there are many items."""
    if len(items) <= PIECE:
        return tuple(sorted(items, key=_plain, reverse=reverse))
    if isinstance(items, str):
        counts: Counter[str] = Counter()
        for piece in pieces(items):
            counts.update(piece)
        return tuple("".join(c * counts[c] for c in sorted(counts, reverse=reverse)))
    tokens = any(isinstance(x, Token) for x in items)
    runs = [sorted(p, key=_plain if tokens else None, reverse=reverse) for p in pieces(items)]
    while len(runs) > 1:  # Python's sort finds two runs, and merges them
        check()
        pairs = [runs[i] + runs[i + 1] for i in range(0, len(runs) - 1, 2)]
        rest = runs[len(pairs) * 2 :]
        runs = []
        for pair in pairs:
            check()
            runs.append(sorted(pair, key=_plain if tokens else None, reverse=reverse))
        runs += rest
    return tuple(runs[0])


@pure("reversed", [XS], _same_list)
def reversed_(xs: Any) -> tuple[Any, ...]:
    """The items in reverse order."""
    return _items(xs)[::-1]


@pure("distinct", [XS], _same_list)
def distinct(xs: Any) -> tuple[Any, ...]:
    """The items, each once, in order of first appearance.

    >>> distinct((2, 1, 2))
    (2, 1)
    """
    return tuple(dict.fromkeys(_items(xs)))


@pure("zip", [Parameter("xs", ANY), Parameter("ys", ANY)], _pairs, variadic=ANY)
def zip_(*lists: Any) -> tuple[tuple[Any, ...], ...]:
    """Tuples of the lists' items at each place, as many as the shortest list has.

    >>> zip_((1, 2), "ab")
    ((1, 'a'), (2, 'b'))
    """
    return tuple(gathered(zip(*map(_items, lists), strict=False)))


@pure("enumerate", [XS, Parameter("start", INT, 0)], _numbered)
def enumerate_(xs: Any, start: int) -> tuple[tuple[int, Any], ...]:
    """(number, item) for each item, numbered from start."""
    return tuple(gathered(enumerate(_items(xs), start)))
