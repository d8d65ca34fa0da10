"""Tests of one value in a JSON text, as `parse_json(s).kind == "refund"`: the schema of the value
becomes one that says them, too.

Of a value that is one of some (`enum`, truth values) those that pass are left. The length of a list
or text becomes a bound, a text that is compared with some an `enum`, and what else is said of a
text a `pattern`. llguidance spells the characters of a text in the same ways under each of these
keywords, and under none: as they are, but for the escapes of what must be escaped. Of a whole
number the bounds are set, of a list those of its items. So each narrowed schema has every text of
the old one of which the tests are true. It is False where no value passes.

>>> tests = [((JsonField(("a",), "eq", "x"),),)]
>>> with_tests({"type": "string", "enum": ["x", "y"]}, tests)
{'type': 'string', 'enum': ['x']}
>>> with_tests({"type": "array"}, [((JsonField(("a",), "length", ("gt", 1)),),)])
{'type': 'array', 'minItems': 2}
>>> with_tests({"type": "string"}, [((JsonField(("a",), "contains", "x", True),),)])
{'type': 'string', 'pattern': '^[^\\\\x78]*$'}
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from fkdsl.engine.constraints.ecma import python_pattern
from fkdsl.engine.constraints.json_languages import JsonField, JsonItems
from fkdsl.engine.constraints.json_paths import ANNOTATIONS, resolved
from fkdsl.engine.constraints.json_ranges import of_tests, with_multiples, with_ranges
from fkdsl.engine.constraints.json_values import (
    MOST_LENGTH,
    Atom,
    Test,
    is_text,
    language_of,
    lengths_of,
    may_pass,
    texts_of,
)
from fkdsl.engine.constraints.languages import Both, Language, Length, Matches
from fkdsl.engine.constraints.listed_parts import listed_parts, text_of_parts
from fkdsl.engine.constraints.schema_outlines import JOINING, types_of
from fkdsl.engine.constraints.text_patterns import has_no_text, text_pattern

OfItems = Callable[[Any, Language], Any]
"""The schema of an item that is in a language of JSON values; False for none."""
MOST_TEXTS = 1_000
"""Most texts that a text is compared with."""
MOST_OPTIONS = 8
"""Most alternatives, and most items of a list one of which passes, that are written out."""


def with_tests(
    own: Any, tests: Sequence[Test], root: Any = True, of_items: OfItems = lambda own, part: own
) -> Any:
    """The schema of a value with tests of it; the schema itself where nothing is known, False where
    no value passes. root: the whole schema, which has the definitions."""
    whole = resolved(own, root)
    if not isinstance(whole, dict):
        return own if whole is None else whole
    joining = [k for k in JOINING if k in whole]
    if joining in (["anyOf"], ["oneOf"]) and set(whole) <= {joining[0], *ANNOTATIONS}:
        return _of_options(own, whole[joining[0]], tests, root, of_items)
    if joining:
        return own
    narrowed = _alone(whole, tests, root, of_items)
    return own if narrowed == whole else narrowed


def _of_options(
    own: Any, options: Sequence[Any], tests: Sequence[Test], root: Any, of_items: OfItems
) -> Any:
    """A value of one of some schemas."""
    kept = [with_tests(option, tests, root, of_items) for option in options]
    if kept == list(options):
        return own
    kept = [option for option in kept if option is not False]
    return kept[0] if len(kept) == 1 else {"anyOf": kept} if kept else False


def _alone(own: Mapping[str, Any], tests: Sequence[Test], root: Any, of_items: OfItems) -> Any:
    kind, values = own.get("type"), own.get("enum")
    if "const" in own:
        return own if all(may_pass(test, own["const"]) for test in tests) else False
    if values is None and kind in ("boolean", "null"):
        values = [True, False] if kind == "boolean" else [None]
    if isinstance(values, list):
        kept = [v for v in values if all(may_pass(test, v) for test in tests)]
        return own if kept == values else {**own, "enum": kept} if kept else False
    if isinstance(kind, list):
        options = [{**own, "type": one} for one in types_of(own)]
        return _of_options(own, options, tests, root, of_items)
    match kind:
        case "string":
            return _of_string(own, tests)
        case "integer" | "number":
            bounded = with_ranges(own, of_tests(tests, kind == "integer"))
            return False if bounded is False else with_multiples(bounded, tests)
        case "array":
            return _of_array(own, tests, of_items)
    return own


# ------------------------------------------------------------------ texts


def _of_string(own: Mapping[str, Any], tests: Sequence[Test]) -> Any:
    texts = texts_of(tests)
    if texts is None:
        texts = _parts(own, tests)
    if texts is not None and len(texts) <= MOST_TEXTS and all(map(is_text, texts)):
        kept = [text for text in texts if all(may_pass(test, text) for test in tests)]
        return {**own, "enum": kept} if kept else False
    narrowed = _with_lengths(own, tests, "minLength", "maxLength")
    if narrowed is False:
        return False
    languages = [language_of(test) for test in tests if not _is_of_length(test)]
    if not languages:
        return narrowed
    if has_no_text(Both(tuple(languages))):
        return False
    together = text_pattern(Both(tuple(languages)))
    patterns = [together] if together is not None else list(map(text_pattern, languages))
    return _with_patterns(narrowed, list(dict.fromkeys(p for p in patterns if p is not None)))


def _parts(own: Mapping[str, Any], tests: Sequence[Test]) -> list[str] | None:
    """The texts that pass, and perhaps more, where a test says that they stand in a text; None
    where there are too many, or no test says so."""
    languages = [language_of(test) for test in tests]
    whole = text_of_parts(Both(tuple(languages)))
    if whole is None:
        return None
    # JSON schemas may have 2.0 for 2
    languages.append(Length(int(own.get("minLength", 0)), int(own.get("maxLength", -1))))
    if "pattern" in own:
        with suppress(re.error):
            languages.append(Matches(rf"[\s\S]*(?:{python_pattern(own['pattern'])})[\s\S]*"))
    return listed_parts(whole, Both(tuple(languages)))


def _with_patterns(own: Any, patterns: Sequence[str]) -> Mapping[str, Any]:
    if len(patterns) == 1 and "pattern" not in own and "format" not in own:
        return {**own, "pattern": patterns[0]}
    return {**own, "allOf": [{"pattern": p} for p in patterns]} if patterns else own


def _is_of_length(test: Test) -> bool:
    """Whether bounds on the length say all of a test."""
    return len(test) == 1 and all(
        isinstance(atom, JsonField)
        and atom.operator == "length"
        and (
            atom.value[0] in ("lt", "le", "gt", "ge")
            or (atom.value[0], atom.negated) == ("eq", False)
        )
        for atom in test[0]
    )


# ------------------------------------------------------------------ lists


def _of_array(own: Mapping[str, Any], tests: Sequence[Test], of_items: OfItems) -> Any:
    narrowed: Any = _with_lengths(own, tests, "minItems", "maxItems")
    for test in tests:
        if narrowed is False:
            return False
        if len(test) == 1:
            for atom in test[0]:
                narrowed = False if narrowed is False else _of_list(narrowed, atom, of_items)
        elif len(test) <= MOST_OPTIONS:
            options = [_of_array(narrowed, [(option,)], of_items) for option in test]
            if narrowed not in options:
                kept = [option for option in options if option is not False]
                narrowed = {"anyOf": kept} if kept else False
                return narrowed
    return narrowed


def _of_list(own: Mapping[str, Any], atom: Atom, of_items: OfItems) -> Any:
    """A list of which one test is true."""
    first, rest = own.get("prefixItems", []), own.get("items", True)
    if not isinstance(first, list) or isinstance(rest, list):
        return own
    match atom:
        case JsonItems(every=True, part=part):
            return _with_items(own, [of_items(x, part) for x in first], of_items(rest, part))
        case JsonItems(every=False, part=part):
            return _with_some(own, first, rest, lambda x: of_items(x, part))
        case JsonField(operator="has", value=value, negated=negated):
            equal = JsonField((), "eq", value, negated)
            return _of_list(own, JsonItems((), negated, equal), of_items)
        case JsonField(operator="eq", value=tuple(values), negated=False):
            items = [first[i] if i < len(first) else rest for i in range(len(values))]
            equal_items = [
                of_items(x, JsonField((), "eq", value))
                for x, value in zip(items, values, strict=True)
            ]
            if False in equal_items or len(values) > MOST_LENGTH:
                return False if False in equal_items else own
            some = {"prefixItems": equal_items} if values else {}
            return _with_count({**own, **some}, len(values), len(values))
        case JsonField(operator="eq", value=(), negated=True):
            return _with_count(own, 1, None)
    return own


def _with_items(own: Mapping[str, Any], first: Sequence[Any], rest: Any) -> Any:
    """A list with other schemas of its items; one that no item fits ends it."""
    result = dict(own)
    if first:
        result["prefixItems"] = list(first)
    if rest is not True:
        result["items"] = rest
    ends = first.index(False) if False in first else len(first) if rest is False else None
    if ends is None or (not first and own.get("items") is False):
        return result
    result.pop("prefixItems", None)
    if first[:ends]:
        result["prefixItems"] = list(first[:ends])
    return _with_count(result, 0, ends)


def _with_some(
    own: Mapping[str, Any], first: Sequence[Any], rest: Any, of_item: Callable[[Any], Any]
) -> Any:
    """A list with an item that passes."""
    most = own.get("maxItems", math.inf)
    if rest is False:
        most = min(most, len(first))
    if most > MOST_OPTIONS:
        may_be = [of_item(x) for x in (*first, rest)]
        return _with_count(own, 1, None) if any(x is not False for x in may_be) else False
    options = []
    for i in range(int(most)):
        items = [first[k] if k < len(first) else rest for k in range(max(i + 1, len(first)))]
        items[i] = of_item(items[i])
        option = _with_count({**own, "prefixItems": items}, i + 1, None)
        if items[i] is not False and option is not False:
            options.append(option)
    return options[0] if len(options) == 1 else {"anyOf": options} if options else False


def _with_count(own: Mapping[str, Any], least: int, most: int | None) -> Any:
    return _within(own, "minItems", "maxItems", least, most)


def _with_lengths(own: Mapping[str, Any], tests: Sequence[Test], least: str, most: str) -> Any:
    """A schema with bounds on the length, under two keywords; False where it has none."""
    result: Any = dict(own)
    for test in tests:
        options = [lengths_of(option) for option in test]
        highs = [high for _, high in options]
        high = None if None in highs else max((h for h in highs if h is not None), default=None)
        if result is not False:
            result = _within(result, least, most, min(low for low, _ in options), high)
    return result


def _within(own: Mapping[str, Any], least: str, most: str, low: int, high: int | None) -> Any:
    result = dict(own)
    if low > own.get(most, math.inf) or (high is not None and high < max(low, own.get(least, 0))):
        return False
    if own.get(least, 0) < low <= MOST_LENGTH:
        result[least] = low
    if high is not None and high <= MOST_LENGTH and high < own.get(most, math.inf):
        result[most] = high
    return result
