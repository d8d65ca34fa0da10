"""The changes that mistakes propose, where what to try is certain."""

from __future__ import annotations

from fkdsl.base.diagnostics import Diagnostic, Edit
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.editor.analysis import Analysis


@dataclass(frozen=True)
class Action:
    """A change of this text that removes a mistake. title: the mistake's help."""

    title: str
    diagnostic: Diagnostic
    edits: tuple[Edit, ...]


def actions(analysis: Analysis, start: int, end: int) -> list[Action]:
    """What can be changed for the mistakes that touch a range."""
    found = []
    for d in dict.fromkeys((*analysis.diagnostics, *analysis.compiled.diagnostics)):
        inside = d.span.source is analysis.source and d.span.start <= end and start <= d.span.end
        here = d.edits and all(e.span.source is analysis.source for e in d.edits)
        if inside and here:
            found.append(Action(d.help or d.message, d, d.edits))
    return found
