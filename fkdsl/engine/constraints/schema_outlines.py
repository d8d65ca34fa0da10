r"""Outlines of JSON schemas: what masks follow of a schema, as rules over characters.

>>> outline = schema_outline({"type": "object", "properties": {"a": {}}, "required": ["a"]})
>>> outline.length  # {"a":1}
7

Law: an outline has every text of the schema that llguidance accepts. What it leaves out (upper
bounds on lengths, `multipleOf` of fractions, most formats) only makes it larger. Where a schema
joins others (`allOf`, `anyOf` beside `properties`), the outline is that of the types alone: how
llguidance orders the properties of joined objects is its own affair.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fkdsl.engine.constraints.charsets import REPLACEMENT, without_point
from fkdsl.engine.constraints.ecma import python_pattern
from fkdsl.engine.constraints.json_outlines import (
    ANY_VALUE,
    any_string,
    any_values,
    constant,
    constant_string,
    enclosed,
    member,
    separated,
    string_of,
    written,
)
from fkdsl.engine.constraints.number_outlines import WITHIN, End, fraction, integer, number
from fkdsl.engine.constraints.outlines import (
    NO_TEXT,
    Outline,
    alternatives,
    factored,
    reference,
)
from fkdsl.engine.constraints.pattern_trees import Tree, Unsupported, text_tree
from fkdsl.engine.constraints.patterns import parse_pattern
from fkdsl.engine.constraints.stripped_patterns import searched

TYPES = ("null", "boolean", "number", "string", "array", "object")
JOINING = ("$ref", "anyOf", "oneOf", "allOf")
"""Keywords that join schemas to the one that they stand in."""
ASSERTING = ("type", "const", "enum", "pattern", "format", "properties", "patternProperties",
             "additionalProperties", "required", "items", "prefixItems", "minLength", "minItems",
             "minProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
             "maxItems", "maxLength", "maxProperties", "multipleOf")  # fmt: skip
MOST_REPEATS = 64
"""Lower bounds on lengths above it count as it."""
FORMATS = {
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d\d:\d\d:\d\d.+",
    "date-time": r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d.+",
    "uuid": r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "ipv4": r"\d+\.\d+\.\d+\.\d+",
    "email": r".+@.+",
}
"""For some formats a pattern that all their texts match."""


def schema_outline(schema: Any) -> Outline:
    """The outline of a schema in the form that `Weaker` gives it: draft 2020-12, references to
    `$defs` of the whole alone. Raises Unsupported, RecursionError."""
    rules = _Rules()
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    for name, inner in definitions.items():
        rules.trees[f"$defs/{name}"] = rules.tree(inner)
    return Outline(rules.trees, rules.tree(schema))


class _Rules:
    """trees: the rules so far."""

    def __init__(self) -> None:
        self.trees: dict[str, Tree] = any_values()
        self._names: dict[str, str] = {}

    def rule(self, schema: Any) -> Tree:
        """A schema as a reference to a rule of its own; simple ones as they are."""
        tree = self.tree(schema)
        if tree.operator == "rule" or not _may_nest(schema):
            return tree
        written = json.dumps(schema)
        if written not in self._names:
            self._names[written] = f"#{len(self.trees)}"
            self.trees[self._names[written]] = tree
        return reference(self._names[written])

    def tree(self, schema: Any) -> Tree:
        if not isinstance(schema, dict):
            return NO_TEXT if schema is False else reference(ANY_VALUE)
        joining = [k for k in JOINING if k in schema]
        if not joining:
            return self.alone(schema)
        inner = schema[joining[0]]
        if len(joining) == 1 and not any(k in schema for k in ASSERTING):
            if joining == ["$ref"]:
                return self.referred(inner)
            if joining == ["anyOf"] and _are_alike(inner):
                return factored(*map(self.tree, inner))
            if joining != ["allOf"] or len(inner) == 1:
                return alternatives(*map(self.rule, inner))
        if joining == ["allOf"] and schema.get("type") == "string" and _are_patterns(inner):
            alone = {k: v for k, v in schema.items() if k != "allOf"}
            return Tree("and", (self.alone(alone), *(self.alone({**alone, **p}) for p in inner)))
        return self.joined(schema)

    def referred(self, target: str) -> Tree:
        name = target.removeprefix("#/")
        if not name.startswith("$defs/") or "/" in name.removeprefix("$defs/"):
            return reference(ANY_VALUE)
        return reference(name)

    def joined(self, schema: Mapping[str, Any]) -> Tree:
        """A schema that others are joined to: of objects only how many members they must have."""
        required = len(set(schema.get("required", ())))
        options = []
        for kind in types_of(schema):
            loose: dict[str, Any] = {"type": kind}
            if kind == "object":
                loose["minProperties"] = required
            options.append(self.alone(loose))
        return alternatives(*options)

    def alone(self, schema: Mapping[str, Any]) -> Tree:
        if "const" in schema:
            return constant(schema["const"])
        if "enum" in schema:
            return alternatives(*map(constant, schema["enum"]))
        if schema.keys().isdisjoint(ASSERTING):
            return reference(ANY_VALUE)
        return alternatives(*(self.typed(kind, schema) for kind in types_of(schema)))

    def typed(self, kind: str, schema: Mapping[str, Any]) -> Tree:
        match kind:
            case "null":
                return text_tree("null")
            case "boolean":
                return alternatives(text_tree("true"), text_tree("false"))
            case "integer":
                return integer(*integer_bounds(schema), schema.get("multipleOf", 1))
            case "number":
                return number(*number_bounds(schema), _within(schema))
            case "string":
                return text(schema)
            case "array":
                return self.array(schema)
            case "object":
                return self.object(schema)
        return reference(ANY_VALUE)

    def array(self, schema: Mapping[str, Any]) -> Tree:
        first = schema.get("prefixItems", [])
        rest = schema.get("items", True)
        most = schema.get("maxItems", math.inf)
        least = min(int(schema.get("minItems", 0)), MOST_REPEATS)
        needed = [(self.rule(s), i < least) for i, s in enumerate(first) if i < most]
        more = None if rest is False or most <= len(first) else self.rule(rest)
        return enclosed("[", "]", separated(needed, more, max(least - len(needed), 0)))

    def object(self, schema: Mapping[str, Any]) -> Tree:
        named = schema.get("properties", {})
        required = set(schema.get("required", ()))
        parts = [
            (member(constant_string(key), self.rule(inner)), key in required)
            for key, inner in named.items()
        ]
        others = [self.rule(inner) for inner in schema.get("patternProperties", {}).values()]
        if schema.get("additionalProperties", True) is not False:
            others.append(self.rule(schema.get("additionalProperties", True)))
        other = alternatives(*others)
        more = member(any_string(), other) if others else None
        # What is required and not named stands behind what is, in the order of `required`.
        parts += [
            (member(constant_string(key), other), True)
            for key in dict.fromkeys(schema.get("required", ()))
            if key not in named
        ]
        least = 0 if parts else min(int(schema.get("minProperties", 0)), MOST_REPEATS)
        return enclosed("{", "}", separated(parts, more, least))


def _are_alike(schemas: Sequence[Any]) -> bool:
    """Whether schemas are those of objects with the same properties."""
    names = {tuple(s.get("properties", ())) if isinstance(s, dict) else () for s in schemas}
    return len(names) == 1 and names != {()}


def _are_patterns(schemas: Sequence[Any]) -> bool:
    return all(isinstance(s, dict) and set(s) == {"pattern"} for s in schemas)


def _may_nest(schema: Any) -> bool:
    """Whether a schema may have lists or objects."""
    if not isinstance(schema, dict) or any(k in schema for k in JOINING):
        return True
    return not {"array", "object"}.isdisjoint(types_of(schema)) or "enum" in schema


def types_of(schema: Mapping[str, Any]) -> Iterable[str]:
    kinds = schema.get("type", TYPES)
    return (kinds,) if isinstance(kinds, str) else tuple(kinds)


def integer_bounds(schema: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(the least integer, the greatest one); None for no bound."""
    least: list[int] = []
    most: list[int] = []
    for keyword, step, bounds in (
        ("minimum", 0, least),
        ("exclusiveMinimum", 1, least),
        ("maximum", 0, most),
        ("exclusiveMaximum", -1, most),
    ):
        bound = schema.get(keyword)
        if not isinstance(bound, int | float) or not math.isfinite(bound):
            continue
        whole = math.floor(bound) if step == 1 or keyword == "maximum" else math.ceil(bound)
        bounds.append(whole + step)
    return max(least, default=None), min(most, default=None)


