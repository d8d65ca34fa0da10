"""A mistake of a program, as data. rendering.py turns it into text.

>>> near_name("max_leters", ["max_letters", "max_tokens"])
'max_letters'
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span


@dataclass(frozen=True)
class Edit:
    """A change of a program's text: `text` in place of what stands in the span."""

    span: Span
    text: str


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: a code, a message, a place, a label under the caret, and one thing to try.

    edits: the thing to try as a change of the text, where that is certain; none elsewhere. No two
    of them touch the same characters.
    """

    code: str
    message: str
    span: Span
    label: str = ""
    help: str = ""
    notes: tuple[str, ...] = ()
    severity: Literal["error", "warning"] = "error"
    edits: tuple[Edit, ...] = ()


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with every edit made; their spans are places in it."""
    for edit in sorted(edits, key=lambda e: e.span.start, reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


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
    letters), or one that differs in capitals alone; None."""
    same = next((k for k in known if k != name and k.lower() == name.lower()), None)
    if same is not None:
        return same
    reach = 1 if len(name) <= 3 else 2
    ranked = sorted(
        (edit_distance(name, k), -difflib.SequenceMatcher(None, name, k).ratio(), k)
        for k in set(known)
        if k != name
    )
    return ranked[0][2] if ranked and 1 <= ranked[0][0] <= reach else None
