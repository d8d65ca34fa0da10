"""What was drawn, and what else might have been, as a page holds it: each text, place and list of
alternatives once, by number, since a population draws the same tokens over and over."""

from __future__ import annotations

from typing import Any

from fkdsl.api.trace.replay import excerpt
from fkdsl.base.shown import shown
from fkdsl.base.spans import Span
from fkdsl.machine.state import Alternatives
from fkdsl.values.documents import Document
from fkdsl.values.values import Token, show

MOST_VALUE = 2000
"""Characters of a value that are shown."""


def text_of(value: Any) -> str:
    """A value as the page shows it, control characters escaped; a document by its place, since the
    page lists what stands there."""
    match value:
        case Token(end=False):
            text = shown(value.text)
        case Document():
            text = shown(f"[{value['source']}:{value['line']}]")
        case _:
            text = shown(show(value))
    return text if len(text) <= MOST_VALUE else text[:MOST_VALUE] + "..."


class NumberedPlaces:
    """Places of the program, each once, by number."""

    def __init__(self) -> None:
        self._numbers: dict[Span, int] = {}

    def number(self, span: Span) -> int:
        return self._numbers.setdefault(span, len(self._numbers))

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {"file": span.source.name, "line": span.line, "source": excerpt(span)}
            for span in self._numbers
        ]


class Draws:
    """Texts of drawn values and lists of alternatives, each once, by number."""

    def __init__(self, places: NumberedPlaces) -> None:
        self.places = places
        self._strings: dict[str, int] = {}
        self._alternatives: dict[tuple[float, ...], int] = {}

    def string(self, value: Any) -> int:
        return self._strings.setdefault(text_of(value), len(self._strings))

    def number(self, a: Alternatives | None) -> int:
        """-1 for a draw whose outcomes could not be listed."""
        if a is None:
            return -1
        row: list[float] = [a.drawn]
        for value, p, refusal in zip(a.values, a.probabilities, a.refused, strict=True):
            by = -1 if refusal is None else 2 * self.places.number(refusal.place) + refusal.tried
            row += [self.string(value), p, by]
        return self._alternatives.setdefault(tuple(row), len(self._alternatives))

    def strings(self) -> list[str]:
        return list(self._strings)

    def alternatives(self) -> list[list[float]]:
        """Of each list: which of them was drawn (-1: none), then of each the number of its text,
        its probability, and why it could not be: -1, or twice the number of the place that refused
        it, 1 more where a trial met it and not a mask."""
        return [list(row) for row in self._alternatives]
