"""What goes wrong while a program runs, and the bounds that keep a stranger's program within
reason.

A `Fault` is the program's mistake at run time (codes FK4xx). Evaluation raises it with the place;
the machine adds the particle and the step and hands it on as a ProgramError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.spans import Span


class Fault(Exception):
    """A program's mistake at run time; `span` is filled in by whoever knows it."""

    def __init__(
        self, code: str, message: str, help: str = "", span: Span | None = None, label: str = ""
    ) -> None:
        self.code, self.message, self.help, self.span, self.label = code, message, help, span, label
        super().__init__(message)

    def at(self, span: Span) -> Fault:
        """The mistake, at a place."""
        self.span = span
        return self

    def diagnostic(self, fallback: Span, note: str) -> Diagnostic:
        notes = (note,) if note else ()
        return Diagnostic(
            self.code, self.message, self.span or fallback, self.label or "here", self.help, notes
        )


class NeedRows(Exception):
    """Not a mistake but a request: what an op needs before it can run.

    wanted: rows, as (model name, context) pairs, and drafts' rows, as (model name, DraftQuery) pairs.
    forced: rows that will be asked for whatever is drawn. texts: masks that will be asked for, as
    (constraint, tokens) pairs.
    """

    def __init__(self, wanted: list[tuple[str, Any]]) -> None:
        self.wanted = wanted
        self.forced: list[tuple[str, Any]] = []
        self.texts: list[tuple[Any, tuple[int, ...]]] = []


@dataclass(frozen=True)
class Limits:
    """Bounds on one particle's work.

    instructions: between two draws, comprehension items included. draws: within one step of a
    program that has checkpoints. depth: of calls. size: items of a list, or characters of a text.
    digits: bits of an integer. memory: bytes of all its values and contexts together (memory.py).
    """

    instructions: int = 1_000_000
    draws: int = 10_000
    depth: int = 200
    size: int = 10_000_000
    digits: int = 20_000
    memory: int = 256 << 20


INSTRUCTIONS_PER_LOOK = 16
"""Instructions between two looks at the deadline; functions that may take long look for
themselves."""
LIMITS = Limits()
