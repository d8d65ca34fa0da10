"""Offsets in a text, and the positions by which editors speak of them: a line and a count of code
units from its beginning, both from 0.

A line ends at a line feed, a carriage return, or both. The units are UTF-16's unless editor and
server have agreed on others.

>>> lines = Lines("a = '\\U0001f600'\\nb")
>>> lines.position(6), lines.offset(0, 7), lines.position(8)
((0, 7), 6, (1, 0))
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Literal

Encoding = Literal["utf-8", "utf-16", "utf-32"]
_END = re.compile(r"\r\n|\n|\r")


class Lines:
    """The lines of a text."""

    def __init__(self, text: str, encoding: Encoding = "utf-16") -> None:
        self.text, self.encoding = text, encoding
        self.ascii = text.isascii()
        ends = [m.span() for m in _END.finditer(text)]
        self.starts = [0, *(end for _, end in ends)]
        self.stops = [*(begin for begin, _ in ends), len(text)]

    def offset(self, line: int, character: int) -> int:
        """The offset of a position. One behind a line's end is taken for the end, one within a
        character for the character, as the protocol says."""
        if line < 0:
            return 0
        if line >= len(self.starts):
            return len(self.text)
        start, stop = self.starts[line], self.stops[line]
        if self.ascii or self.encoding == "utf-32":
            return min(start + max(character, 0), stop)
        at, units = start, 0
        while at < stop and units < character:
            units += self._units(self.text[at])
            at += 1
        return at if units <= max(character, 0) else at - 1

    def position(self, offset: int) -> tuple[int, int]:
        """The line and the character of an offset."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect_right(self.starts, offset) - 1
        start = self.starts[line]
        if self.ascii or self.encoding == "utf-32":
            return line, offset - start
        return line, sum(map(self._units, self.text[start:offset]))

    def _units(self, c: str) -> int:
        if self.encoding == "utf-16":
            return 2 if ord(c) > 0xFFFF else 1
        return len(c.encode("utf-8", "surrogatepass"))
