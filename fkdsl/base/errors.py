"""Every error that fkdsl raises on purpose, with its exit status.

FkdslError
  ProgramError        1   the program is wrong: it carries Diagnostics
  CallError           2   the call is wrong: a flag, an argument, a file; also a ValueError
    ModelUnavailable  2   a model could not be had: its facts say what was tried
  InferenceFailed     3   the program and the call are fine, inference has no answer
    PopulationDied    3   every particle's weight is zero; log_z is -inf
    BudgetEnded       3   a bound on time, steps or states ended inference before an answer
  InternalError       70  we are wrong: please report it

Interrupted           130 Ctrl-C in a run; it is Python's KeyboardInterrupt, and no FkdslError

Each carries its message, facts and help as fields; rendering.py makes text of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.rendering import error_text, render_all
from fkdsl.base.shown import shown


class FkdslError(Exception):
    """Base of all of fkdsl's own errors.

    message: what is wrong. facts: what is known of it, a line each. help: one thing to try, "" for
    nothing. answer: what `--json` prints of it beside these.
    """

    exit_status = 70
    answer: Mapping[str, Any] | None = None

    def __init__(self, message: str, help: str = "", facts: Sequence[str] = ()) -> None:
        self.message, self.help, self.facts = message, help, tuple(facts)
        super().__init__(message)

    def __str__(self) -> str:
        return shown(error_text(self.message, self.facts, self.help))


class ProgramError(FkdslError):
    """The program is wrong; `diagnostics` says where and what to try, every mistake at once.
    result: what the run came to where only its queries are wrong, else None."""

    exit_status = 1

    def __init__(self, diagnostics: Sequence[Diagnostic], result: Any = None) -> None:
        self.diagnostics, self.result = tuple(diagnostics), result
        n = len(self.diagnostics)
        super().__init__(f"{n} error{'s' if n != 1 else ''} in the program")

    def __str__(self) -> str:
        return render_all(self.diagnostics)


class CallError(FkdslError, ValueError):
    """The call is wrong: a flag, an argument, a missing file."""

    exit_status = 2


class ModelUnavailable(CallError):
    """A model could not be had; the facts list what was tried."""


class InferenceFailed(FkdslError):
    """The program and the call are fine, but inference has no answer."""

    exit_status = 3


class PopulationDied(InferenceFailed):
    """Every particle's weight is zero: Z_hat = 0. The facts say where and why; `details` says it as
    JSON; `blame` (inference.assess.blame), what each line did, where that was asked for; `short`,
    the places of conditions for which a text may have too few tokens."""

    log_z = -math.inf

    def __init__(
        self,
        message: str,
        help: str = "",
        facts: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.details: Mapping[str, Any] = details or {}
        self.blame: Any = None
        self.short: frozenset[Any] = frozenset()
        super().__init__(message, help, facts)

    @property
    def report(self) -> str:
        """The whole text, without the escapes that a terminal needs."""
        return error_text(self.message, self.facts, self.help)


class BudgetEnded(InferenceFailed):
    """A bound on time, steps or states ended inference before there was an answer. unfinished: what
    there was instead, an fkdsl.inference.unfinished.Unfinished; None where the run had not
    begun."""

    def __init__(self, message: str, help: str = "", unfinished: Any = None) -> None:
        self.unfinished = unfinished
        super().__init__(message, help)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a run. unfinished: as in BudgetEnded. reported: whether a person has been told
    of it already."""

    exit_status = 130

    def __init__(self, unfinished: Any = None) -> None:
        self.unfinished, self.reported = unfinished, False
        super().__init__("interrupted")


class InternalError(FkdslError):
    """We are wrong. The message asks for a report."""

    exit_status = 70

    def __init__(self, message: str) -> None:
        super().__init__(
            f"{message} (this is a bug in fkdsl: please report it with the program that shows it)"
        )
