"""Every error that fkdsl raises on purpose.

FkdslError
  ProgramError        the program is wrong: it carries Diagnostics                        exit status 1
  CallError           the call is wrong (also a ValueError): a flag, an argument, a file   exit status 2
    ModelUnavailable  a model could not be had: its message says what was tried
  InferenceFailed     the program and the call are fine, inference has no answer          exit status 3
    PopulationDied    every particle's weight is zero; log_z is -inf
    BudgetEnded       a bound on time, steps or states ended inference before an answer
  InternalError       we are wrong: please report it                                      exit status 70

Interrupted           Ctrl-C in a run; it is Python's KeyboardInterrupt, and no FkdslError  exit
status 130
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.base.diagnostics import Diagnostic, render_all
from fkdsl.base.shown import shown


class FkdslError(Exception):
    """Base of all of fkdsl's own errors. answer: what `--json` prints of it beside the message and
    its places."""

    exit_status = 70
    answer: Mapping[str, Any] | None = None


class ProgramError(FkdslError):
    """The program is wrong; `diagnostics` says where and what to try, every mistake at once.
    result: what the run came to where only its queries are wrong, else None."""

    exit_status = 1

    def __init__(self, diagnostics: Sequence[Diagnostic], result: Any = None) -> None:
        self.diagnostics, self.result = tuple(diagnostics), result
        super().__init__(render_all(self.diagnostics))


class CallError(FkdslError, ValueError):
    """The call is wrong: a flag, an argument, a missing file. `help` is one thing to try."""

    exit_status = 2

    def __init__(self, message: str, help: str = "") -> None:
        self.message, self.help = message, help
        super().__init__(shown(message + (f"\n  = help: {help}" if help else "")))


class ModelUnavailable(CallError):
    """A model could not be had; the message lists what was tried."""


class InferenceFailed(FkdslError):
    """The program and the call are fine, but inference has no answer."""

    exit_status = 3


class PopulationDied(InferenceFailed):
    """Every particle's weight is zero: Z_hat = 0. `report` says where and why; `blame`
    (inference.blame), what each line did, where that was asked for."""

    log_z = -math.inf

    def __init__(self, report: str, details: dict[str, Any] | None = None) -> None:
        self.report = report
        self.details = details or {}
        self.blame: Any = None
        super().__init__(shown(report))


class BudgetEnded(InferenceFailed):
    """A bound on time, steps or states ended inference before there was an answer. unfinished: what
    there was instead, an fkdsl.inference.unfinished.Unfinished; None where the run had not
    begun."""

    def __init__(self, message: str, unfinished: Any = None) -> None:
        self.message, self.unfinished = message, unfinished
        super().__init__(message)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a run. unfinished: as in BudgetEnded. told: whether a person has been told of it
    already."""

    exit_status = 130

    def __init__(self, unfinished: Any = None) -> None:
        self.unfinished, self.told = unfinished, False
        super().__init__("interrupted")


class InternalError(FkdslError):
    """We are wrong. The message asks for a report."""

    exit_status = 70

    def __init__(self, message: str) -> None:
        super().__init__(
            f"{shown(message)} (this is a bug in fkdsl: please report it with the program that shows it)"
        )
