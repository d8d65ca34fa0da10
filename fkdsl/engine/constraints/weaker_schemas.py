"""A weaker JSON schema for a mask, without what llguidance cannot follow. The condition itself
checks what is left out.

    {"type": "array", "items": {"type": "integer"}, "uniqueItems": true}      the schema
    {"type": "array", "items": {"type": "integer"}}                           of the mask

Law: every value that fits a schema fits the weaker one; only `format`, which schemas do not assert,
is asserted by masks.

A keyword of a schema is one condition among others, so leaving it out weakens the schema. Three
kinds of keywords need more care. First, some decide to what others apply: without a pattern of
`patternProperties`, `additionalProperties` would apply to its keys; without `prefixItems`, `items`
would apply to all items; and `unevaluatedProperties` depends on everything beside it. These others
are left out too, or become true. Second, a weaker schema inside `not`, `if`, `contains` or the
condition of a `dependentSchemas` would make the whole stronger, so these are left out whole. Third,
the target of a `$ref` becomes a definition of its own, weakened once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from fkdsl.engine.constraints.distinct_items import MOST_LISTS, distinct_lists, item_values
from fkdsl.engine.constraints.ecma import python_pattern
from fkdsl.engine.constraints.matchers import compile_error, json_grammar
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.rust_patterns import weaker_search
from fkdsl.engine.constraints.slow_schemas import (
    MOST_PATTERNS,
    MOST_PROPERTIES,
    has_many_patterns,
    has_many_remainders,
)

COPIED = ("type", "const", "enum", "minLength", "maxLength", "minimum", "maximum",
          "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems",
          "minProperties", "maxProperties", "required")  # fmt: skip
"""Keywords that llguidance follows as they stand."""
LEFT_OUT = ("not", "dependentRequired", "dependentSchemas", "dependencies", "propertyNames",
            "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef",
            "contains")  # fmt: skip
"""Keywords that are left out whole."""
OLD_DRAFTS = ("draft-03", "draft-04", "draft-06", "draft-07")
"""Drafts in which keywords beside a `$ref` are ignored."""


class Weaker:
    """The weaker form of a valid schema. value: the weaker schema. left_out: what was left out, as
    "`keyword` at $.place"."""

    def __init__(self, schema: Any, formats: bool = True, order: bool = True) -> None:
        import jsonschema
        from jsonschema_specifications import REGISTRY
        from referencing.jsonschema import specification_with

        kind: Any = jsonschema.validators.validator_for(
            schema, default=jsonschema.Draft202012Validator
        )
        self.draft = str(kind.META_SCHEMA.get("$schema", ""))
        self.formats, self.order = formats, order
        self.left_out: dict[str, None] = {}
        self.written_out = 0
        self.many_patterns = has_many_patterns(schema)
        self.names: dict[int, str] = {}
        self.todo: list[tuple[str, Any, Any, str]] = []
        root = specification_with(self.draft).create_resource(schema)
        self.kept = [root]  # `names` goes by id(), so nothing that it names may be freed
        self.value = self.schema(
            schema, REGISTRY.with_resource("", root).resolver_with_root(root), "$"
        )
        definitions: dict[str, Any] = {}
        while self.todo:
            name, contents, resolver, where = self.todo.pop()
            definitions[name] = self.schema(contents, resolver, where)
        if definitions:
            self.value = {
                **(self.value if isinstance(self.value, dict) else {}),
                "$defs": definitions,
            }

    def leave_out(self, keyword: str, where: str) -> None:
        self.left_out[f"`{keyword}` at {where}"] = None

    def schema(self, s: Any, resolver: Any, where: str) -> Any:
        """The weaker form of a schema."""
        if not isinstance(s, dict):
            return s if isinstance(s, bool) else True
        if "$id" in s or "id" in s:
            from referencing.jsonschema import specification_with

            resolver = resolver.in_subresource(specification_with(self.draft).create_resource(s))
        if "$ref" in s and any(d in self.draft for d in OLD_DRAFTS):
            s = {"$ref": s["$ref"]}
        out = {
            k: s[k] for k in COPIED if k in s and not (k == "const" and "draft-04" in self.draft)
        }
        self.reference(s, resolver, where, out)
        self.text(s, where, out)
        self.bounds(out)
        if has_many_remainders(out.get("multipleOf")):
            del out["multipleOf"]
            self.leave_out("multipleOf", where)
        for keyword in ("allOf", "anyOf", "oneOf"):
            if keyword in s:
                out[keyword] = [
                    self.schema(p, resolver, f"{where}.{keyword}[{i}]")
                    for i, p in enumerate(s[keyword])
                ]
        self.properties(s, resolver, where, out)
        self.items(s, resolver, where, out)
        self.unfollowed_keywords(s, where, out)
        if s.get("uniqueItems") is True:
            self.distinct(where, out)
        return out

    def reference(self, s: dict[str, Any], resolver: Any, where: str, out: dict[str, Any]) -> None:
        if "$ref" not in s:
            return
        target = resolver.lookup(s["$ref"])
        if isinstance(target.contents, bool):
            out["allOf"] = [target.contents]
            return
        if id(target.contents) not in self.names:
            name = self.names[id(target.contents)] = f"d{len(self.names)}"
            self.kept.append(target.contents)
            place = s["$ref"] if len(s["$ref"]) < 60 else where
            self.todo.append((name, target.contents, target.resolver, place))
        out["$ref"] = f"#/$defs/{self.names[id(target.contents)]}"

    def text(self, s: dict[str, Any], where: str, out: dict[str, Any]) -> None:
        if "pattern" in s:
            pattern, exact = followed_pattern(s["pattern"])
            if pattern is not None:
                out["pattern"] = pattern
            if not exact:
                self.leave_out("pattern", where)
        if self.formats and isinstance(s.get("format"), str) and knows_format(s["format"]):
            out["format"] = s["format"]  # a format that llguidance does not know asserts nothing

    def bounds(self, out: dict[str, Any]) -> None:
        """Writes draft 4's exclusive bounds, a number with `exclusiveMinimum: true` beside it, as
        later drafts do."""
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(out.get(exclusive), bool) and out.pop(exclusive) and bound in out:
                out[exclusive] = out.pop(bound)

    def properties(self, s: dict[str, Any], resolver: Any, where: str, out: dict[str, Any]) -> None:
        named = {
            k: self.schema(p, resolver, f"{where}.{k}") for k, p in s.get("properties", {}).items()
        }
        others = (
            self.schema(s["additionalProperties"], resolver, f"{where}.*")
            if "additionalProperties" in s
            else None
        )
        if len(named) > (MOST_PROPERTIES if self.order else MOST_PATTERNS):
            self.leave_out("properties", where)
            named, others = {}, None
            out.pop("required", None)
        by_pattern: dict[str, Any] = {}
        patterns = {
            pattern: (None, False) if self.many_patterns else followed_pattern(pattern)
            for pattern in s.get("patternProperties", {})
        }
        all_disjoint = disjoint([text for text, exact in patterns.values() if text and exact])
        for pattern, (text, exact) in patterns.items():
            inner = s["patternProperties"][pattern]
            if text is None or not exact or not (all_disjoint or disjoint([*by_pattern, text])):
                # Its keys may have any value: `additionalProperties` must not apply to them.
                self.leave_out("patternProperties", where)
                others = None
            else:
                by_pattern[text] = self.schema(inner, resolver, f"{where}[{pattern}]")
        if not self.order and named:
            named, by_pattern, others = self.unordered(named, by_pattern, others, out, where)
        if named:
            out["properties"] = named
        if by_pattern:
            out["patternProperties"] = by_pattern
        if others is not None:
            out["additionalProperties"] = others

    def unordered(
        self,
        named: dict[str, Any],
        by_pattern: dict[str, Any],
        others: Any,
        out: dict[str, Any],
        where: str,
    ) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Named properties as patterns of keys, since llguidance takes those in any order."""
        keys = {f"^{_quoted(k)}$": p for k, p in named.items()}
        kept = {k: p for k, p in by_pattern.items() if disjoint([*keys, k])}
        required = out.pop("required", [])
        if required:
            self.leave_out("required", where)
            out["minProperties"] = max(len(set(required)), int(out.get("minProperties", 0)))
        if len(kept) < len(by_pattern):
            self.leave_out("patternProperties", where)
            others = None
        return {}, keys | kept, others

    def items(self, s: dict[str, Any], resolver: Any, where: str, out: dict[str, Any]) -> None:
        if "2020-12" in self.draft:
            first, rest = s.get("prefixItems"), s.get("items")
        elif isinstance(s.get("items"), list):
            first, rest = s["items"], s.get("additionalItems")
        else:
            first, rest = None, s.get("items")
        if first:
            out["prefixItems"] = [
                self.schema(p, resolver, f"{where}[{i}]") for i, p in enumerate(first)
            ]
        if rest is not None:
            out["items"] = self.schema(rest, resolver, f"{where}[]")

    def distinct(self, where: str, out: dict[str, Any]) -> None:
        """Writes out `uniqueItems` of lists of few values; of others it bounds the length."""
        lists = distinct_lists(out, MOST_LISTS - self.written_out)
        if lists is not None:
            self.written_out += len(lists)
            out.clear()
            out["anyOf"] = lists
            return
        self.leave_out("uniqueItems", where)
        values = item_values(out.get("items"))
        if values is not None:
            longest = len(values) + len(out.get("prefixItems", ()))
            out["maxItems"] = min(longest, out.get("maxItems", longest))

    def unfollowed_keywords(self, s: dict[str, Any], where: str, out: dict[str, Any]) -> None:
        for keyword in LEFT_OUT:
            if keyword in s:
                self.leave_out(keyword, where)
        if "if" in s and ("then" in s or "else" in s):
            self.leave_out("if", where)
        if "contains" in s and "draft-04" not in self.draft:
            counted = not any(d in self.draft for d in OLD_DRAFTS)
            out["minItems"] = max(s.get("minItems", 0), s.get("minContains", 1) if counted else 1)


def _quoted(key: str) -> str:
    return "".join(c if c.isalnum() or c in "_ " else f"\\u{{{ord(c):x}}}" for c in key)


@lru_cache(maxsize=256)
def followed_pattern(pattern: str) -> tuple[str | None, bool]:
    """(a pattern that llguidance follows and that matches wherever this one does, None if there is
    none; whether it matches nowhere else)."""
    if _follows(pattern):
        return pattern, True
    try:
        text, exact = weaker_search(python_pattern(pattern))
    except (Unsupported, re.error):
        return None, False
    return (text, exact) if _follows(text) else (None, False)


def _follows(pattern: str) -> bool:
    return not compile_error(json_grammar({"type": "string", "pattern": pattern}))


@lru_cache(maxsize=256)
def knows_format(name: str) -> bool:
    """Whether llguidance knows a `format` of texts."""
    return not compile_error(json_grammar({"type": "string", "format": name}))


def disjoint(patterns: list[str]) -> bool:
    """Whether llguidance follows a `patternProperties` with all of these patterns."""
    return len(patterns) < 2 or not compile_error(
        json_grammar({"type": "object", "patternProperties": dict.fromkeys(patterns, True)})
    )
