"""Schemas that llguidance would take long to read. One reading is one call of a library, which no
deadline ends, so such a schema is not given to it: a weaker one is.

>>> is_slow({"multipleOf": 99999989}), is_slow({"multipleOf": 100000000})
(True, False)
>>> joins({"allOf": [{"pattern": "a"}, {"anyOf": [{"pattern": "b"}, {"pattern": "c"}]}]})
2
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

MOST_REMAINDERS = 1_000
"""Of a `multipleOf` of more remainders, but for its factors of 2 and 5, llguidance's automaton may
take seconds; of one of a hundred million no end was seen."""

MOST_PATTERNS = 100
"""Of so many `patternProperties`, and keys in any order, llguidance takes 40 ms to tell each from
each; of 200 it takes 0.7 s, and of 400 20 s, in one call."""
MOST_PROPERTIES = 2_000
"""An object of so many takes llguidance 0.3 s, of 4,000 1.6 s, of 10,000 15 s."""
MOST_JOINED = 12
"""Patterns of one text that `allOf` joins: llguidance takes 20 ms for 15, 4 s for 20, and of 22 no
end was seen."""


def is_slow(schema: Any) -> bool:
    """Whether it has a number, object or set of patterns that llguidance may take long for."""
    todo = [schema]
    while todo:
        here = todo.pop()
        if isinstance(here, dict):
            named = here.get("properties")
            if isinstance(named, dict) and len(named) > MOST_PROPERTIES:
                return True
            if has_many_remainders(here.get("multipleOf")):
                return True
        todo += _inside(here)
    return has_many_patterns(schema)


def has_many_remainders(step: Any) -> bool:
    """Whether a `multipleOf` has more remainders than its digits are followed by."""
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < math.inf:
        return False
    remainders = Fraction(str(step)).numerator
    for factor in (2, 5):
        while remainders > MOST_REMAINDERS and remainders % factor == 0:
            remainders //= factor
    return remainders > MOST_REMAINDERS


def has_many_patterns(schema: Any) -> bool:
    """Whether there are more patterns in the `patternProperties` of a schema than are followed:
    `allOf` may bring all of them together in one object."""
    patterns: set[str] = set()
    todo = [schema]
    while todo and len(patterns) <= MOST_PATTERNS:
        here = todo.pop()
        if isinstance(here, dict):
            named = here.get("patternProperties")
            patterns.update(named if isinstance(named, dict) else ())
        todo += _inside(here)
    return len(patterns) > MOST_PATTERNS


def _inside(part: Any) -> list[Any]:
    """The lists and objects in a part of a schema."""
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return [v for v in values if isinstance(v, list | dict)]


def has_long_joins(schema: Any) -> bool:
    """Whether one text of a schema in the form that `Weaker` gives may have to match more patterns
    than llguidance can join."""
    return joins(schema) > MOST_JOINED


def joins(schema: Any) -> int:
    """The most patterns that one text may have to match at once, or more: of the parts of an
    `allOf` those inside of all are counted, since they may be of one property."""
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    known: dict[str, int] = {}

    def of(part: Any) -> int:
        if not isinstance(part, dict):
            return 0
        named = [*part.get("properties", {}).values(), *part.get("patternProperties", {}).values()]
        others = [part.get("items"), part.get("additionalProperties")]
        inside = [*named, *others, *part.get("prefixItems", ())]
        own = ("pattern" in part) + ("format" in part) + target(part.get("$ref"))
        either = [most(part[k]) for k in ("anyOf", "oneOf") if k in part]
        return own + most(inside) + sum(either) + sum(map(of, part.get("allOf", ())))

    def most(parts: Iterable[Any]) -> int:
        return max(map(of, parts), default=0)

    def target(reference: str | None) -> int:
        if reference is None:
            return 0
        name = reference.removeprefix("#/$defs/")
        if name not in known:
            known[name] = 0  # what leads back to itself joins nothing again
            known[name] = of(definitions.get(name))
        return known[name]

    return of(schema)
