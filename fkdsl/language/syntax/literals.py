"""The values of string and number literals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from fkdsl.base.diagnostics import Diagnostic, Edit
from fkdsl.base.spans import Source, Span

_SIMPLE = {
    "n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "0": "\0", "a": "\a",
    "b": "\b", "f": "\f",
    "v": "\v", "\n": "",
}  # fmt: skip
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPE = re.compile(r"\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[\s\S])")


def number(text: str) -> int | float:
    """An int or a float; the lexer has seen that it is one."""
    text = text.replace("_", "")
    if text[:2].lower() == "0x":
        return int(text, 16)
    return float(text) if any(c in text for c in ".eE") else int(text)


def is_finite(text: str) -> bool:
    """Whether a number with a point or an exponent is one that a float can hold."""
    value = number(text)
    return isinstance(value, int) or math.isfinite(value)


def split_string(text: str) -> tuple[str, int, int]:
    """(prefix in lower case, where the body begins, where it ends) of a string literal."""
    prefix = text[: len(text) - len(text.lstrip("rRfF"))].lower()
    quote = (
        3
        if text[len(prefix) : len(prefix) + 3] in ("'''", '"""') and len(text) - len(prefix) >= 6
        else 1
    )
    return prefix, len(prefix) + quote, len(text) - quote


def unescape(source: Source, start: int, stop: int, report: Callable[[Diagnostic], None]) -> str:
    """The text between two offsets with its escapes resolved; one that is none, or that is half of
    a character (a surrogate, which no text in UTF-8 has), is reported."""

    def value(match: re.Match[str]) -> str:
        body = match.group(1)
        if body in _SIMPLE:
            return _SIMPLE[body]
        code = int(body[1:], 16) if body[0] in _HEX and len(body) > 1 else -1
        if 0 <= code < 0x110000 and not 0xD800 <= code < 0xE000:
            return chr(code)
        at = start + match.start()
        span = Span(source, at, at + len(match.group()))
        message, help = (
            f"`\\{body}` is no escape",
            'write `\\\\` for a backslash, or a raw string r"..."',
        )
        if 0xD800 <= code < 0xE000:
            message = f"`\\{body}` is half of a character (a surrogate), which no text has"
            help = "write the character itself, or its whole code as eight digits: `\\U0001F600`"
            change: tuple[Edit, ...] = ()
        else:
            change = (Edit(span, f"\\{match.group()}"),)
        report(Diagnostic("FK111", message, span, "here", help, edits=change))
        return body

    return _ESCAPE.sub(value, source.text[start:stop])
