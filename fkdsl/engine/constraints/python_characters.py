"""Single characters of patterns that Python's `re` has parsed."""

from __future__ import annotations

import re
from typing import Any

from fkdsl.engine.constraints.charsets import Charset, charset
from fkdsl.engine.constraints.pattern_trees import Unsupported

_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def characters(name: str, value: Any, flags: int) -> Charset:
    """The characters that one item of a parsed pattern matches, by the `regex` library."""
    letters = "".join(
        c for c, flag in (("i", re.IGNORECASE), ("s", re.DOTALL), ("a", re.ASCII)) if flags & flag
    )
    prefix = f"(?{letters})" if letters else ""
    if name == "ANY":
        return charset(prefix + ".")
    if name == "IN":
        return charset(f"{prefix}[{''.join(_class_item(str(op), v) for op, v in value)}]")
    return charset(f"{prefix}[{'^' if name == 'NOT_LITERAL' else ''}{_escaped(value)}]")


def _class_item(name: str, value: Any) -> str:
    match name:
        case "NEGATE":
            return "^"
        case "LITERAL":
            return _escaped(value)
        case "RANGE":
            return f"{_escaped(value[0])}-{_escaped(value[1])}"
        case "CATEGORY" if str(value) in _CATEGORIES:
            return _CATEGORIES[str(value)]
    raise Unsupported(f"a class with {name.lower()}")


def _escaped(point: int) -> str:
    if 0xD800 <= point < 0xE000:
        raise Unsupported("a surrogate")
    return f"\\U{point:08x}"
