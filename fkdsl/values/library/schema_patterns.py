"""The patterns of a JSON schema, which ECMA-262 defines, in the syntax of Python's `re`.

>>> with_python_patterns({"pattern": "^a$", "const": {"pattern": "^a$"}})
{'pattern': '^a\\\\Z', 'const': {'pattern': '^a$'}}
"""

from __future__ import annotations

import re
from typing import Any

from fkdsl.engine.constraints.ecma import python_pattern

VALUES = ("const", "enum", "default", "examples")
"""Keywords whose values are JSON values, no schemas."""
SCHEMAS_BY_NAME = ("properties", "$defs", "definitions", "dependentSchemas", "dependencies")
"""Keywords whose values have schemas by name."""


def with_python_patterns(schema: Any, where: str = "$") -> Any:
    """The schema with all its patterns rewritten for Python's `re`. Raises ValueError for a pattern
    with an unknown property of characters."""
    if isinstance(schema, list):
        return [with_python_patterns(s, f"{where}[{i}]") for i, s in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    return {k: _value(k, v, f"{where}.{k}") for k, v in schema.items()}


def _value(keyword: str, value: Any, where: str) -> Any:
    if keyword in VALUES:
        return value
    if keyword == "pattern" and isinstance(value, str):
        return _pattern(value, where)
    if keyword == "patternProperties" and isinstance(value, dict):
        return {_pattern(k, where): with_python_patterns(v, where) for k, v in value.items()}
    if keyword in SCHEMAS_BY_NAME and isinstance(value, dict):
        return {k: with_python_patterns(v, f"{where}.{k}") for k, v in value.items()}
    return with_python_patterns(value, where)


def _pattern(pattern: str, where: str) -> str:
    try:
        return python_pattern(pattern)
    except re.error as error:
        raise ValueError(f"{error} at {where}") from None
