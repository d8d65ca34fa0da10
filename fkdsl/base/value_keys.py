"""One key for a value, by which states are merged, answers are counted and results are remembered.

Two values have equal keys if and only if no program can tell them apart. Python's `==` is coarser:
it takes 1, 1.0 and true for one value, and 0.0 for -0.0, and it denies that NaN equals itself. So a
key spells out the types of numbers, the sign of a zero, the items of a list in order, and the
fields of a record with their names, in order too (a program can run over the names, and `str` shows
them).

A token's id matters to a model but to no program, which sees its text. `state_key` holds the ids,
because a state goes on to models; `value_key` leaves them out, because an answer does not.

>>> value_key(1) == value_key(1.0), value_key({"a": True}) == value_key({"a": 1})
(False, False)
>>> value_key([1, float("nan")]) == value_key((1, float("nan")))
True
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from fkdsl.base.arrays import np


class Keyed:
    """A value that computes its own key."""

    def key(self, token_ids: bool) -> Hashable:
        """Equal for equal values. token_ids: whether two tokens with one text and different ids
        count as different."""
        raise NotImplementedError


def value_key(value: Any) -> Hashable:
    """The key of an answer: tokens count by their text."""
    return _key(value, False)


def state_key(value: Any) -> Hashable:
    """The key of a value within a state: tokens count by their id."""
    return _key(value, True)


def _key(value: Any, token_ids: bool) -> Hashable:
    # Texts and whole numbers, which are most values, are their own keys; all others begin with a
    # type.
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value  # type: ignore[no-any-return]
    if kind is bool:
        return (bool, value)
    if kind is float:
        # repr writes every NaN alike, and the sign of a zero.
        return (float, value) if value and value == value else (float, repr(value))
    if isinstance(value, tuple | list):
        return (tuple, *[_key(v, token_ids) for v in value])
    return _key_of_object(value, token_ids)


def _key_of_object(value: Any, token_ids: bool) -> Hashable:
    if isinstance(value, Keyed):
        return (type(value), value.key(token_ids))
    if isinstance(value, np.generic):  # a model written in Python may return numpy's numbers
        return _key(value.item(), token_ids)
    if isinstance(value, Mapping):
        return (
            Mapping,
            *[(_key(name, token_ids), _key(v, token_ids)) for name, v in value.items()],
        )
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is not None and type(value).__dataclass_params__.eq:
        parts = [_key(getattr(value, name), token_ids) for name, f in fields.items() if f.compare]
        return (type(value), *parts)
    # A subclass of a plain type is that value: np.float64 is handled above, an IntEnum or a str of
    # the user's here.
    for plain in (str, int, float):
        if isinstance(value, plain):
            return _key(plain(value), token_ids)
    return (type(value), value)
