"""Comparisons of numbers in a JSON text that need not be whole, as `parse_json(s).price > 1.5`.

llguidance lets a number with bounds have no exponent, so the schema that it follows stays as it is.
The outline of the schema (schema_outlines.py), by which masks look ahead, has the numbers within
the bounds, digit by digit, and all with an exponent. So a token is refused after which no number
that passes can be written. Where the program rounds, a few numbers more than pass are within.

>>> less = JsonNumbers(((("a",), 2),), "lt", 5.0)
>>> (path, low, high), = decimal_bounds([((less,),)])
>>> path, low, 2.499 < high.value < 2.5
(('a',), None, True)
>>> with_decimals({"properties": {"a": {"type": "number"}}}, [(path, None, high)])[
...     "properties"]["a"][WITHIN][0]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fkdsl.engine.constraints.json_languages import JsonItems, JsonNumbers
from fkdsl.engine.constraints.json_paths import MOST_PLACES, Path, items_of, resolved
from fkdsl.engine.constraints.json_values import Atom, Test
from fkdsl.engine.constraints.languages import Both, Language
from fkdsl.engine.constraints.number_outlines import MOST_DIGITS, WITHIN, End, nearer
from fkdsl.engine.constraints.python_numbers import where_rounded

EVERY = -1
"""A step to every item of a list."""
Ends = tuple[End | None, End | None]
Bounds = tuple[Path, End | None, End | None]
FREE: Ends = (None, None)


def decimal_bounds(tests: Sequence[Test]) -> tuple[Bounds, ...]:
    """Bounds on the numbers at some paths, of which EVERY may be a step, where tests set any."""
    found: dict[Path, Ends] = {}
    for test in tests:
        for path, ends in _of_test(test):
            low, high = found.get(path, FREE)
            found[path] = nearer(low, ends[0], up=True), nearer(high, ends[1], up=False)
    return tuple((path, low, high) for path, (low, high) in found.items() if low or high)


def _of_test(test: Test) -> list[tuple[Path, Ends]]:
    if len(test) == 1:
        return [found for atom in test[0] for found in _of_atom(atom)]
    # One of several holds, of the same value: the number is within the bounds of one.
    options = [dict(_of_test((option,))) for option in test]
    paths = [path for path in options[0] if all(set(o) == {path} for o in options)]
    return [(path, _hull([o[path] for o in options])) for path in paths]


def _hull(many: Sequence[Ends]) -> Ends:
    lows, highs = zip(*many, strict=True)
    low = None if None in lows else min(lows, key=lambda end: (end.value, end.strict))
    high = None if None in highs else max(highs, key=lambda end: (end.value, not end.strict))
    return low, high


def _of_atom(atom: Atom | Language) -> Iterable[tuple[Path, Ends]]:
    match atom:
        case JsonNumbers(terms=((path, factor),), products=()) if _is_plain(path):
            yield path, _ends(atom.operator, atom.bound, factor)
        case JsonItems(path=path, every=True, part=part) if _is_plain(path):
            for inner in part.parts if isinstance(part, Both) else (part,):
                for rest, ends in _of_atom(inner):
                    yield (*path, EVERY, *rest), ends


def _is_plain(path: Path) -> bool:
    return not any(isinstance(step, int) and step < 0 for step in path)


def _ends(operator: str, bound: int | float, factor: int) -> Ends:
    """The numbers that pass a comparison when they are multiplied with a factor."""
    if not math.isfinite(bound) or abs(bound) >= 10**MOST_DIGITS:
        return FREE
    if factor < 0:
        low, high = _ends(operator, -bound, -factor)
        turned = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
        return (low, high) if operator == "eq" else _ends(turned[operator], -bound, -factor)
    strict = operator in ("lt", "gt")
    return (
        where_rounded(bound, not strict, False, factor) if operator in ("gt", "ge", "eq") else None,
        where_rounded(bound, not strict, True, factor) if operator in ("lt", "le", "eq") else None,
    )


def with_decimals(schema: Any, bounds: Iterable[Bounds]) -> Any:
    """A schema in the form that outlines are made of, with bounds on numbers under WITHIN."""
    root = schema
    for path, low, high in bounds:
        schema = _marked(schema, path, (low, high), root)
    return schema


def _marked(schema: Any, path: Path, ends: Ends, root: Any) -> Any:
    own = resolved(schema, root)
    if not isinstance(own, dict):
        return schema
    for keyword in ("anyOf", "oneOf"):
        if keyword in own:
            own = {**own, keyword: [_marked(o, path, ends, root) for o in own[keyword]]}
    if not path:
        return own if "number" not in own.get("type", ()) else {**own, WITHIN: _written(ends)}
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        named = own.get("properties", {})
        if step in named:
            own = {**own, "properties": {**named, step: _marked(named[step], rest, ends, root)}}
        return own
    return _of_list(own, step, rest, ends, root)


def _of_list(own: dict[str, Any], step: int, rest: Path, ends: Ends, root: Any) -> Any:
    first, others = items_of(own, root)
    if first is None or step >= MOST_PLACES:
        return own
    if step == EVERY:
        marked = [_marked(item, rest, ends, root) for item in first]
        own = {**own, "items": _marked(others, rest, ends, root)}
        return {**own, "prefixItems": marked} if marked else own
    first = [*first, *[others] * (step + 1 - len(first))]
    first[step] = _marked(first[step], rest, ends, root)
    return {**own, "prefixItems": first, "minItems": max(own.get("minItems", 0), step + 1)}


def _written(ends: Ends) -> list[Any]:
    return [None if end is None else [str(end.value), end.strict] for end in ends]
