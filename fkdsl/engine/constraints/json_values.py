"""What tests of one value in a JSON text say: of a value that is known, of a text, of a length."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from fkdsl.engine.constraints.json_languages import JsonField, JsonItems, JsonNumbers
from fkdsl.engine.constraints.languages import (
    ALL_TEXTS,
    NO_TEXTS,
    Both,
    Complement,
    Contains,
    Either,
    EndsWith,
    Language,
    Length,
    PartOf,
    StartsWith,
    Texts,
    each_item,
)
from fkdsl.engine.constraints.text_patterns import has_text

Atom = JsonField | JsonItems | JsonNumbers
Test = tuple[tuple[Atom, ...], ...]
"""Tests of one value: all of them hold, of at least one of some alternatives."""
Lengths = tuple[int, int | None]
"""The least and the greatest length; None for no bound."""
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}  # fmt: skip
NEGATED = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "le": "gt", "gt": "le", "in": "notin",
           "notin": "in"}  # fmt: skip
ANY_LENGTH: Lengths = (0, None)
MOST_LENGTH = 1_000
"""Longer lists and texts are not counted up to."""
LONGEST_AMONG = 4_000
"""Most characters of a text whose parts are followed."""


def may_pass(test: Test, value: Any) -> bool:
    """Whether a test may be true of a value; it is if that is not known."""
    return any(all(passes(atom, value) is not False for atom in option) for option in test)


def passes(atom: Atom, value: Any) -> bool | None:
    """Whether a test is true of a value, False where the program raises an error; None where this
    is not known."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match atom:
        case JsonNumbers(terms=((_, factor),), products=()):
            if isinstance(value, bool | float):
                return None
            return is_number and COMPARE[atom.operator](factor * value, atom.bound)
        case JsonItems():
            return False if value is None or isinstance(value, bool) or is_number else None
        case JsonField():
            return _passes(atom, value)
    return None


def _passes(field: JsonField, value: Any) -> bool | None:
    if isinstance(value, list | dict) or (isinstance(value, str) and not is_text(value)):
        return None
    result: bool | None = None
    match field.operator, field.value:
        case "is", _:
            return isinstance(value, bool) and value != field.negated
        case "eq", other:
            result = value == other
        case "in", tuple(among):
            result = value in among
        case "written in", (str() | tuple()) as among:
            text = _written(value)
            if text is None:
                return None
            result = text in among
        case "text", _ if not isinstance(value, str):
            return None
        case "rest", (by, compared, bound):
            if not isinstance(value, int) or isinstance(value, bool):
                return None if isinstance(value, bool | float) else False
            result = COMPARE[compared](value % by, bound)
        case _, _ if not isinstance(value, str):
            return False
        case "in", str(among):
            result = value in among
        case "length", (compared, bound):
            result = COMPARE[compared](len(value), bound)
        case (("text" | "as text"), language):
            result = has_text(language, value)
        case name, str(part):
            result = {
                "has": part in value,
                "contains": part in value,
                "starts_with": value.startswith(part),
                "ends_with": value.endswith(part),
            }.get(name)
        case _:
            return False
    return result if result is None else result != field.negated


