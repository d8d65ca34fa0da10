"""Lone surrogates. A Python str can hold half of a UTF-16 pair, which no UTF-8 text can, so no text
of the language has one. They come from command-line bytes that are not UTF-8, and from `\\ud800` in
JSON.

>>> first_surrogate("ab" + chr(0xD800))
2
>>> without_surrogates(chr(0xD800) + "!") == chr(0xFFFD) + "!"
True
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def first_surrogate(text: str) -> int | None:
    """The index of the first surrogate of a text, or None."""
    match = _SURROGATE.search(text)
    return match.start() if match else None


def without_surrogates(text: str) -> str:
    """The text with U+FFFD, the replacement character, for each surrogate."""
    return _SURROGATE.sub("\ufffd", text)
