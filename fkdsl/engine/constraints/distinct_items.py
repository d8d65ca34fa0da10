"""Lists of different items from a few values, written out as schemas.

    {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": true}
    {"anyOf": [[], ["a"], ["b"], ["a", "b"], ["b", "a"]]}, each as a list of constants

llguidance does not know `uniqueItems`. Written out, a mask follows it at every token, where the
condition alone would decide at the last one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import permutations
from typing import Any

MOST_VALUES = 4
"""Values up to which lists are written out: 65 of them, and 326 of five."""
MOST_LISTS = 650
"""Lists that are written out of one schema."""
LIST_KEYWORDS = frozenset({"type", "items", "minItems", "maxItems"})
"""Keywords of a schema whose lists can be written out."""


def item_values(items: Any) -> list[Any] | None:
    """The different values that a schema of items allows at most, where it lists them: plain ones,
    by `enum`, `const`, or as truth values or null. None where it does not.

    >>> item_values({"enum": [1, "a", 1, True]}), item_values({"type": "boolean"})
    ([1, 'a', True], [True, False])
    >>> item_values({"type": "string"}), item_values({"enum": [[]]}), item_values({"const": 1.0})
    (None, None, None)
    """
    match items:
        case {"const": value}:
            values = [value]
        case {"enum": list() as values}:
            pass
        case {"type": "boolean"}:
            values = [True, False]
        case {"type": "null"}:
            values = [None]
        case _:
            return None
    if any(isinstance(v, list | dict | float) for v in values):
        return None  # 1.0 and 1 are one value, and two texts
    return [v for _, v in dict.fromkeys((isinstance(v, bool), v) for v in values)]


def distinct_lists(schema: Mapping[str, Any], most: int) -> list[dict[str, Any]] | None:
    """A schema for each list of different items that fits a schema of lists; None where there are
    more than `most` of them, none, or where it says more than that.

    >>> schema = {"type": "array", "items": {"enum": [1, 2]}}
    >>> [[c["const"] for c in s.get("prefixItems", [])] for s in distinct_lists(schema, 9)]
    [[], [1], [2], [1, 2], [2, 1]]
    """
    values = item_values(schema.get("items"))
    if values is None or len(values) > MOST_VALUES or not schema.keys() <= LIST_KEYWORDS:
        return None
    if schema.get("type") != "array":
        return None
    lengths = [
        n
        for n in range(len(values) + 1)
        if schema.get("minItems", 0) <= n <= schema.get("maxItems", math.inf)
    ]
    if not lengths or sum(math.perm(len(values), n) for n in lengths) > most:
        return None
    return [_list_of(items) for n in lengths for items in permutations(values, n)]


def _list_of(items: tuple[Any, ...]) -> dict[str, Any]:
    if not items:
        return {"type": "array", "maxItems": 0}
    constants = [{"const": item} for item in items]
    return {"type": "array", "prefixItems": constants, "items": False, "minItems": len(items)}
