"""Comparisons of numbers in a JSON text, as `parse_json(s).born < parse_json(s).died`: the schema
that the text is held to becomes one that says them, too, so that its masks follow them.

A comparison of one whole number is a bound in its property's schema; other numbers stay free, since
llguidance lets one with bounds have no exponent. Nor does it let a whole number be `-0` whose least
value is 0, so where the number may be `-0` by its own schema that is said beside such bounds. One
of two whole numbers becomes an `anyOf` of the object that has both: the first of them lies in each
of some intervals, and the other one within what is then left to it. So the new schema has every
text of the old one of which the comparisons are true, and where an interval has more than one
number some others, of which the conditions decide.

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
from functools import lru_cache
from itertools import count, pairwise
from typing import Any

from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.json_fields import Test, test_of, with_tests
from fkdsl.engine.constraints.languages import JsonNumbers, JsonText, Language
from fkdsl.engine.constraints.number_outlines import fraction
from fkdsl.engine.constraints.schema_outlines import integer_bounds

MOST_INTERVALS = 256
"""Most intervals of the first of two numbers. They are 1, 2, 5, 10, ... wide."""
CUTS = (0, *range(10, 100, 10), *range(100, 1000, 100), *range(1000, 3000, 50),
        *range(3000, 11000, 1000))  # fmt: skip
"""Where the intervals of a number without bounds begin; negative ones are one interval."""
LARGEST = 10**15
"""Larger bounds are left to the condition: llguidance has them as floats, which are not exact, and
an `anyOf` of many with hundreds of digits ends its process."""
OUTLINED_INTERVALS = (64, 16, 1)
"""Most intervals in an outline, of which an automaton is made: so many, or fewer."""
SHARED = ("$schema", "$defs", "definitions")
"""Keywords that stand once, beside an `anyOf` of copies of a schema."""
NO_SCHEMA = "a test of values in a JSON text, which no schema holds to a form"

Part = tuple[Language, tuple[Language, ...]]
"""A part of a conjunction, and what its outline may be made of, that which says most first."""
Interval = tuple[int | None, int | None]
"""The least and the greatest whole number; None for no bound."""
Path = tuple[str, ...]


def narrowed(parts: Iterable[Language]) -> tuple[list[Part], list[str]]:
    """The parts of a conjunction but for comparisons of JSON numbers and tests of JSON values, a
    schema narrowed by these; and what of them is not followed."""
    parts = list(parts)
    tests = [test for part in parts if (test := test_of(part)) is not None]
    comparisons = [part for part in parts if isinstance(part, JsonNumbers)]
    others = [p for p in parts if not isinstance(p, JsonNumbers) and test_of(p) is None]
    if not comparisons and not tests:
        return [(part, (part,)) for part in others], []
    if not any(isinstance(part, JsonText) for part in others):
        return [(part, (part,)) for part in others], [NO_SCHEMA]
    found = []
    for part in others:
        outlined = (_narrowed(part, comparisons, tests, most) for most in OUTLINED_INTERVALS)
        whole = _narrowed(part, comparisons, tests, MOST_INTERVALS)
        found.append((whole, tuple(dict.fromkeys(outlined))))
    return found, []


def _narrowed(
    part: Language, comparisons: Sequence[JsonNumbers], tests: Sequence[Test], most: int
) -> Language:
    """A schema with the comparisons and tests; the part itself where they cannot be said."""
    if not isinstance(part, JsonText) or not part.schema:
        return part
    try:
        schema = narrowed_schema(with_fields(json.loads(part.schema), tests), comparisons, most)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return part
    result = replace(part, schema=json.dumps(schema))
    return part if followed(result).mistake else result


def with_fields(schema: Any, tests: Iterable[Test]) -> Any:
    """A schema with tests of values at paths, where these are known."""
    by_path: dict[Path, list[Test]] = {}
    for test in tests:
        by_path.setdefault(test[0][0].path, []).append(test)
    for path, of_path in by_path.items():
        own = _at(schema, path)
        if own is not None:
            schema = _put(schema, path, with_tests(own, of_path))
    return schema


def idle_tests(languages: Sequence[Language | None]) -> list[int]:
    """Which of some languages, all of which hold, are tests of values in a JSON text that leave
    each schema among them as it is without them; none where one, which is None, is not known yet.

    >>> from fkdsl.engine.constraints.languages import JsonField
    >>> free = JsonText('{"properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}}')
    >>> idle_tests([free, JsonField(("a",), "eq", "x", True), JsonField(("b",), "is", True)])
    [1]
    """
    if None in languages:
        return []
    tests = {i: test for i, e in enumerate(languages) if e and (test := test_of(e)) is not None}
    idle = []
    try:
        schemas = [json.loads(e.schema or "true") for e in languages if isinstance(e, JsonText)]
        for i in list(tests):
            others = {j: test for j, test in tests.items() if j != i}
            if _with_all(schemas, others) == _with_all(schemas, tests):
                idle.append(i)
                tests = others
    except (ValueError, TypeError, OverflowError, RecursionError):
        return []
    return idle


def _with_all(schemas: Iterable[Any], tests: Mapping[int, Test]) -> list[str]:
    return [json.dumps(with_fields(schema, tests.values())) for schema in schemas]


def narrowed_schema(
    schema: Any, comparisons: Sequence[JsonNumbers], most: int | None = None
) -> Any:
    """A schema that has the texts of another one of which all comparisons are true, and perhaps
    more; the schema itself where nothing is known. most: how many intervals the first of two
    numbers is cut into at most, MOST_INTERVALS if None; with 1, pairs are left out."""
    most = MOST_INTERVALS if most is None else most
    narrowed = _Narrowed(schema)
    pairs: dict[tuple[Path, ...], list[JsonNumbers]] = {}
    for comparison in comparisons:
        paths = tuple(sorted(path for path, _ in comparison.terms))
        if not all(_is_whole(schema, path) for path in paths):
            continue
        if len(paths) == 1:
            ((path, factor),) = comparison.terms
            narrowed.bound(path, _of_one(comparison, factor))
        elif len(set(paths)) == 2 and all(_has_bounds(schema, path) for path in paths):
            pairs.setdefault(paths, []).append(comparison)
    for paths, of_pair in pairs.items() if most > 1 else ():
        first, second = sorted(paths, key=lambda path: _place(schema, path))
        within = first[: next(k for k in count() if first[k] != second[k])]
        if _may_be_copied(_at(schema, within)):
            return narrowed.by_pair(within, first, second, of_pair, most)
    return narrowed.schema()


class _Narrowed:
    """A schema with bounds on whole numbers in it."""

    def __init__(self, schema: Any) -> None:
        self.original, self.ends = schema, dict[Path, Interval]()

    def within(self, path: Path) -> Interval:
        return self.ends.get(path) or integer_bounds(_at(self.original, path) or {})

    def bound(self, path: Path, ends: Interval) -> None:
        self.ends[path] = _common(self.within(path), ends)

    def schema(self, within: Path = ()) -> Any:
        """The part of the schema at a path."""
        schema = _at(self.original, within) if within else self.original
        for path, ends in self.ends.items():
            if path[: len(within)] == within:
                own = _at(self.original, path)
                assert own is not None
                schema = _put(schema, path[len(within) :], _with_bounds(own, ends))
        return schema

    def by_pair(
        self, at: Path, first: Path, second: Path, comparisons: Sequence[JsonNumbers], most: int
    ) -> Any:
        """The schema in which the object at a path, which has both numbers, is one of several."""
        options, ends = [], dict(self.ends)
        for interval in intervals(*self.within(first), most):
            left = self.within(second)
            for comparison in comparisons:
                left = _common(left, _left(comparison, first, interval))
            if left[0] is None or left[1] is None or left[0] <= left[1]:
                self.ends = {**ends, first: interval, second: left}
                options.append({k: v for k, v in self.schema(at).items() if k not in SHARED})
            self.ends = ends
        whole = self.schema()
        if not options:
            return whole
        shared = {k: v for k, v in (_at(whole, at) or {}).items() if k in SHARED}
        return _put(whole, at, {**shared, "anyOf": options})


def _put(schema: Any, path: Path, inner: Any) -> Any:
    """A schema with another one for a property."""
    if not path:
        return inner
    properties = schema["properties"]
    put = _put(properties[path[0]], path[1:], inner)
    return {**schema, "properties": {**properties, path[0]: put}}


def _with_bounds(schema: Mapping[str, Any], ends: Interval) -> Any:
    """The schema of a whole number with bounds; with `-0`, if it has that and 0 is within them."""
    least, most = ends
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    bounds: dict[str, int] = {}
    if least is not None and low < least and abs(least) <= LARGEST:
        bounds["minimum"] = least
    if most is not None and most < high and abs(most) <= LARGEST:
        bounds["maximum"] = most
    bounded = {**schema, **bounds}
    has_zero = (least is None or least <= 0) and (most is None or most >= 0)
    if not bounds or not has_zero:
        return bounded
    if followed(JsonText(json.dumps(schema))).mistake:
        return schema
    if not _lets_minus_zero(schema) or _lets_minus_zero(bounded):
        return bounded
    zero = {**schema, "minimum": -1, "maximum": 1, "multipleOf": 2}
    return {"anyOf": [bounded, zero]} if _lets_minus_zero(zero) else schema


def _lets_minus_zero(schema: Mapping[str, Any]) -> bool:
    """Whether llguidance lets a whole number of a schema be `-0`, which not every 0 may be."""
    return _accepts_minus_zero(json.dumps(schema))


@lru_cache(maxsize=1024)
def _accepts_minus_zero(schema: str) -> bool:
    return accepts_text(JsonText(schema), "-0")


def _at(schema: Any, path: Path) -> Mapping[str, Any] | None:
    """The schema of a property, None where it is not written out."""
    for key in path:
        properties = schema.get("properties") if isinstance(schema, dict) else None
        schema = properties.get(key) if isinstance(properties, dict) else None
    return schema if isinstance(schema, dict) and "$ref" not in schema else None


def _is_whole(schema: Any, path: Path) -> bool:
    return (_at(schema, path) or {}).get("type") == "integer"


def _has_bounds(schema: Any, path: Path) -> bool:
    """Whether a whole number has a bound, and none that is too large."""
    ends = [end for end in integer_bounds(_at(schema, path) or {}) if end is not None]
    return bool(ends) and all(abs(end) <= LARGEST for end in ends)


def _place(schema: Any, path: Path) -> list[int]:
    """Where a property stands among the others, level by level."""
    return [list(_at(schema, path[:k])["properties"]).index(path[k]) for k in range(len(path))]  # type: ignore[index]


def _of_one(comparison: JsonNumbers, factor: int) -> Interval:
    """The bounds on a whole x of a comparison of factor * x."""
    end, operator = fraction(comparison.bound) / factor, comparison.operator
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


def intervals(least: int | None, most: int | None, at_most: int) -> Iterator[Interval]:
    """Intervals that cover the whole numbers within bounds, at most so many where both are known.

    >>> list(intervals(0, 2, 9)), list(intervals(95, 600, 256))[:3]
    ([(0, 0), (1, 1), (2, 2)], [(95, 95), (96, 97), (98, 99)])
    >>> len(list(intervals(None, None, 256)))
    68
    """
    if least is not None and most is not None:
        widths = (digit * 10**k for k in count() for digit in (1, 2, 5))
        width = next(w for w in widths if most // w - least // w < at_most)
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
    end, operator = fraction(comparison.bound), comparison.operator
    most = math.ceil(end) - 1 if operator == "lt" else math.floor(end)
    least = math.floor(end) + 1 if operator == "gt" else math.ceil(end)
    below = None if operator in ("gt", "ge") or low is None else fraction(most - low, b)
    above = None if operator in ("lt", "le") or high is None else fraction(least - high, b)
    if b < 0:
        below, above = above, below
    return (
        None if above is None else math.ceil(above),
        None if below is None else math.floor(below),
    )
