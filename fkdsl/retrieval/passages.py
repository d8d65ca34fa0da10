"""A text cut into passages: paragraphs, of which each knows the line that it begins at.

A heading belongs to the paragraph after it. A paragraph of more than `size` characters is cut where
a sentence ends, else at a space, else anywhere. Every passage is a part of the text as it stands,
without the white space around it.

>>> text = "# Tides\\n\\nTwo a day.\\n\\n\\nThe moon.\\n"
>>> [(p.line, p.text) for p in paragraphs(text, "t.md", 80)]
[(1, '# Tides\\n\\nTwo a day.'), (6, 'The moon.')]
>>> [p.text for p in paragraphs("One two. Three four. Five.", "t.md", 12)]
['One two.', 'Three four.', 'Five.']
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from fkdsl.base.deadline import check
from fkdsl.base.quick_dataclass import dataclass

_PARAGRAPH = re.compile(r"\S(?:[^\n]|\n(?![ \t\r]*(?:\n|\Z)))*")
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f]['\")\]]*(?=\s)|\n")
_LINE_END = re.compile(r"\n")
_SPACE = re.compile(r"\s")


@dataclass(frozen=True)
class Passage:
    """A part of a file. source: the file's name, relative to the program's folder, with `/`. line:
    the line that the text begins at, from 1; of a table in a database, the row."""

    text: str
    source: str
    line: int


class FileMark(NamedTuple):
    """What tells whether a file has changed: its size, when it was changed (ns), and the sha256 of
    its content in hex ("" where it is no text)."""

    size: int
    changed: int
    digest: str


def paragraphs(text: str, source: str, size: int) -> Iterator[Passage]:
    """The passages of a text, each of at most `size` characters, in order."""
    line_ends = [m.start() for m in _LINE_END.finditer(text)]
    for start, end in _with_headings(text):
        check()
        for begin, stop in _cut(text, start, end, size):
            yield Passage(text[begin:stop], source, bisect_right(line_ends, begin - 1) + 1)


def row_passages(text: str, source: str, line: int, size: int) -> Iterator[Passage]:
    """The passages of a row of a table: one, unless it has more than `size` characters."""
    stripped = text.strip()
    for begin, stop in _cut(stripped, 0, len(stripped), size):
        yield Passage(stripped[begin:stop], source, line)


def _with_headings(text: str) -> Iterator[tuple[int, int]]:
    """Where each paragraph begins and ends, the headings before it included."""
    first: int | None = None
    end = 0
    for match in _PARAGRAPH.finditer(text):
        first = match.start() if first is None else first
        end = match.start() + len(match.group().rstrip())
        if match.group().startswith("#") and "\n" not in match.group().rstrip():
            continue
        yield first, end
        first = None
    if first is not None:
        yield first, end


def _cut(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """[start, end) in parts of at most `size` characters, none of which begins or ends with white
    space."""
    while end - start > size:
        stop = _last(_SENTENCE_END, text, start, start + size + 1)
        stop = stop or _last(_SPACE, text, start, start + size + 1) or start + size
        part = text[start:stop]
        if part.strip():
            yield start, start + len(part.rstrip())
        start = stop
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end


def _last(pattern: re.Pattern[str], text: str, start: int, end: int) -> int | None:
    """Where the last match in [start, end) ends, None where there is none that leaves something."""
    ends = [m.end() for m in pattern.finditer(text, start, end)]
    ends = [e for e in ends if start < e < end]
    return ends[-1] if ends else None
