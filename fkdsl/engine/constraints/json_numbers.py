"""Comparisons of two whole numbers in a JSON text, as `parse_json(s).born < parse_json(s).died`:
the schema of the object that has both becomes an `anyOf`, so that masks follow them.

The first of them lies in each of some intervals, and the other one within what is then left to it.
So the new schema has every text of the old one of which the comparisons are true, and where an
interval has more than one number some others, of which the conditions decide.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any

from fkdsl.engine.constraints.json_paths import SHARED, Path, put, schema_at
from fkdsl.engine.constraints.json_ranges import LARGEST, Interval, common, with_bounds
from fkdsl.engine.constraints.languages import JsonNumbers
from fkdsl.engine.constraints.number_outlines import fraction
from fkdsl.engine.constraints.schema_outlines import integer_bounds

MOST_INTERVALS = 256
"""Most intervals of the first of two numbers. They are 1, 2, 5, 10, ... wide."""
CUTS = (0, *range(10, 100, 10), *range(100, 1000, 100), *range(1000, 3000, 50),
        *range(3000, 11000, 1000))  # fmt: skip
"""Where the intervals of a number without bounds begin; negative ones are one interval."""


def with_pairs(
    schema: Any,
    comparisons: Sequence[JsonNumbers],
    bounds: Mapping[Path, Interval],
    most: int,
    root: Any,
) -> Any:
    """A schema with bounds on the whole numbers at some paths, and with the comparisons of one pair
    of numbers, the first that it can say; False where no value passes. most: how many intervals the
    first number is cut into at most; with 1, pairs are left out."""
    narrowed = _Narrowed(schema, root)
    for path, ends in bounds.items():
        narrowed.bound(path, ends)
    pairs: dict[tuple[Path, ...], list[JsonNumbers]] = {}
    for comparison in comparisons:
        paths = tuple(sorted((path for path, _ in comparison.terms), key=str))
        if all(narrowed.has_bounds(path) for path in paths):
            pairs.setdefault(paths, []).append(comparison)
    for paths, of_pair in pairs.items() if most > 1 else ():
        first, second = sorted(paths, key=narrowed.place)
        within = first[: next(k for k in count() if first[k] != second[k])]
        if may_be_copied(schema_at(schema, within, root)):
            return narrowed.by_pair(within, first, second, of_pair, most)
    return narrowed.schema()


class _Narrowed:
    """A schema with bounds on whole numbers in it."""

    def __init__(self, schema: Any, root: Any) -> None:
        self.original, self.root, self.ends = schema, root, dict[Path, Interval]()

    def at(self, path: Path) -> Any:
        return schema_at(self.original, path, self.root)

    def within(self, path: Path) -> Interval:
        return self.ends.get(path) or integer_bounds(self.at(path) or {})

    def bound(self, path: Path, ends: Interval) -> None:
        self.ends[path] = common(self.within(path), ends)

    def has_bounds(self, path: Path) -> bool:
        """Whether there is a whole number at a path that has a bound, and none that is too
        large."""
        own = self.at(path)
        if not isinstance(own, dict) or own.get("type") != "integer":
            return False
        ends = [end for end in self.within(path) if end is not None]
        return bool(ends) and all(abs(end) <= LARGEST for end in ends)

    def place(self, path: Path) -> list[int]:
        """Where a value stands among the others, level by level."""
        return [
            step if isinstance(step, int) else list(self.at(path[:k])["properties"]).index(step)
            for k, step in enumerate(path)
        ]

    def schema(self, within: Path = ()) -> Any:
        """The part of the schema at a path; False where a number has none to be."""
        schema = self.at(within) if within else self.original
        for path, ends in self.ends.items():
            if path[: len(within)] == within:
                if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
                    return False
                own, rest = self.at(path), path[len(within) :]
                bounded = with_bounds(own, ends)
                schema = schema if bounded == own else put(schema, rest, bounded, self.root)
        return schema

    def by_pair(
        self, at: Path, first: Path, second: Path, comparisons: Sequence[JsonNumbers], most: int
    ) -> Any:
        """The schema in which the object at a path, which has both numbers, is one of several."""
        options, ends = [], dict(self.ends)
        for interval in intervals(*self.within(first), most):
            left = self.within(second)
            for comparison in comparisons:
                left = common(left, _left(comparison, first, interval))
            if left[0] is None or left[1] is None or left[0] <= left[1]:
                self.ends = {**ends, first: interval, second: left}
                options.append(self.schema(at))
            self.ends = ends
        return put_options(self.schema(), at, options, self.root)


def put_options(schema: Any, at: Path, options: Sequence[Any], root: Any) -> Any:
    """A schema whose value at a path fits one of some schemas; False where that is none."""
    kept = []
    for option in options:
        if isinstance(option, dict) and set(option) <= {"anyOf", *SHARED}:
            kept += option["anyOf"]
        elif isinstance(option, dict):
            kept.append({k: v for k, v in option.items() if k not in SHARED})
        elif option is not False:
            kept.append(option)
    if not kept or schema is False:
        return False
    whole = schema_at(schema, at, root) or {}
    shared = {k: v for k, v in whole.items() if k in SHARED}
    return put(schema, at, {**shared, "anyOf": kept}, root)


def may_be_copied(schema: Any) -> bool:
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
        low, high = common((low, None if high is None else high - 1), (least, most))
        if low is None or high is None or low <= high:
            yield low, high


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
