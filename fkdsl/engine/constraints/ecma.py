r"""Patterns of JSON schemas, which are ECMA-262's, written as Python's `re` reads them.

>>> python_pattern(r"^[^]\u{1f600}\cA$") == "^[\\s\\S]\\U0001f600\\x01\\Z"
True
>>> python_pattern(r"(?<y>\d+)/\k<y>")
'(?P<y>\\d+)/(?P=y)'

`\p{...}` becomes the class of its characters, as the `regex` library knows them. `\d`, `\w` and
`\s` stay those of Python, and what only Python reads (`(?i)`, `\Z`) stays as it is.
"""

from __future__ import annotations

import re
from functools import lru_cache

import regex

from fkdsl.engine.constraints.charsets import CODE_POINTS, SURROGATES, Charset, charset

_ESCAPES = r"\\[pP]\{[^}]*\}|\\u\{[0-9A-Fa-f]+\}|\\c[A-Za-z]|\\k<[^>]*>|\\0(?![0-9])|\\."
_OUTSIDE = re.compile(
    _ESCAPES + r"|\(\?<(?![=!])|\[\^?\]|\[\^?|\{(?:\d+(?:,\d*)?|,\d+)\}|.", re.DOTALL
)
_INSIDE = re.compile(_ESCAPES + r"|.", re.DOTALL)
_WRITTEN = {"[]": r"(?!)", "[^]": r"[\s\S]", "$": r"\Z", "{": r"\{", "(?<": "(?P<"}
"""Python's writing of some tokens of ECMA-262, outside classes."""


@lru_cache(maxsize=512)
def python_pattern(pattern: str) -> str:
    """The pattern for Python's `re`. Raises re.error for an unknown property or code point."""
    out: list[str] = []
    at, inside = 0, False
    while at < len(pattern):
        match = (_INSIDE if inside else _OUTSIDE).match(pattern, at)
        assert match is not None
        token, at = match[0], match.end()
        if token[:2] in (r"\p", r"\P") and len(token) > 2:
            out.append(_class(token) if inside else f"[{_class(token)}]")
        elif token.startswith("\\"):
            out.append(_escape(token))
        elif inside:
            inside = token != "]"
            out.append(f"\\{token}" if token in "[&~|" else token)
        else:
            inside = token in ("[", "[^")
            out.append(_WRITTEN.get(token, token))
    return "".join(out)


def _escape(token: str) -> str:
    if token.startswith(r"\u{"):
        point = int(token[3:-1], 16)
        if point >= CODE_POINTS:
            raise re.error(f"{token} is no character")
        return f"\\U{point:08x}"
    if token.startswith(r"\c") and len(token) == 3:
        return f"\\x{ord(token[2]) % 32:02x}"
    if token.startswith(r"\k<"):
        return f"(?P={token[3:-1]})"
    return {r"\0": r"\x00", r"\/": "/"}.get(token, token)


@lru_cache(maxsize=64)
def _class(escape: str) -> str:
    r"""The items that replace `\p{...}` or `\P{...}` in a class."""
    try:
        runs = charset(escape)
    except regex.error:
        raise re.error(f"unknown property in {escape}") from None
    return class_items(runs)


def class_items(runs: Charset) -> str:
    """A set as the items between the brackets of a class of Python's `re`."""
    shown = [
        (first, last - 1)
        for first, last in runs
        if last > first and not SURROGATES[0] <= first < SURROGATES[1]
    ]
    return "".join(_point(a) if a == b else f"{_point(a)}-{_point(b)}" for a, b in shown)


def _point(point: int) -> str:
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
