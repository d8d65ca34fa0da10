"""Tests of one value in a JSON text, as `parse_json(s).kind == "refund"`: the schema of the
property becomes one that says them, too.

Of a property that has one of some values (`enum`, truth values) the values that pass are left. The
length of a list or text becomes a bound, a text that is compared with some an `enum`, and a part
that it has a `pattern`. llguidance spells the characters of a text in the same ways under each of
these keywords, and under none: as they are, but for the escapes of what must be escaped. So each
narrowed schema has every text of the old one of which the tests are true.

>>> tests = [((JsonField(("a",), "eq", "x"),),)]
>>> with_tests({"type": "string", "enum": ["x", "y"]}, tests)
{'type': 'string', 'enum': ['x']}
>>> with_tests({"type": "array"}, [((JsonField(("a",), "length", ("gt", 1)),),)])
{'type': 'array', 'minItems': 2}
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fkdsl.engine.constraints.languages import Both, Either, JsonField, Language
from fkdsl.engine.constraints.schema_outlines import JOINING

Test = tuple[tuple[JsonField, ...], ...]
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
MOST_TEXTS = 1_000
"""Most texts that a text is compared with."""


def test_of(language: Language) -> Test | None:
    """What a language says of one value of a JSON text; None if it is no such language."""
    match language:
        case JsonField():
            return ((language,),)
        case Either(parts=(_, *_) as parts):
            options = [_fields(part) for part in parts]
            if len({field.path for option in options for field in option}) == 1 and all(options):
                return tuple(options)
    return None


def _fields(part: Language) -> tuple[JsonField, ...]:
    """The tests among the parts of a conjunction, of which they say a part."""
    if isinstance(part, Both):
        return tuple(field for inner in part.parts for field in _fields(inner))
    return (part,) if isinstance(part, JsonField) else ()


def with_tests(own: Mapping[str, Any], tests: Sequence[Test]) -> Mapping[str, Any]:
    """The schema of a value with tests of it; the schema itself where nothing is known."""
    if "const" in own or any(keyword in own for keyword in JOINING):
        return own
    kind, values = own.get("type"), own.get("enum")
    if kind == "boolean" and values is None:
        values = [True, False]
    if kind == "string" and values is None:
        values = _texts(tests)
    if isinstance(values, list):
        kept = [v for v in values if all(_may_pass(test, v) for test in tests)]
        is_less = kind == "string" or len(kept) < len(values)
        return {**own, "enum": kept} if kept and is_less else own
    if kind == "array":
        return _with_lengths(own, tests, "minItems", "maxItems")
    if kind == "string":
        return _with_pattern(_with_lengths(own, tests, "minLength", "maxLength"), tests)
    return own


# ------------------------------------------------------------------ values


def _may_pass(test: Test, value: Any) -> bool:
    """Whether a test may be true of a value; it is if that is not known."""
    return any(all(passes(field, value) is not False for field in option) for option in test)


def passes(field: JsonField, value: Any) -> bool | None:
    """Whether a test is true of a value; None where the program raises an error, or where this is
    not known."""
    if isinstance(value, list | dict) or (isinstance(value, str) and not _is_text(value)):
        return None
    result: bool | None = None
    match field.operator, field.value:
        case "is", _:
            result = value if isinstance(value, bool) else None
        case "eq", other:
            result = value == other
        case "in", str(among):
            result = value in among if isinstance(value, str) else None
        case "in", tuple(among):
            result = value in among
        case "length", (compared, bound):
            result = COMPARE[compared](len(value), bound) if isinstance(value, str) else None
        case name, str(part) if isinstance(value, str):
            result = {
                "has": part in value,
                "contains": part in value,
                "starts_with": value.startswith(part),
                "ends_with": value.endswith(part),
            }.get(name)
    return result if result is None else result != field.negated


def _is_text(value: Any) -> bool:
    """Whether a value is a text without half a character."""
    if not isinstance(value, str) or len(value) > MOST_LENGTH:
        return False
    return not any("\ud800" <= c <= "\udfff" or c == "\ufffd" for c in value)


def _texts(tests: Sequence[Test]) -> list[str] | None:
    """Texts one of which a text is, as a test says; None if none says so."""
    for test in tests:
        options = [_texts_of(option) for option in test]
        if all(texts is not None for texts in options):
            found = list(dict.fromkeys(text for texts in options for text in texts or ()))
            if 0 < len(found) <= MOST_TEXTS and all(map(_is_text, found)):
                return found
    return None


def _texts_of(option: Sequence[JsonField]) -> list[str] | None:
    for field in option:
        match field.operator, field.value:
            case "eq", value if not field.negated:
                return [value] if isinstance(value, str) else []
            case "in", tuple(among) if not field.negated:
                return [value for value in among if isinstance(value, str)]
    return None


# ------------------------------------------------------------------ lengths and parts


def _with_lengths(
    own: Mapping[str, Any], tests: Sequence[Test], least: str, most: str
) -> Mapping[str, Any]:
    """A schema with bounds on the length, under two keywords."""
    result = dict(own)
    for test in tests:
        options = [_lengths_of(option) for option in test]
        low = min(low for low, _ in options)
        highs = [high for _, high in options]
        if own.get(least, 0) < low <= MOST_LENGTH:
            result[least] = max(low, result.get(least, 0))
        if None not in highs:
            high = max(h for h in highs if h is not None)
            if 0 <= high <= MOST_LENGTH and high < own.get(most, math.inf):
                result[most] = min(high, result.get(most, math.inf))
    return result


def _lengths_of(option: Sequence[JsonField]) -> Lengths:
    """Bounds on the length of a value that passes all tests of an alternative."""
    low, high = ANY_LENGTH
    for field in option:
        least, most = _lengths(field)
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
            return math.floor(bound) + 1, None
        case "ge":
            return math.ceil(bound), None
        case "eq":
            return math.ceil(bound), math.floor(bound)
        case "in" if bound:
            return math.ceil(min(bound)), math.floor(max(bound))
        case "ne" if bound == 0:
            return 1, None
        case "notin" if 0 in bound:
            return 1, None
    return ANY_LENGTH


def _with_pattern(own: Mapping[str, Any], tests: Sequence[Test]) -> Mapping[str, Any]:
    """The schema of a text with a part that it has, of the first test that says so."""
    if "pattern" in own or "format" in own:
        return own
    for test in tests:
        for field in test[0] if len(test) == 1 else ():
            if _is_text(field.value) and field.value and not field.negated:
                part = "".join(map(_quoted, field.value))
                match field.operator:
                    case "starts_with":
                        return {**own, "pattern": f"^{part}"}
                    case "ends_with":
                        return {**own, "pattern": f"{part}$"}
                    case "contains" | "has":
                        return {**own, "pattern": part}
    return own


def _quoted(character: str) -> str:
    """A character as a pattern, for llguidance and for ECMAScript."""
    if character.isalnum() or character in "_ " or character > "\x7f":
        return character
    return f"\\x{ord(character):02x}"
