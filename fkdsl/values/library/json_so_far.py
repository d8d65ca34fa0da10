"""What the beginning of a JSON text shows of its value.

A value within it is *known* once it is complete: a text or list once it is closed, a number once
something stands behind it. However the text goes on, it keeps that value, as long as no object has
a name twice (`valid_json` refuses such texts, so what asks here stands beside it).

>>> known('{"a": {"b": [1, 2], "c": 3', ("a", "b")), known('{"a": {"b": [1, 2], "c": 3', ("a", "c"))
((1, 2), NOT_KNOWN)
>>> items_known('{"tags": ["new", "sale", "ol', ("tags",))
('new', 'sale')

The built-ins are the optimiser's (ir/passes/json_beginnings.py); no program can call them.
"""

from __future__ import annotations

import enum
import json
import math
import re
from dataclasses import field
from functools import lru_cache
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.surrogates import without_surrogates
from fkdsl.values.library.structured import from_json
from fkdsl.values.library.text import REPLACEMENT_CHARACTER, S
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import ANY, BOOL, List

Path = tuple[str | int, ...]
"""How to go from a value to one in it: names of properties, and places in lists from 0 on."""
LONGEST = 20_000
"""Most characters of a text that is looked at; of a longer one nothing is known."""
LARGEST = 1e300
"""Numbers up to which it is looked at how they are written."""
DEEPEST = 100
"""Most levels of lists and objects that are looked into."""
_SPACE = re.compile(r"[ \t\n\r]*")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TEXT_SO_FAR = re.compile(r'"(?:[^"\\]|\\[^u]|\\u[0-9a-fA-F]{4})*', re.DOTALL)
_NUMBER = re.compile(r"[-+.0-9eE]+")
_DIGITS = re.compile(r"(-?)0*\.?0*([0-9]*)\.?([0-9]*)")


class NotKnown(enum.Enum):
    """In the place of a value that may still change."""

    NOT_KNOWN = enum.auto()

    def __repr__(self) -> str:
        return self.name


NOT_KNOWN = NotKnown.NOT_KNOWN


@dataclass
class Open:
    """A list or object that is not closed: its complete items or members, and the value that comes
    next, as far as it goes. name: that value's, in an object."""

    known: list[Any] | dict[str, Any]
    inner: Any = NOT_KNOWN
    name: str | None = None


@dataclass(frozen=True)
class Unfinished:
    """A text, number, truth value or null that may go on. written: its characters so far."""

    written: str


@dataclass
class _Reader:
    text: str
    at: int = field(default=0)

    def skip(self) -> str:
        """The next character that is no white space, "" at the end."""
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Any:
        """The next value as Python's json has it, NOT_KNOWN where there is none, an Open or an
        Unfinished. Raises ValueError where the text is no JSON."""
        c = self.skip()
        if c == "[" or c == "{":
            if depth == DEEPEST:
                raise ValueError
            self.at += 1
            return self.list_(depth + 1) if c == "[" else self.object_(depth + 1)
        if c == '"':
            return self.piece(_TEXT.match(self.text, self.at))
        if c and c in "-0123456789":
            match = _NUMBER.match(self.text, self.at)
            return self.piece(match if match and match.end() < len(self.text) else None)
        if not c:
            return NOT_KNOWN
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
            if word.startswith(self.text[self.at :]):
                return self.piece(None)
        raise ValueError

    def piece(self, match: re.Match[str] | None) -> Any:
        """A text or number that matches, or all that is left as unfinished."""
        if match is None:
            rest, self.at = self.text[self.at :], len(self.text)
            return Unfinished(rest)
        self.at = match.end()
        return json.loads(match[0])

    def list_(self, depth: int) -> Any:
        items: list[Any] = []
        if self.skip() == "]":
            self.at += 1
            return items
        while True:
            inner = self.next(depth)
            if not _is_complete(inner):
                return Open(items, inner)
            items.append(inner)
            match self.skip():
                case "]":
                    self.at += 1
                    return items
                case ",":
                    self.at += 1
                case _:
                    return Open(items)

    def object_(self, depth: int) -> Any:
        members: dict[str, Any] = {}
        if self.skip() == "}":
            self.at += 1
            return members
        while True:
            name = self.next(depth)
            if not isinstance(name, str) or self.skip() != ":":
                return Open(members)
            self.at += 1
            inner = self.next(depth)
            if not _is_complete(inner):
                return Open(members, inner, name)
            members[name] = inner
            match self.skip():
                case "}":
                    self.at += 1
                    return members
                case ",":
                    self.at += 1
                case _:
                    return Open(members)

    def next(self, depth: int) -> Any:
        """`value`, NOT_KNOWN where the text is no JSON."""
        try:
            return self.value(depth)
        except (ValueError, RecursionError):
            return NOT_KNOWN


def _is_complete(value: Any) -> bool:
    return not (value is NOT_KNOWN or isinstance(value, Open | Unfinished))


@lru_cache(maxsize=256)
def so_far(text: str) -> Any:
    """The value of a JSON text of which this is a beginning, as far as it is known: a value of
    Python's json, an Open, an Unfinished, or NOT_KNOWN."""
    return _Reader(text).next(0) if len(text) <= LONGEST else NOT_KNOWN


def _at(text: str, path: Path) -> Any:
    """`so_far` of the value at a path; NOT_KNOWN where there is none yet, or never will be."""
    value = so_far(text)
    for step in path:
        known: Any = value.known if isinstance(value, Open) else value
        if _has(known, step):
            value = known[step]
        elif isinstance(value, Open) and step == _next_step(value):
            value = value.inner
        else:
            return NOT_KNOWN
    return value


