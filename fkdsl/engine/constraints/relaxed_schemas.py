"""A schema without the parts at which llguidance fails for reasons of its own: too large, too deep,
too ambiguous.

>>> schema = {"properties": {"a": {"pattern": "("}, "b": {"type": "null"}}}
>>> relaxed(schema, follows=lambda s: "(" not in str(s))
({'properties': {'a': {}, 'b': {'type': 'null'}}}, ['$.properties.a.pattern'])

Leaving a keyword out makes a schema weaker. Some keywords apply to what another one does not name
(DEPENDENT); they are left out together with it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

SchemaPath = tuple[str | int, ...]
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
BY_NAME = ("properties", "patternProperties", "$defs")
SINGLE = ("items", "additionalProperties")
DEPENDENT = {
    "patternProperties": ("additionalProperties",),
    "properties": ("additionalProperties",),
    "prefixItems": ("items",),
}
"""For each keyword those that apply to what it does not name."""
WORK = 2_000_000
"""Most characters of schemas that are tried, all tries together."""


def relaxed(schema: Any, follows: Callable[[Any], bool]) -> tuple[Any, list[str]]:
    """(the schema, or a weaker one for which `follows` is true; the places that were left out)."""
    return _Search(schema, follows).result()


class _Search:
    def __init__(self, schema: Any, follows: Callable[[Any], bool]) -> None:
        self.follows, self.work = follows, WORK
        self.whole, self.now = schema, _bare(schema)
        self.left_out: list[str] = []

    def result(self) -> tuple[Any, list[str]]:
        if self.is_followed(self.whole):
            return self.whole, []
        self.grow((), self.whole)
        return self.now, self.left_out

    def is_followed(self, schema: Any) -> bool:
        """Whether a schema is followed; False once the tries come to more than WORK characters."""
        self.work -= len(str(schema)) + 1_000
        return self.work >= 0 and self.follows(schema)

    def grow(self, path: SchemaPath, node: Any) -> None:
        """Puts as much of a schema at a path of `now` as is followed."""
        own = _bare(node)
        if not self.place({path: own}):
            own = self.without_keywords(path, own)
        self.add([(path + p, inner) for p, inner in _children(node) if _holds(own, p)])

    def without_keywords(self, path: SchemaPath, own: Any) -> Any:
        """The keywords of one schema that are followed, tried one after the other."""
        kept: dict[str, Any] = (
            {k: v for k, v in own.items() if k == "$defs"} if isinstance(own, dict) else {}
        )
        for keyword in [k for k in own if k != "$defs"] if isinstance(own, dict) else []:
            if any(keyword in DEPENDENT.get(k, ()) and k not in kept for k in own):
                self.left_out.append(_shown((*path, keyword)))
            elif self.place({path: {**kept, keyword: own[keyword]}}):
                kept[keyword] = own[keyword]
            else:
                self.left_out.append(_shown((*path, keyword)))
        return kept

    def add(self, children: list[tuple[SchemaPath, Any]]) -> None:
        """Puts schemas at their paths in `now`: all at once if that is followed, else by halves."""
        if not children or self.place(dict(children)):
            return
        if len(children) > 1:
            self.add(children[: len(children) // 2])
            self.add(children[len(children) // 2 :])
        elif isinstance(children[0][1], dict) and self.work > 0:
            before = len(self.left_out)
            self.grow(*children[0])
            if len(self.left_out) == before:
                self.left_out.append(_shown(children[0][0]))
        else:
            self.left_out.append(_shown(children[0][0]))

    def place(self, changes: dict[SchemaPath, Any]) -> bool:
        """Puts values at paths of `now` if the result is followed; whether it is."""
        tried = copy.deepcopy(self.now) if () not in changes else changes[()]
        for path, value in changes.items():
            if path:
                at = tried
                for step in path[:-1]:
                    at = at[step]
                at[path[-1]] = value
        if not self.is_followed(tried):
            return False
        self.now = copy.deepcopy(tried)
        return True


def _children(node: Any) -> list[tuple[SchemaPath, Any]]:
    if not isinstance(node, dict):
        return []
    children: list[tuple[SchemaPath, Any]] = [
        ((k, name), inner) for k in BY_NAME for name, inner in node.get(k, {}).items()
    ]
    children += [((k, i), inner) for k in LISTS for i, inner in enumerate(node.get(k, []))]
    return children + [((k,), node[k]) for k in SINGLE if k in node]


def _holds(own: Any, path: SchemaPath) -> bool:
    return isinstance(own, dict) and path[0] in own


def _bare(node: Any) -> Any:
    """A schema with each of its subschemas replaced by one that allows everything."""
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
