"""The mistakes of a program at run time, and the bounds on what a stranger's program may take.

A `Fault` is such a mistake (codes FK4xx). Evaluation raises it with its place; the machine adds the
particle and the step, and raises a ProgramError.
"""

from __future__ import annotations

from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span


class Fault(Exception):
    """A program's mistake at run time. span: its place, filled in by a caller that knows it."""

    def __init__(
        self, code: str, message: str, help: str = "", span: Span | None = None, label: str = ""
    ) -> None:
        self.code, self.message, self.help, self.span, self.label = code, message, help, span, label
        super().__init__(message)

    def at(self, span: Span) -> Fault:
        """This fault, with its place."""
        self.span = span
        return self

    def diagnostic(self, fallback: Span, note: str) -> Diagnostic:
        notes = (note,) if note else ()
        return Diagnostic(
            self.code, self.message, self.span or fallback, self.label or "here", self.help, notes
        )


class NeedRows(Exception):
    """Not a mistake but a request: what an op needs before it can run.

    wanted: rows, as (model name, context) pairs, and rows of drafts, as (model name, DraftQuery)
    pairs. forced: rows that will be needed whatever is drawn. texts: masks that will be needed, as
    (constraint, tokens) pairs.
    """

    def __init__(self, wanted: list[tuple[str, Any]]) -> None:
        self.wanted = wanted
        self.forced: list[tuple[str, Any]] = []
        self.texts: list[tuple[Any, tuple[int, ...]]] = []


@dataclass(frozen=True)
class Limits:
    """Bounds on the work of one particle.

    instructions: between two draws, items of comprehensions included. draws: within one step of a
    program with checkpoints. depth: of calls. size: items of a list or characters of a text.
    digits: bits of an integer; Python writes 4,300 digits of one, which are 14,284 bits.
    memory: bytes of all values and contexts (machine/memory.py).
    """

    instructions: int = 1_000_000
    draws: int = 10_000
    depth: int = 200
    size: int = 10_000_000
    digits: int = 14_000
    memory: int = 256 << 20


INSTRUCTIONS_PER_LOOK = 16
"""The interpreter checks the deadline after so many instructions. Functions that may take long
check it themselves."""
LIMITS = Limits()
