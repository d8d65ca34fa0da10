"""Where the checker gathers mistakes: none stops the check, and none is reported twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fkdsl.base.diagnostics import Diagnostic, Edit, near_name
from fkdsl.base.spans import Span


class Report:
    """The errors and warnings found so far, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int, int, str], Diagnostic] = {}

    def _add(self, diagnostic: Diagnostic) -> None:
        span = diagnostic.span
        self._found.setdefault(
            (diagnostic.code, id(span.source), span.start, span.end, diagnostic.message), diagnostic
        )

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str = "",
        notes: Sequence[str] = (),
        edits: Sequence[Edit] = (),
    ) -> None:
        self._add(Diagnostic(code, message, span, label, help, tuple(notes), edits=tuple(edits)))

    def given_twice(self, option: str, span: Span) -> None:
        """An option that stands there a second time."""
        message = f"option `{option}` is given twice"
        self.error("FK207", message, span, "again here", "leave one of them out")

    def warning(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str = "",
        edits: Sequence[Edit] = (),
    ) -> None:
        self._add(
            Diagnostic(code, message, span, label, help, severity="warning", edits=tuple(edits))
        )

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        for d in diagnostics:
            self._add(d)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self._found.values() if d.severity == "error")

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self._found.values() if d.severity == "warning")


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """'did you mean `near`?' for a known name at edit distance 1 or 2, else the other advice."""
    near = near_name(name, list(known))
    return f"did you mean `{near}`?" if near else otherwise


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names for a message, in backquotes; a long list is cut."""
    shown = [f"`{n}`" for n in names]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")


def a(type_name: object) -> str:
    """'a `str`', 'an `int`'."""
    text = str(type_name)
    return f"{'an' if text[0] in 'aeiou' else 'a'} `{text}`"


def plural(count: int, noun: str) -> str:
    """'1 argument', '2 arguments'."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