def _has(known: Any, step: str | int) -> bool:
    """Whether a list or object has a complete value at a place or name."""
    if isinstance(step, str):
        return isinstance(known, dict) and step in known
    return isinstance(known, list) and 0 <= step < len(known)


def _next_step(value: Open) -> str | int | None:
    """The name or place of the value that comes next."""
    return value.name if isinstance(value.known, dict) else len(value.known)


def known(text: str, path: Path) -> Any:
    """The value at a path, as a value of the language; NOT_KNOWN where it is not complete."""
    value = _at(text, path)
    return from_json(value) if _is_complete(value) else NOT_KNOWN


def items_known(text: str, path: Path) -> tuple[Any, ...]:
    """The complete items of the list at a path; none where there is no list."""
    value = _at(text, path)
    items = value.known if isinstance(value, Open) else value
    return tuple(map(from_json, items)) if isinstance(items, list) else ()


def may_equal(text: str, path: Path, value: Any, whole: bool = False) -> bool:
    """False only if the value at a path is not complete, and cannot come to equal a value of its
    kind. whole: whether it is written as a whole number, without point and exponent.

    >>> may_equal('{"n": 4', ("n",), 38), may_equal('{"n": 3', ("n",), 38)
    (False, True)
    >>> may_equal('{"n": 37', ("n",), 38), may_equal('{"n": 37', ("n",), 38, whole=True)
    (True, False)
    >>> may_equal('{"s": "Ann", "t": "Bo', ("t",), "Ann"), may_equal('["a", "b', (), ("a",))
    (False, True)

    37 may go on as 37.99999999999999999, which a reader of JSON takes for 38. Of a list the
    complete items are compared.
    """
    part = _at(text, path)
    if isinstance(part, Open) and isinstance(part.known, list) and isinstance(value, tuple):
        items = items_known(text, path)
        return items == value[: len(items)]
    if not isinstance(part, Unfinished):
        return True
    written = part.written
    if written.startswith('"'):
        return not isinstance(value, str) or value.startswith(_text_so_far(written))
    if isinstance(value, bool):
        return written[0] not in "tf" or (written[0] == "t") == value
    if isinstance(value, int | float) and written[0] in "-0123456789":
        # Of those beyond floats no more is known than that they are numbers.
        return not abs(value) < LARGEST or _may_be(written, value, whole)
    return True


def may_be_in(text: str, path: Path, whole: Any) -> bool:
    """False only if the value at a path is a text that is not complete, and begins as no part of a
    text, or no text of a list, does.

    >>> may_be_in('{"s": "in th', ("s",), "once in the sea"), may_be_in('["x', (0,), ("a", "b"))
    (True, False)
    """
    part = _at(text, path)
    if not (isinstance(part, Unfinished) and part.written.startswith('"')):
        return True
    begun = _text_so_far(part.written)
    if isinstance(whole, tuple):
        return any(not isinstance(x, str) or x.startswith(begun) for x in whole)
    return not isinstance(whole, str) or begun in whole


def _text_so_far(written: str) -> str:
    """The characters of a text that is not closed, but for the last ones where more may come."""
    match = _TEXT_SO_FAR.match(written.rstrip(REPLACEMENT_CHARACTER))
    assert match is not None
    try:
        text: str = json.loads(match[0] + '"')
    except ValueError:
        return ""
    if text and "\ud800" <= text[-1] <= "\udbff":
        text = text[:-1]
    return without_surrogates(text)


def _may_be(written: str, value: float, whole: bool) -> bool:
    """Whether a number that begins so may be read as one that equals the value."""
    if whole:
        if value != math.floor(value):
            return False
        return str(int(value)).startswith(written) or (value == 0 and "-0".startswith(written))
    match = _DIGITS.fullmatch(written)
    if match is None or value == 0:
        return True  # it has an exponent, or what is left may be too small to count
    from decimal import Decimal

    sign, digits = match[1], match[2] + match[3]
    if not digits:
        return not sign or value < 0
    if (sign == "-") != (value < 0):
        return False
    near = [math.nextafter(abs(float(value)), to) for to in (0.0, math.inf)]
    least, most = (Decimal(x).as_tuple() for x in near)
    if len(least.digits) + int(least.exponent) != len(most.digits) + int(most.exponent):
        return True  # a power of ten lies between
    n = len(digits)
    low, high = ("".join(map(str, x.digits)).ljust(n, "0")[:n] for x in (least, most))
    return low <= digits <= high


P = Parameter("path", ANY)


@pure(".json_known", [S, Parameter("paths", ANY)], BOOL)
def has_known(s: str, paths: tuple[Path, ...]) -> bool:
    """Whether the values at all paths are known."""
    return all(known(s, path) is not NOT_KNOWN for path in paths)


@pure(".json_value", [S, P], ANY)
def value_known(s: str, path: Path) -> Any:
    """The value at a path. Raises BuiltinError where it is not known, which passes for true."""
    value = known(s, path)
    if value is NOT_KNOWN:
        raise BuiltinError("a value that is not known yet", "")
    return value


@pure(".json_list", [S, P], List(ANY))
def list_known(s: str, path: Path) -> tuple[Any, ...]:
    """The items of the list at a path that are complete."""
    return items_known(s, path)


@pure(".json_may_equal", [S, P, Parameter("value", ANY), Parameter("whole", BOOL)], BOOL)
def may_come_to_equal(s: str, path: Path, value: Any, whole: bool) -> bool:
    """Whether the value at a path may come to equal a value, where it is not known."""
    return may_equal(s, path, value, whole)


@pure(".json_may_be_in", [S, P, Parameter("whole", ANY)], BOOL)
def may_come_to_be_in(s: str, path: Path, whole: Any) -> bool:
    """Whether the text at a path may come to be in a text or list, where it is not known."""
    return may_be_in(s, path, whole)
