"""Schemas of values within a JSON value, by the path that leads there: names of properties, and
places in lists.

>>> schema = {"properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
...           "$defs": {"n": {"type": "integer"}}}
>>> schema_at(schema, ("a", 1), schema)
{'type': 'integer'}
>>> put(schema, ("a", 0), False, schema)["properties"]["a"]
{'type': 'array', 'items': {'$ref': '#/$defs/n'}, 'prefixItems': [False], 'minItems': 1}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

Path = tuple[str | int, ...]
ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
     "$comment"}
)  # fmt: skip
"""Keywords that say nothing of a value."""
SHARED = ("$schema", "$defs", "definitions")
"""Keywords that stand once, beside an `anyOf` of copies of a schema."""
MOST_REFERENCES = 8
"""Most references that lead from one to the next."""
MOST_PLACES = 32
"""A place in a list that is further from its beginning is not told apart."""


def resolved(schema: Any, root: Any) -> Any:
    """A schema without the `$ref` that it consists of, as far as it is to a definition of the
    whole; None where it is to something else.

    An `allOf` of one schema stands for that.
    """
    shared: dict[str, Any] = {}
    for _ in range(MOST_REFERENCES):
        if not isinstance(schema, dict):
            return schema
        match [k for k in schema if k not in ANNOTATIONS and k not in SHARED]:
            case ["allOf"] if isinstance(schema["allOf"], list) and len(schema["allOf"]) == 1:
                inner = schema["allOf"][0]
            case ["$ref"]:
                inner = _definition(schema["$ref"], root)
            case _:
                return None if "$ref" in schema else {**shared, **schema} if shared else schema
        shared |= {k: schema[k] for k in SHARED if k in schema}
        schema = inner
    return None


def _definition(reference: Any, root: Any) -> Any:
    match = re.fullmatch(r"#/(\$defs|definitions)/([^/]+)", str(reference))
    if match is None or not isinstance(root, dict) or '"$id"' in json.dumps(root):
        return None
    name = unquote(match[2]).replace("~1", "/").replace("~0", "~")
    definitions = root.get(match[1])
    return definitions.get(name) if isinstance(definitions, dict) else None


def schema_at(schema: Any, path: Path, root: Any) -> Any:
    """The schema of a value at a path; None where it is not written out."""
    for step in path:
        schema = resolved(schema, root)
        if not isinstance(schema, dict):
            return None
        if isinstance(step, str):
            properties = schema.get("properties")
            schema = properties.get(step) if isinstance(properties, dict) else None
        else:
            first, rest = items_of(schema, root)
            at = step if 0 <= step < MOST_PLACES else -1
            schema = None if first is None or at < 0 else first[at] if at < len(first) else rest
    return resolved(schema, root)


def items_of(schema: Mapping[str, Any], root: Any) -> tuple[list[Any] | None, Any]:
    """(the schemas of the first items of a list, that of the others); None for the first where the
    schema is of a draft that writes them otherwise."""
    first, rest = schema.get("prefixItems", []), schema.get("items", True)
    draft = root.get("$schema", "2020-12") if isinstance(root, dict) else "2020-12"
    if "2020-12" not in str(draft) or not isinstance(first, list) or isinstance(rest, list):
        return None, True
    return first, rest


def put(schema: Any, path: Path, inner: Any, root: Any) -> Any:
    """A schema with another one for the value at a path, which must be there."""
    if not path:
        return inner
    schema, step = resolved(schema, root), path[0]
    if isinstance(step, str):
        properties = schema["properties"]
        of_step = put(properties[step], path[1:], inner, root)
        required = schema.get("required", [])
        more = {} if step in required else {"required": [*required, step]}
        return {**schema, "properties": {**properties, step: of_step}, **more}
    first, rest = items_of(schema, root)
    assert first is not None
    first = [*first, *[rest] * (step + 1 - len(first))]
    first[step] = put(first[step], path[1:], inner, root)
    return {**schema, "prefixItems": first, "minItems": max(schema.get("minItems", 0), step + 1)}
