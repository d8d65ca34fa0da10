"""Tests of one number in a JSON text, as bounds in its schema.

Of a whole number every value that passes is known, as ranges. llguidance lets no whole number be
`-0` whose least value is 0, so where the number may be `-0` by its own schema that is said beside
such bounds. Other numbers stay free, since llguidance lets one with bounds have no exponent; but
where no value is left that is known.

>>> of_tests([((JsonField((), "in", (1, 2, 5)),),)], whole=True)
[(1, 2), (5, 5)]
>>> with_ranges({"type": "integer", "minimum": 3}, [(None, 2), (5, 5)])
{'type': 'integer', 'minimum': 5, 'maximum': 5}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.json_languages import JsonField, JsonNumbers
from fkdsl.engine.constraints.json_values import Atom, Test, may_pass
from fkdsl.engine.constraints.languages import JsonText
from fkdsl.engine.constraints.number_outlines import fraction
from fkdsl.engine.constraints.schema_outlines import integer_bounds

Interval = tuple[int | None, int | None]
"""The least and the greatest whole number; None for no bound."""
Ranges = list[Interval]
"""Intervals one behind the other, with numbers between them."""
LARGEST = 10**15
"""Larger bounds are left to the condition: llguidance has them as floats, which are not exact, and
an `anyOf` of many with hundreds of digits ends its process."""
MOST_VALUES, MOST_STEP = 256, 100
"""Most values that are tested one by one, and the greatest step of multiples."""
MOST_RANGES = 32
"""Most ranges that are written out."""
MOST_LISTED, MOST_DIGITS = 1_000, 100
"""Most values that are listed in place of ranges, and most digits of one."""
ALL: Ranges = [(None, None)]


def of_tests(tests: Sequence[Test], whole: bool) -> Ranges:
    """The whole numbers that pass some tests, or more; for other numbers, whole=False, no more than
    whether there are any."""
    ranges = ALL
    for test in tests:
        options = [in_common(map(_of_atom, option)) for option in test]
        ranges = in_common([ranges, _united(options)])
    if whole:
        return ranges
    return ALL if ranges or not all(map(_is_whole, tests)) else []


def _is_whole(test: Test) -> bool:
    """Whether a test says the same of all numbers."""
    return all(
        isinstance(a, JsonField) and a.operator not in ("eq", "in", "written in")
        for o in test
        for a in o
    )


def _of_atom(atom: Atom) -> Ranges:
    match atom:
        case JsonNumbers(terms=((_, factor),), products=()):
            return [of_one(atom, factor)] if _is_interval(of_one(atom, factor)) else []
        case JsonField(operator="eq" | "in" as operator, value=value, negated=negated):
            values = value if operator == "in" and isinstance(value, tuple) else (value,)
            numbers = sorted({int(v) for v in values if isinstance(v, int | float) and v == int(v)})
            points = _united([[(n, n)] for n in numbers])
            return _complement(points) if negated else points
        case JsonField(operator="written in", value=among, negated=negated):
            written = whole_numbers_in(among)
            if written is None:
                return ALL
            points = _united([[(n, n)] for n in written])
            return _complement(points) if negated else points
        case JsonField(operator="text" | "rest"):
            return ALL
        case JsonField():
            return []  # the program raises an error
    return ALL


def whole_numbers_in(among: str | tuple[Any, ...]) -> list[int] | None:
    """The whole numbers of which `str` makes what stands in a text, or one of some texts; None for
    long ones.

    >>> whole_numbers_in("in 195, -7"), whole_numbers_in(("12", "07", "a"))
    ([-7, 1, 5, 7, 9, 19, 95, 195], [12])
    """
    if isinstance(among, tuple):
        texts = {text for text in among if isinstance(text, str)}
    else:
        runs = {m.group() for m in re.finditer("-?[0-9]+", among)}
        if any(len(run) > len(str(LARGEST)) for run in runs):
            return None
        ends = [range(len(run) + 1) for run in runs]
        texts = {r[i:j] for r, e in zip(runs, ends, strict=True) for i in e for j in e[i:]}
    whole = {int(t) for t in texts if len(t) < MOST_DIGITS and re.fullmatch("-?[0-9]+", t)}
    return sorted(n for n in whole if str(n) in texts)


def of_one(comparison: JsonNumbers, factor: int) -> Interval:
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


# ------------------------------------------------------------------ ranges


def _is_interval(ends: Interval) -> bool:
    return ends[0] is None or ends[1] is None or ends[0] <= ends[1]


def common(a: Interval, b: Interval) -> Interval:
    """The numbers in two intervals."""
    lows = [low for low, _ in (a, b) if low is not None]
    highs = [high for _, high in (a, b) if high is not None]
    return max(lows, default=None), min(highs, default=None)


def in_common(many: Iterable[Ranges]) -> Ranges:
    """The numbers that are in all of some ranges."""
    result = ALL
    for ranges in many:
        both = (common(a, b) for a in result for b in ranges)
        result = sorted(
            filter(_is_interval, both), key=lambda r: -math.inf if r[0] is None else r[0]
        )
    return result


def _united(many: Iterable[Ranges]) -> Ranges:
    result: Ranges = []
    every = (r for ranges in many for r in ranges)
    for low, high in sorted(every, key=lambda r: -math.inf if r[0] is None else r[0]):
        if result and (result[-1][1] is None or low is None or low <= result[-1][1] + 1):
            first, last = result.pop()
            low, high = first, None if last is None or high is None else max(last, high)
        result.append((low, high))
    return result


def _complement(ranges: Ranges) -> Ranges:
    """The numbers that are in none of some ranges."""
    low: int | None = None
    result: Ranges = []
    for first, last in ranges:
        if first is not None:
            result.append((low, first - 1))
        if last is None:
            return result
        low = last + 1
    return [*result, (low, None)]


def hull(ranges: Ranges) -> Interval:
    """The least interval that has all the numbers of some ranges."""
    return ranges[0][0], ranges[-1][1]


# ------------------------------------------------------------------ schemas


def with_multiples(own: Mapping[str, Any], tests: Sequence[Test]) -> Any:
    """The schema of a whole number with what tests say of its rest when it is divided: one by one
    of few values, that it is a multiple of many. False where none passes."""
    if own.get("type") != "integer" or not any(_has_rest(test) for test in tests):
        return own
    least, most = integer_bounds(own)
    if least is not None and most is not None and most - least < MOST_VALUES:
        values = [n for n in range(least, most + 1) if all(may_pass(test, n) for test in tests)]
        ranges = _united([[(n, n)] for n in values])
        if len(ranges) <= MOST_RANGES:
            return with_ranges(own, ranges)
    steps = [
        atom.value[0]
        for test in tests
        if len(test) == 1
        for atom in test[0]
        if isinstance(atom, JsonField)
        and atom.operator == "rest"
        and (atom.value[1:], atom.negated) == (("eq", 0), False)
    ]
    step = math.lcm(*steps, own.get("multipleOf", 1)) if steps else 1
    return {**own, "multipleOf": step} if 1 < step <= MOST_STEP else own


def _has_rest(test: Test) -> bool:
    atoms = (atom for option in test for atom in option)
    return any(isinstance(atom, JsonField) and atom.operator == "rest" for atom in atoms)


def with_ranges(own: Mapping[str, Any], ranges: Ranges) -> Any:
    """The schema of a number that is in some ranges; False where none is. Beside bounds of its own
    those that say no more are left out."""
    if own.get("type") != "integer":
        return own if ranges else False
    kept = in_common([ranges, [integer_bounds(own)]])
    if not kept:
        return False
    points = [low for low, high in kept if low is not None and low == high]
    if len(kept) > MOST_RANGES and len(points) == len(kept) <= MOST_LISTED and 0 not in points:
        return {**own, "enum": points}
    if len(kept) > MOST_RANGES:
        kept = [hull(kept)]
    options = [with_bounds(own, ends) for ends in kept]
    flat = [o for option in options for o in option.get("anyOf", [option])]
    return options[0] if len(options) == 1 else {"anyOf": flat}


def with_bounds(schema: Mapping[str, Any], ends: Interval) -> Any:
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
