"""Comparisons of numbers in a JSON text, as `parse_json(s).born < parse_json(s).died`: the schema
that the text is held to becomes one that says them, too, so that its masks follow them.

A comparison of one whole number is a bound in its property's schema; other numbers stay free, since
llguidance lets one with bounds have no exponent. Nor does it let a whole number be `-0` whose
bounds are not on both sides of 0, so bounds that would refuse `-0` and not 0 are left out. One of
two whole numbers becomes an `anyOf`: the first of them lies in each of some intervals, and the
other one within what is then left to it. So the new schema has every text of the old one of which
the comparisons are true, and where an interval has more than one number some others, of which the
conditions decide.

>>> more = JsonNumbers(((("a",), 1),), "gt", 5)
>>> narrowed_schema({"properties": {"a": {"type": "integer"}}}, [more])
{'properties': {'a': {'type': 'integer', 'minimum': 6}}}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import count, pairwise
from typing import Any

from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.languages import JsonNumbers, JsonText, Language
from fkdsl.engine.constraints.schema_outlines import integer_bounds

MOST_INTERVALS = 256
"""Most intervals of the first of two numbers. They are 1, 2, 5, 10, ... wide."""
CUTS = (0, *range(10, 100, 10), *range(100, 1000, 100), *range(1000, 3000, 50),
        *range(3000, 11000, 1000))  # fmt: skip
"""Where the intervals of a number without bounds begin; negative ones are one interval."""
SHARED = ("$schema", "$defs", "definitions")
"""Keywords that stand once, beside an `anyOf` of copies of a schema."""
NO_SCHEMA = "a comparison of numbers in a JSON text, which no schema holds to a form"

Interval = tuple[int | None, int | None]
"""The least and the greatest whole number; None for no bound."""
Path = tuple[str, ...]


def narrowed(parts: Iterable[Language]) -> tuple[list[tuple[Language, Language]], list[str]]:
    """The parts of a conjunction but for comparisons of JSON numbers, each with what its outline is
    to be made of, a schema narrowed by the comparisons; and what of these is not followed."""
    whole = list(parts)
    comparisons = [part for part in whole if isinstance(part, JsonNumbers)]
    others = [part for part in whole if not isinstance(part, JsonNumbers)]
    if not comparisons:
        return [(part, part) for part in others], []
    if not any(isinstance(part, JsonText) for part in others):
        return [(part, part) for part in others], [NO_SCHEMA]
    single = [c for c in comparisons if len(c.terms) == 1]
    found = []
    for part in others:
        bounded = _narrowed(part, single)
        found.append((_narrowed(bounded, comparisons), bounded))
    return found, []


def _narrowed(part: Language, comparisons: Sequence[JsonNumbers]) -> Language:
    """A schema with the comparisons; the part itself where they cannot be said."""
    if not isinstance(part, JsonText) or not part.schema or not comparisons:
        return part
    try:
        schema = narrowed_schema(json.loads(part.schema), comparisons)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return part
    result = replace(part, schema=json.dumps(schema))
    return part if followed(result).mistake else result


def narrowed_schema(schema: Any, comparisons: Sequence[JsonNumbers]) -> Any:
    """A schema that has the texts of another one of which all comparisons are true, and perhaps
    more; the schema itself where nothing is known."""
    pairs: dict[tuple[Path, ...], list[JsonNumbers]] = {}
    for comparison in comparisons:
        paths = tuple(sorted(path for path, _ in comparison.terms))
        if not all(_is_whole(schema, path) for path in paths):
            continue
        if len(paths) == 1:
            ((path, factor),) = comparison.terms
            ends = _of_one(comparison, factor)
            if _keeps_minus_zero(integer_bounds(_at(schema, path) or {}), ends):
                schema = _within(schema, path, *ends)
        elif len(set(paths)) == 2 and all(_has_bounds(schema, path) for path in paths):
            pairs.setdefault(paths, []).append(comparison)
    for paths, of_pair in pairs.items():
        if _may_be_copied(schema):
            first, second = sorted(paths, key=lambda path: _place(schema, path))
            return _of_pair(schema, first, second, of_pair)
    return schema


def _at(schema: Any, path: Path) -> Mapping[str, Any] | None:
    """The schema of a property, None where it is not written out."""
    for key in path:
        properties = schema.get("properties") if isinstance(schema, dict) else None
        schema = properties.get(key) if isinstance(properties, dict) else None
    return schema if isinstance(schema, dict) and "$ref" not in schema else None


def _is_whole(schema: Any, path: Path) -> bool:
    return (_at(schema, path) or {}).get("type") == "integer"


def _has_bounds(schema: Any, path: Path) -> bool:
    return integer_bounds(_at(schema, path) or {}) != (None, None)


def _keeps_minus_zero(own: Interval, ends: Interval) -> bool:
    """Whether `-0` stays allowed within further bounds, if it was and 0 is."""
    both = _common(own, ends)
    least, most = both
    has_zero = (least is None or least <= 0) and (most is None or most >= 0)
    return not _lets_minus_zero(own) or _lets_minus_zero(both) or not has_zero


def _lets_minus_zero(ends: Interval) -> bool:
    """Whether llguidance lets a whole number with these bounds be `-0`."""
    least, most = ends
    return ends == (None, None) or (least is not None and most is not None and least < 0 < most)


def _place(schema: Any, path: Path) -> list[int]:
    """Where a property stands among the others, level by level."""
    return [list(_at(schema, path[:k])["properties"]).index(path[k]) for k in range(len(path))]  # type: ignore[index]


def _within(schema: Any, path: Path, least: int | None, most: int | None) -> Any:
    """The schema with bounds on a number in it."""
    if not path:
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        bounds = {} if least is None or least <= low else {"minimum": least}
        bounds |= {} if most is None or most >= high else {"maximum": most}
        return {**schema, **bounds}
    inner = _within(schema["properties"][path[0]], path[1:], least, most)
    return {**schema, "properties": {**schema["properties"], path[0]: inner}}


def _of_one(comparison: JsonNumbers, factor: int) -> Interval:
    """The bounds on a whole x of a comparison of factor * x."""
    end, operator = Fraction(comparison.bound) / factor, comparison.operator
    if factor < 0:
        operator = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}.get(operator, operator)
    up, down = math.ceil(end), math.floor(end)
    above = down + 1 if operator == "gt" else up
    below = up - 1 if operator == "lt" else down
    return (
        above if operator in ("gt", "ge", "eq") else None,
        below if operator in ("lt", "le", "eq") else None,
    )


def _may_be_copied(schema: Any) -> bool:
    """Whether copies of a schema in an `anyOf` mean what it means."""
    text = json.dumps(schema)
    refers = re.findall(r'"\$(?:ref|dynamicRef|recursiveRef)": "([^"]*)"', text)
    shared = tuple(f"#/{keyword}/" for keyword in SHARED)
    return '"$id"' not in text and all(target.startswith(shared) for target in refers)


def _of_pair(schema: Any, first: Path, second: Path, comparisons: Sequence[JsonNumbers]) -> Any:
    within = integer_bounds(_at(schema, second) or {})
    options = []
    for interval in intervals(*integer_bounds(_at(schema, first) or {})):
        left = within
        for comparison in comparisons:
            left = _common(left, _left(comparison, first, interval))
        if left[0] is None or left[1] is None or left[0] <= left[1]:
            option = _within(_within(schema, first, *interval), second, *left)
            options.append({k: v for k, v in option.items() if k not in SHARED})
    if not options:
        return schema
    return {**{k: schema[k] for k in SHARED if k in schema}, "anyOf": options}


def intervals(least: int | None, most: int | None) -> Iterator[Interval]:
    """Intervals that cover the whole numbers within bounds.

    >>> list(intervals(0, 2)), list(intervals(95, 600))[:3], len(list(intervals(None, None)))
    ([(0, 0), (1, 1), (2, 2)], [(95, 95), (96, 97), (98, 99)], 68)
    """
    if least is not None and most is not None:
        widths = (digit * 10**k for k in count() for digit in (1, 2, 5))
        width = next(w for w in widths if most // w - least // w < MOST_INTERVALS)
        for block in range(least // width, most // width + 1):
            yield max(least, block * width), min(most, (block + 1) * width - 1)
        return
    ends: list[int | None] = [None, *CUTS, None]
    for low, high in pairwise(ends):
        low, high = _common((low, None if high is None else high - 1), (least, most))
        if low is None or high is None or low <= high:
            yield low, high


def _common(a: Interval, b: Interval) -> Interval:
    lows = [low for low, _ in (a, b) if low is not None]
    highs = [high for _, high in (a, b) if high is not None]
    return max(lows, default=None), min(highs, default=None)


def _left(comparison: JsonNumbers, first: Path, interval: Interval) -> Interval:
    """What is left to the second number where the first lies in an interval."""
    factors = dict(comparison.terms)
    a = factors.pop(first)
    (b,) = factors.values()
    ends = [None if x is None else a * x for x in interval]
    low, high = ends if a > 0 else reversed(ends)
    end, operator = Fraction(comparison.bound), comparison.operator
    most = math.ceil(end) - 1 if operator == "lt" else math.floor(end)
    least = math.floor(end) + 1 if operator == "gt" else math.ceil(end)
    below = None if operator in ("gt", "ge") or low is None else Fraction(most - low, b)
    above = None if operator in ("lt", "le") or high is None else Fraction(least - high, b)
    if b < 0:
        below, above = above, below
    return (
        None if above is None else math.ceil(above),
        None if below is None else math.floor(below),
    )
