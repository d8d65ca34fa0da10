"""A schema without the places at which llguidance fails for reasons of its own: too large, too
deep, too ambiguous.

>>> relaxed({"properties": {"a": {"pattern": "("}, "b": {"type": "null"}}}, lambda s: "(" not in str(s))
({'properties': {'a': {}, 'b': {'type': 'null'}}}, ['$.properties.a.pattern'])

Each demand that is left out weakens the schema; where others lean on it they go too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

SchemaPath = tuple[str | int, ...]
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
BY_NAME = ("properties", "patternProperties", "$defs")
SINGLE = ("items", "additionalProperties")
LEANS = {"patternProperties": ("additionalProperties",), "properties": ("additionalProperties",),
         "prefixItems": ("items",)}  # fmt: skip
"""What is asked of whatever the other keyword does not name."""
WORK = 2_000_000
"""Characters of schemas that are tried, all in all."""


def relaxed(schema: Any, follows: Callable[[Any], bool]) -> tuple[Any, list[str]]:
    """(the schema or a weaker one that is followed, the places that were left out); true where
    nothing is."""
    return _Search(schema, follows).found()


class _Search:
    def __init__(self, schema: Any, follows: Callable[[Any], bool]) -> None:
        self.follows, self.work = follows, WORK
        self.whole, self.now = schema, _bare(schema)
        self.left: list[str] = []

    def found(self) -> tuple[Any, list[str]]:
        if self.asks(self.whole):
            return self.whole, []
        self.grow((), self.whole)
        return self.now, self.left

    def asks(self, schema: Any) -> bool:
        self.work -= len(str(schema)) + 1_000
        return self.work >= 0 and self.follows(schema)

    def grow(self, path: SchemaPath, node: Any) -> None:
        """The schema at a path, as much of it as is followed; the rest of `now` stays."""
        own = _bare(node)
        if not self.place({path: own}):
            own = self.without_keywords(path, own)
        self.add([(path + p, inner) for p, inner in _children(node) if _holds(own, p)])

    def without_keywords(self, path: SchemaPath, own: Any) -> Any:
        """The demands of one schema that are followed, found one by one."""
        kept: dict[str, Any] = (
            {k: v for k, v in own.items() if k == "$defs"} if isinstance(own, dict) else {}
        )
        for keyword in [k for k in own if k != "$defs"] if isinstance(own, dict) else []:
            if any(keyword in LEANS.get(k, ()) and k not in kept for k in own):
                self.left.append(_shown((*path, keyword)))
            elif self.place({path: {**kept, keyword: own[keyword]}}):
                kept[keyword] = own[keyword]
            else:
                self.left.append(_shown((*path, keyword)))
        return kept

    def add(self, children: list[tuple[SchemaPath, Any]]) -> None:
        """Puts schemas where they belong: all at once, or by halves as far as they are followed."""
        if not children or self.place(dict(children)):
            return
        if len(children) > 1:
            self.add(children[: len(children) // 2])
            self.add(children[len(children) // 2 :])
        elif isinstance(children[0][1], dict) and self.work > 0:
            before = len(self.left)
            self.grow(*children[0])
            if len(self.left) == before:
                self.left.append(_shown(children[0][0]))
        else:
            self.left.append(_shown(children[0][0]))

    def place(self, changes: dict[SchemaPath, Any]) -> bool:
        """Whether the schema so far is followed with these places filled; then they are."""
        tried = copy.deepcopy(self.now) if () not in changes else changes[()]
        for path, value in changes.items():
            if path:
                at = tried
                for step in path[:-1]:
                    at = at[step]
                at[path[-1]] = value
        if not self.asks(tried):
            return False
        self.now = copy.deepcopy(tried)
        return True


def _children(node: Any) -> list[tuple[SchemaPath, Any]]:
    if not isinstance(node, dict):
        return []
    found: list[tuple[SchemaPath, Any]] = [
        ((k, name), inner) for k in BY_NAME for name, inner in node.get(k, {}).items()
    ]
    found += [((k, i), inner) for k in LISTS for i, inner in enumerate(node.get(k, []))]
    return found + [((k,), node[k]) for k in SINGLE if k in node]


def _holds(own: Any, path: SchemaPath) -> bool:
    return isinstance(own, dict) and path[0] in own


def _bare(node: Any) -> Any:
    """A schema with every schema within it made true."""
    if not isinstance(node, dict):
        return node
    bare = dict(node)
    for k in BY_NAME:
        if k in node:
            bare[k] = {key: {} for key in node[k]}
    for k in LISTS:
        if k in node:
            bare[k] = [{} for _ in node[k]]
    return {k: {} if k in SINGLE else v for k, v in bare.items()}


def _shown(path: SchemaPath) -> str:
    return "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
