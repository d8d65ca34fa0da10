"""Indentation: which lines begin and end a block."""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.spans import Span

MAX_BLOCKS = 40


class Layout:
    """The open blocks' indentations. A file indents by spaces or by tabs, never both."""

    def __init__(self, span: Callable[[int, int], Span], diagnostics: list[Diagnostic]) -> None:
        self._span, self._diagnostics = span, diagnostics
        self._open = [0]
        self._unit = ""
        self._taken: dict[int, int] = {}

    @property
    def depth(self) -> int:
        """Blocks that are open."""
        return len(self._open) - 1

    def line(self, white: str, at: int) -> list[str]:
        """INDENT or DEDENTs before a line that begins with the given white space at offset `at`."""
        width = len(white)
        for c in " \t":
            if c in white:
                self._unit = self._unit or c
        if white.strip(self._unit or " "):
            names = {" ": "spaces", "\t": "tabs"}
            used, other = names[self._unit], names["\t" if self._unit == " " else " "]
            self._error(
                "FK106",
                f"this line is indented by {other}, the file by {used}",
                at,
                width,
                f"use {used} only",
            )
            width = len(white.expandtabs(4))
            self._unit = ""
        width = self._taken.get(width, width)
        if width > self._open[-1]:
            if len(self._open) > MAX_BLOCKS:
                message = f"blocks nested more than {MAX_BLOCKS} deep"
                self._error("FK109", message, at, width, "move the inner part into a `def`")
                return []
            self._open.append(width)
            return ["INDENT"]
        kinds = []
        closed = 0
        while width < self._open[-1]:
            closed = self._open.pop()
            kinds.append("DEDENT")
        if width != self._open[-1]:
            # Further lines with this indentation go to the same block.
            nearest = min({*self._open, closed}, key=lambda level: (abs(level - width), -level))
            self._taken[width] = nearest
            if nearest == closed:
                self._open.append(closed)
                kinds.pop()
            levels = " or ".join(str(n) for n in sorted({*self._open, self._open[-1]}))
            message = f"this line is indented by {width}, which matches no open block"
            self._error("FK105", message, at, len(white), f"indent it by {levels}")
        return kinds

    def close(self) -> int:
        """How many blocks are open at the end; they are closed."""
        n = self.depth
        self._open = [0]
        return n

    def _error(self, code: str, message: str, at: int, width: int, help: str) -> None:
        self._diagnostics.append(
            Diagnostic(code, message, self._span(at, at + max(width, 1)), "here", help)
        )