def _written(value: Any) -> str | None:
    """What `str` makes of a value; None where that is not known."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | str) else None


def is_text(value: Any) -> bool:
    """Whether a value is a text without half a character, and not long."""
    if not isinstance(value, str) or len(value) > MOST_LENGTH:
        return False
    return not any("\ud800" <= c <= "\udfff" or c == "\ufffd" for c in value)


# ------------------------------------------------------------------ texts


def texts_of(tests: Sequence[Test]) -> list[str] | None:
    """Texts one of which a text is, as a test says; None if none says so."""
    for test in tests:
        options = [_texts_of(option) for option in test]
        if all(texts is not None for texts in options):
            return list(dict.fromkeys(text for texts in options for text in texts or ()))
    return None


def _texts_of(option: Sequence[Atom]) -> list[str] | None:
    for field in option:
        match field:
            case JsonField(operator="eq", value=value, negated=False):
                return [value] if isinstance(value, str) else []
            case JsonField(operator="in", value=tuple(among), negated=False):
                return [value for value in among if isinstance(value, str)]
    return None


def language_of(test: Test) -> Language:
    """The texts that pass a test, if the value is a text, and perhaps more."""
    options = [Both(tuple(map(_of_atom, option))) for option in test]
    return options[0] if len(options) == 1 else Either(tuple(options))


def _of_atom(atom: Atom) -> Language:
    match atom:
        case JsonField(operator="text" | "as text", value=Language() as part, negated=negated):
            return Complement(part) if negated else part
        case JsonField(negated=negated):
            of_text = _of_field(atom)
            if of_text is None:
                return NO_TEXTS  # the program raises an error
            return Complement(of_text) if negated else of_text
        case JsonItems(every=every, part=part):
            of_character = _of_part(part)
            if every:
                return each_item("characters", of_character)
            return Complement(each_item("characters", Complement(of_character)))
    return NO_TEXTS


def _of_part(part: Language) -> Language:
    """The texts that pass what is said of an item."""
    match part:
        case Both(parts):
            return Both(tuple(map(_of_part, parts)))
        case Either(parts):
            return Either(tuple(map(_of_part, parts)))
        case JsonField(path=()) | JsonItems(path=()):
            return _of_atom(part)
    return ALL_TEXTS


def _of_field(field: JsonField) -> Language | None:
    match field.operator, field.value:
        case "eq", value:
            return Texts((value,)) if isinstance(value, str) else NO_TEXTS
        case (("in" | "written in"), str(among)):
            if len(among) > LONGEST_AMONG:
                return ALL_TEXTS if not field.negated else NO_TEXTS
            return PartOf(among)
        case (("in" | "written in"), tuple(among)):
            return Texts(tuple(value for value in among if isinstance(value, str)))
        case (("has" | "contains"), str(part)):
            return Contains(part)
        case "starts_with", str(part):
            return StartsWith(part)
        case "ends_with", str(part):
            return EndsWith(part)
        case "length", (compared, bound):
            return _of_length(compared, bound)
        case "rest", _:
            return None
    return None


def _of_length(compared: str, bound: Any) -> Language:
    if compared in ("ne", "notin"):
        return Complement(_of_length(NEGATED[compared], bound))
    if compared == "in":
        return Either(tuple(_of_length("eq", n) for n in bound))
    low, high = _lengths(JsonField((), "length", (compared, bound)))
    if high is not None and high < low:
        return NO_TEXTS
    return Length(low, -1 if high is None else high)


# ------------------------------------------------------------------ lengths


def lengths_of(option: Sequence[Atom]) -> Lengths:
    """Bounds on the length of a value that passes all tests of an alternative."""
    low, high = ANY_LENGTH
    for field in option:
        least, most = _lengths(field) if isinstance(field, JsonField) else ANY_LENGTH
        low = max(low, least)
        high = most if high is None else high if most is None else min(high, most)
    return low, high


def _lengths(field: JsonField) -> Lengths:
    if field.operator == "has" and not field.negated and field.value != "":
        return 1, None
    if field.operator != "length":
        return ANY_LENGTH
    compared, bound = field.value
    match NEGATED[compared] if field.negated else compared:
        case "lt":
            return 0, math.ceil(bound) - 1
        case "le":
            return 0, math.floor(bound)
        case "gt":
            return max(math.floor(bound) + 1, 0), None
        case "ge":
            return max(math.ceil(bound), 0), None
        case "eq":
            return max(math.ceil(bound), 0), math.floor(bound)
        case "in" if bound:
            return max(math.ceil(min(bound)), 0), math.floor(max(bound))
        case "in":
            return 0, -1
        case "ne" if bound == 0:
            return 1, None
        case "notin" if 0 in bound:
            return 1, None
    return ANY_LENGTH
