"""The values that a program computes with: immutable, hashable and compared by value. So a fork of
a particle copies references, and equal particles can be merged.

bool, int, float and str are Python's. A list is a tuple, a record a `Record`, a token a `Token`. A
context is a `ContextRef` into its particle's table of contexts. A distribution is a `Distribution`
(distributions.py).

>>> Token(5, " sea", False) == " sea", Token(5, " sea", False) == Token(9, " sea", False)
(True, True)
>>> Token(2, "", True) == EOS
True
>>> print(show((1, True, "it's", Record({"a": "x"}))))
[1, true, "it's", {"a": "x"}]
>>> Record({"a": 1})["a"], hash(Record({"a": (1, 2)})) == hash(Record({"a": (1, 2)}))
(1, True)
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.value_keys import Keyed


@dataclass(frozen=True, eq=False)
class Token(Keyed):
    """A drawn token: its id, its text, and whether it ends the text.

    Compared by its text, as users see it, with other tokens and strings. A token that ends the text
    equals only other such tokens (`t == EOS`).
    """

    id: int
    text: str
    end: bool

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Token):
            return self.end == other.end and (self.end or self.text == other.text)
        return isinstance(other, str) and not self.end and self.text == other

    def __hash__(self) -> int:
        return hash(None if self.end else self.text)

    def key(self, token_ids: bool) -> Hashable:
        """The key by which tokens are distinguished: the text, and if `token_ids` also the id, as
        in a state (two models may give one id two texts)."""
        if token_ids:
            return (self.id, self.end, self.text)
        return None if self.end else self.text

    def __str__(self) -> str:
        return self.text


EOS = Token(-1, "", True)
"""The `EOS` of programs: equal to every token that ends a text."""


@dataclass(frozen=True)
class ContextRef:
    """A context, by the index of its state in the particle's table. Two variables for one context
    have the same index."""

    index: int


class Record(Mapping[str, Any]):
    """An immutable, hashable mapping from names to values."""

    __slots__ = ("_fields", "_hash")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)
        self._hash: int | None = None

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self._fields == other._fields

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._fields.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"Record({self._fields!r})"


def plain(value: Any) -> Any:
    """The value as JSON-able Python: tuples as lists, records as dicts, tokens as their text."""
    match value:
        case Token():
            return value.text
        case tuple():
            return [plain(v) for v in value]
        case Record():
            return {k: plain(v) for k, v in value.items()}
    return value


def from_plain(value: Any) -> Any:
    """The value that JSON-able Python stands for, the way back from `plain`: but that tokens stay
    their text."""
    match value:
        case list():
            return tuple(map(from_plain, value))
        case dict():
            return Record({k: from_plain(v) for k, v in value.items()})
    return value


def show(value: Any) -> str:
    """The value as a program writes it, but with strings quoted only inside lists and records."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "none"
        case Token():
            return "EOS" if value.end else value.text
        case tuple():
            return "[" + ", ".join(_show_inner(v) for v in value) + "]"
        case Record():
            return "{" + ", ".join(f'"{k}": {_show_inner(v)}' for k, v in value.items()) + "}"
    return str(value)


def show_beginning(value: Any, most: int = 400) -> str:
    """`show` of as much of a value as comes to about `most` characters, with "..." behind it where
    that is not all.

    >>> show_beginning((1, (2, "a")), 100), show_beginning((12345,) * 10**6, 12)
    ('[1, [2, "a"]]', '[12345, 1234...')
    """
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > most:
            return text[:most] + "..."
    return text


def _pieces(value: Any) -> Iterator[str]:
    """What `show` puts together, piece by piece."""
    match value:
        case tuple():
            yield "["
            for i, item in enumerate(value):
                yield ", " if i else ""
                yield from (
                    _pieces(item) if isinstance(item, tuple | Record) else (_show_inner(item),)
                )
            yield "]"
        case Record():
            yield "{"
            for i, (name, item) in enumerate(value.items()):
                yield f', "{name}": ' if i else f'"{name}": '
                yield from (
                    _pieces(item) if isinstance(item, tuple | Record) else (_show_inner(item),)
                )
            yield "}"
        case _:
            yield show(value)


def _show_inner(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else show(value)
