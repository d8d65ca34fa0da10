"""What is wrong with a program, as data, and its rendering.

A `Diagnostic` says what was found, where, what was expected, and one thing to try. Only `render`
turns it into text.

>>> from fkdsl.base.spans import Source, Span
>>> source = Source("a.fk", "x = 1\\n    y = max_leters\\n")
>>> d = Diagnostic("FK203", "unknown name `max_leters`", Span(source, 14, 24), "not defined here",
...                help="did you mean `max_letters`, a parameter of line 4?")
>>> print(render(d))
error[FK203]: unknown name `max_leters`
  --> a.fk:2:9
 2 |     y = max_leters
   |         ^^^^^^^^^^ not defined here
   = help: did you mean `max_letters`, a parameter of line 4?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fkdsl.base.shown import shown as escaped
from fkdsl.base.spans import Span

SHOWN_WIDTH = 120
"""Characters of a source line that are shown; a longer line is cut around the caret."""


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: a code, a message, a place, a label under the caret, and one thing to try."""

    code: str
    message: str
    span: Span
    label: str = ""
    help: str = ""
    notes: tuple[str, ...] = ()
    severity: Literal["error", "warning"] = "error"


def _shown_line(text: str, column: int) -> tuple[str, int]:
    """The part of a source line to print, and the caret's column (from 1) in it; tabs and controls
    become spaces."""
    text = "".join(c if c.isprintable() else " " for c in text)
    if len(text) <= SHOWN_WIDTH:
        return text, column
    start = max(0, column - 1 - SHOWN_WIDTH // 2)
    shown = text[start : start + SHOWN_WIDTH]
    head = "..." if start else ""
    tail = "..." if start + SHOWN_WIDTH < len(text) else ""
    return head + shown + tail, column - start + len(head)


def render(diagnostic: Diagnostic) -> str:
    """The diagnostic as a terminal shows it, without a final newline."""
    span = diagnostic.span
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"]
    if span.source.text or span.source.name != "<built in>":
        lines.append(f"  --> {span}")
    gutter = 2
    if span.source.text:
        number = str(span.line)
        gutter = len(number) + 2
        shown, column = _shown_line(span.source.line_text(span.line), span.column)
        first_line = span.text.split("\n", 1)[0]
        width = max(1, min(len(first_line), max(1, len(shown) - column + 1)))
        lines.append(f" {number} | {shown}".rstrip())
        lines.append(
            f"{' ' * gutter}| {' ' * (column - 1)}{'^' * width} {diagnostic.label}".rstrip()
        )
    lines.extend(f"{' ' * gutter}= note: {note}" for note in diagnostic.notes)
    if diagnostic.help:
        lines.append(f"{' ' * gutter}= help: {diagnostic.help}")
    return escaped("\n".join(lines))


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    """Every diagnostic, a blank line between, in the order of their places."""
    ordered = sorted(diagnostics, key=lambda d: (d.span.source.name, d.span.start, d.code))
    return "\n\n".join(render(d) for d in ordered)


def edit_distance(a: str, b: str, most: int = 3) -> int:
    """Edits (insert, delete, replace, swap of neighbours) from a to b; `most` stands for that many
    or more."""
    if abs(len(a) - len(b)) >= most:
        return most
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j] + 1, now[j - 1] + 1, row[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            now.append(cost)
        before, row = row, now
    return min(row[-1], most)


def near_name(name: str, known: Sequence[str]) -> str | None:
    """The known name nearest to `name` at edit distance 1 or 2 (1 only for names of up to 3
    letters), or None."""
    reach = 1 if len(name) <= 3 else 2
    ranked = sorted(
        (edit_distance(name, k), -difflib.SequenceMatcher(None, name, k).ratio(), k)
        for k in set(known)
        if k != name
    )
    return ranked[0][2] if ranked and 1 <= ranked[0][0] <= reach else None
