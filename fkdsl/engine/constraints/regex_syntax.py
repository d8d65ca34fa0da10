r"""The syntax of the `regex` library, rewritten as Python's `re` reads it.

>>> python_syntax(r"(?<mm>\d{2})")
'(?P<mm>\\d{2})'
>>> python_syntax(r"[\p{Nd}_]") == python_syntax(r"[\p{Nd}_]") != r"[\p{Nd}_]"
True
"""

from __future__ import annotations

import re

import regex

from fkdsl.engine.constraints.charsets import charset
from fkdsl.engine.constraints.ecma import class_items

_TOKEN = re.compile(r"\\[pP](?:\{\^?[^}]*\}|[A-Z])|\\.|\(\?<(?![=!])|\[\^?\]?|.", re.DOTALL)


def python_syntax(pattern: str) -> str:
    """The pattern with its named groups and its properties of characters in the syntax of Python's
    `re`. Raises regex.error for an unknown property, ValueError for a property under the flag i."""
    out: list[str] = []
    inside = False
    for match in _TOKEN.finditer(pattern):
        token = match[0]
        if token[:2] in (r"\p", r"\P") and len(token) > 2:
            if _IGNORES_CASE.search(pattern):
                raise ValueError("a property of characters beside the flag i")
            items = class_items(charset(token))
            out.append(items if inside else f"[{items}]")
        elif token == "(?<" and not inside:
            out.append("(?P<")
        elif token.startswith("[") and not inside:
            inside = True
            out.append(token)
        else:
            inside = inside and token != "]"
            out.append(token)
    return "".join(out)


_IGNORES_CASE = regex.compile(r"\(\?[a-zA-Z]*i")
