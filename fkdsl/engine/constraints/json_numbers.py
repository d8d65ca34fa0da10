"""Comparisons of two or three whole numbers in a JSON text, as `v.born < v.died`: the schema of the
object that has all of them becomes an `anyOf`, so that masks follow them.

The first of them lie in each of some intervals, and the last one within what is then left to it.
So the new schema has every text of the old one of which the comparisons are true, and where an
interval has more than one number some others, of which the conditions decide.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, pairwise, product
from typing import Any

from fkdsl.engine.constraints.json_languages import JsonNumbers
from fkdsl.engine.constraints.json_paths import SHARED, Path, put, schema_at
from fkdsl.engine.constraints.json_ranges import (
    ALL,
    LARGEST,
    Interval,
    Ranges,
    common,
    hull,
    in_common,
    with_ranges,
)
from fkdsl.engine.constraints.number_outlines import fraction
from fkdsl.engine.constraints.schema_outlines import integer_bounds

MOST_NUMBERS = 3
"""Most numbers that are compared."""
MOST_INTERVALS = 256
"""Most intervals of the first of two numbers. They are 1, 2, 5, 10, ... wide."""
CUTS = (
    (0, *range(10, 100, 10), *range(100, 1000, 100), *range(1000, 3000, 50),
     *range(3000, 11000, 1000)),
    (0, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000),
    (0, 10, 100),
)  # fmt: skip
"""Where the intervals of a number without bounds begin, finely or coarsely; negative ones are one
interval."""


def with_pairs(
    schema: Any,
    comparisons: Sequence[JsonNumbers],
    numbers: Mapping[Path, Ranges],
    most: int,
    root: Any,
) -> Any:
    """A schema with the whole numbers that may be at some paths, and the comparisons of one pair of
    numbers, the first that it can say; False where no value passes. most: how many intervals the
    first number is cut into at most; with 1, pairs are left out."""
    narrowed = _Narrowed(schema, root)
    for path, ranges in numbers.items():
        narrowed.hold(path, ranges)
    groups: dict[tuple[Path, ...], list[JsonNumbers]] = {}
    for comparison in comparisons:
        paths = tuple(sorted(paths_of(comparison), key=str))
        if all(map(narrowed.is_whole, paths)):
            groups.setdefault(paths, []).append(comparison)
    everything = tuple(sorted({path for paths in groups for path in paths}, key=str))
    if len(groups) > 1 and len(everything) <= MOST_NUMBERS:
        groups = {everything: [c for of_group in groups.values() for c in of_group]}
    for paths, of_group in groups.items() if most > 1 else ():
        within = shared_path(paths)
        ordered = sorted(paths, key=narrowed.place)
        last = next((path for path in ordered[::-1] if _may_be_last(path, of_group)), None)
        if last is not None and may_be_copied(schema_at(schema, within, root)):
            ordered.remove(last)
            return narrowed.by_intervals(within, ordered, last, of_group, most)
    return narrowed.schema()


def _may_be_last(path: Path, comparisons: Sequence[JsonNumbers]) -> bool:
    """Whether what is left to a number can be computed of the others: it is in no product."""
    in_product = any(path in product[:2] for c in comparisons for product in c.products)
    return not in_product and any(path in dict(c.terms) for c in comparisons)


def paths_of(comparison: JsonNumbers) -> set[Path]:
    """The paths of the numbers that are compared."""
    products = (path for *both, _ in comparison.products for path in both)
    return {*(path for path, _ in comparison.terms), *products}


def shared_path(paths: Iterable[Path]) -> Path:
    """The path of the value that has the values at all of some paths."""
    shared, *others = paths
    for path in others:
        k = 0
        while k < min(len(shared), len(path)) and shared[k] == path[k]:
            k += 1
        shared = shared[:k]
    return shared


class _Narrowed:
    """A schema with bounds on whole numbers in it."""

    def __init__(self, schema: Any, root: Any) -> None:
        self.original, self.root, self.ends = schema, root, dict[Path, Interval]()
        self.ranges: dict[Path, Ranges] = {}

    def at(self, path: Path) -> Any:
        return schema_at(self.original, path, self.root)

    def within(self, path: Path) -> Interval:
        return self.ends.get(path) or integer_bounds(self.at(path) or {})

    def hold(self, path: Path, ranges: Ranges) -> None:
        """Holds a number to some ranges."""
        self.ends[path] = common(self.within(path), hull(ranges))
        self.ranges[path] = ranges

    def cut(self, path: Path, most: int) -> list[Interval]:
        """Intervals that have the numbers of a path, at most so many where its bounds are known."""
        known = in_common([self.ranges.get(path, ALL), [self.within(path)]])
        if sum(_count(ends) for ends in known) <= most:
            return [(n, n) for low, high in known for n in range(low or 0, (high or 0) + 1)]
        return known if 1 < len(known) <= most else list(intervals(*self.within(path), most))

    def is_whole(self, path: Path) -> bool:
        """Whether there is a whole number at a path, and no bound of it is too large."""
        own = self.at(path)
        if not isinstance(own, dict) or own.get("type") != "integer":
            return False
        return all(end is None or abs(end) <= LARGEST for end in self.within(path))

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
                bounded = with_ranges(own, in_common([self.ranges.get(path, ALL), [ends]]))
                if bounded is False:
                    return False
                schema = schema if bounded == own else put(schema, rest, bounded, self.root)
        return schema

    def by_intervals(
        self,
        at: Path,
        firsts: Sequence[Path],
        last: Path,
        comparisons: Sequence[JsonNumbers],
        most: int,
    ) -> Any:
        """The schema in which the object at a path, which has all numbers, is one of several."""
        options, ends = [], dict(self.ends)
        each = max(int(most ** (1 / len(firsts)) + 0.001), 2)
        cut = [self.cut(path, each) for path in firsts]
        for chosen in product(*cut) if math.prod(map(len, cut)) <= most else ():
            known = dict(zip(firsts, chosen, strict=True))
            left = self.within(last)
            for comparison in comparisons:
                if last in dict(comparison.terms):
                    left = common(left, _left(comparison, known, last))
                elif not _may_hold(comparison, known):
                    left = (1, 0)
            if left[0] is None or left[1] is None or left[0] <= left[1]:
                self.ends = {**ends, **known, last: left}
                options.append(self.schema(at))
            self.ends = ends
        if math.prod(map(len, cut)) > most:
            return self.schema()
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
    cuts = next((some for some in CUTS if len(some) < at_most), CUTS[-1])
    ends: list[int | None] = [None, *cuts, None]
    for low, high in pairwise(ends):
        low, high = common((low, None if high is None else high - 1), (least, most))
        if low is None or high is None or low <= high:
            yield low, high


def _count(ends: Interval) -> float:
    """How many whole numbers are within bounds."""
    low, high = ends
    return math.inf if low is None or high is None else high - low + 1


def _left(comparison: JsonNumbers, known: Mapping[Path, Interval], last: Path) -> Interval:
    """What is left to the last number where the others lie in intervals."""
    factors = dict(comparison.terms)
    b = factors.pop(last)
    ranges = [_times(known[path], (factor, factor)) for path, factor in factors.items()]
    for one, other, factor in comparison.products:
        ranges.append(_times(_times(known[one], known[other]), (factor, factor)))
    lows, highs = zip(*(ranges or [(0, 0)]), strict=True)
    low, high = (None if None in ends else sum(ends) for ends in (lows, highs))
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


def _may_hold(comparison: JsonNumbers, known: Mapping[Path, Interval]) -> bool:
    """Whether numbers in intervals may pass a comparison."""
    if not comparison.terms:
        return True
    path = comparison.terms[-1][0]
    low, high = common(known[path], _left(comparison, known, path))
    return low is None or high is None or low <= high


def _times(a: Interval, b: Interval) -> Interval:
    """The least interval with all products of numbers of two intervals."""
    (a_low, a_high), (b_low, b_high) = (
        (-math.inf if low is None else low, math.inf if high is None else high)
        for low, high in (a, b)
    )
    found = [x * y if x and y else 0 for x in (a_low, a_high) for y in (b_low, b_high)]
    low, high = min(found), max(found)
    return (
        None if low == -math.inf else int(low),
        None if high == math.inf else int(high),
    )
