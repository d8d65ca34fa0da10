"""Where a piece of program text stands.

A `Source` is a file's text with its name; a `Span` is a half-open range of it, [start, end),
counted in characters. Lines and columns count from 1, as editors do; a tab is one column.

>>> source = Source("a.fk", "x = 1\\ny = 22\\n")
>>> span = Span(source, 10, 12)
>>> span.line, span.column, span.text
(2, 5, '22')
>>> str(span)
'a.fk:2:5'
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import field
from functools import cached_property

from fkdsl.base.quick_dataclass import dataclass


@dataclass(frozen=True, eq=False)
class Source:
    """A program's text and the name it is shown under; compared by identity."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def is_prelude(self) -> bool:
        """Whether it is of the built-ins that are written in the language themselves."""
        return self.name.startswith(PRELUDE)

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """Offset of each line's first character."""
        starts = [0]
        starts.extend(i + 1 for i, c in enumerate(self.text) if c == "\n")
        return tuple(starts)

    def position(self, offset: int) -> tuple[int, int]:
        """(line, column) of an offset, both from 1."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a line (from 1), without its newline."""
        start = self.line_starts[line - 1]
        end = self.line_starts[line] - 1 if line < len(self.line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.source, self.start, max(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"

    def __repr__(self) -> str:
        return f"Span({self})"


PRELUDE = "<prelude>"
"""The name of the source that holds the built-ins which are written in the language themselves."""
NOWHERE = Span(Source("<built in>", ""), 0, 0)
"""The span of what no user wrote."""
