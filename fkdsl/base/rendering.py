"""Mistakes of a program and other errors as text; no other module writes `= help:`.

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
>>> print(error_text("every particle died", ["step 3: 16 died at a.fk:4:5"], "use more particles"))
every particle died
  step 3: 16 died at a.fk:4:5
  = help: use more particles
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.shown import shown

SHOWN_WIDTH = 120
"""Characters of a source line that are shown; a longer line is cut around the caret."""


def error_text(message: str, facts: Sequence[str] = (), help: str = "") -> str:
    """An error's message, then its facts and its help, a line each. Characters that steer a
    terminal are still in it."""
    lines = [message, *(f"  {fact}" for fact in facts)]
    if help:
        lines.append(f"  = help: {help}")
    return "\n".join(lines)


def _shown_line(text: str, column: int) -> tuple[str, int]:
    """The part of a source line to print, and the caret's column (from 1) in it; tabs and controls
    become spaces."""
    text = "".join(c if c.isprintable() else " " for c in text)
    if len(text) <= SHOWN_WIDTH:
        return text, column
    start = max(0, column - 1 - SHOWN_WIDTH // 2)
    middle = text[start : start + SHOWN_WIDTH]
    head = "..." if start else ""
    tail = "..." if start + SHOWN_WIDTH < len(text) else ""
    return head + middle + tail, column - start + len(head)


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
        text, column = _shown_line(span.source.line_text(span.line), span.column)
        first_line = span.text.split("\n", 1)[0]
        width = max(1, min(len(first_line), max(1, len(text) - column + 1)))
        lines.append(f" {number} | {text}".rstrip())
        lines.append(
            f"{' ' * gutter}| {' ' * (column - 1)}{'^' * width} {diagnostic.label}".rstrip()
        )
    lines.extend(f"{' ' * gutter}= note: {note}" for note in diagnostic.notes)
    if diagnostic.help:
        lines.append(f"{' ' * gutter}= help: {diagnostic.help}")
    return shown("\n".join(lines))


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    """Every diagnostic, a blank line between, in the order of their places."""
    ordered = sorted(diagnostics, key=lambda d: (d.span.source.name, d.span.start, d.code))
    return "\n\n".join(render(d) for d in ordered)