def number_bounds(schema: Mapping[str, Any]) -> tuple[End | None, End | None]:
    """The bounds of the numbers of a schema; None for none."""

    def ends(bound: str, strict: str) -> list[End]:
        given = ((schema.get(bound), False), (schema.get(strict), True))
        numbers = ((n, s) for n, s in given if isinstance(n, int | float) and math.isfinite(n))
        return [End(fraction(str(n)), s) for n, s in numbers]

    low, high = ends("minimum", "exclusiveMinimum"), ends("maximum", "exclusiveMaximum")
    return (
        max(low, key=lambda end: (end.value, end.strict), default=None),
        min(high, key=lambda end: (end.value, not end.strict), default=None),
    )


def _within(schema: Mapping[str, Any]) -> tuple[End | None, End | None]:
    """The bounds of WITHIN, which json_decimals.py writes."""
    ends = schema.get(WITHIN, (None, None))
    low, high = (None if end is None else End(fraction(end[0]), end[1]) for end in ends)
    return low, high


def text(schema: Mapping[str, Any]) -> Tree:
    """The strings of a schema."""
    least = min(int(schema.get("minLength", 0)), MOST_REPEATS)
    pattern = schema.get("pattern")
    if pattern is None and schema.get("format") in FORMATS:
        pattern = f"^(?:{FORMATS[schema['format']]})$"
    if pattern is None:
        return any_string(least)
    try:
        contents = string_of(_written(searched(parse_pattern(python_pattern(pattern)))))
    except (Unsupported, re.error):
        return any_string(least)
    return Tree("and", (contents, any_string(least))) if least else contents


def _written(tree: Tree) -> Tree:
    """The texts of a tree as they are written in a string."""
    if tree.operator == "set":
        return written(without_point(tree.parts[0], REPLACEMENT))
    parts = (_written(part) if isinstance(part, Tree) else part for part in tree.parts)
    return Tree(tree.operator, tuple(parts))
