"""The options of inference methods: defaults, bounds and help, and those that several methods
have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass

MOST = 1_000_000
"""Particles, samples or sweeps at most."""


@dataclass(frozen=True)
class Option:
    """An option's default and bounds; its type is the default's.

    >>> Option(8, 1, 100).reader("3"), Option(True).reader("false")
    (3, False)
    """

    default: bool | int | float | str
    least: float = 1
    most: float = 1e12
    one_of: tuple[str, ...] = ()
    doc: str = ""

    @property
    def reader(self) -> Callable[[str], Any]:
        """From a text on the command line to the value that it says; ValueError if it says none."""
        return boolean if isinstance(self.default, bool) else type(self.default)

    def checked(self, called: str, value: Any) -> Any:
        """The value, if it is one that the option can have; else CallError, in which the option is
        `called` so."""
        if self.one_of:
            return self._check_choice(called, value)
        if isinstance(self.default, str):
            if not isinstance(value, str) or not value:
                raise CallError(f"{called} is a name in quotes, not {value!r}")
            return value
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise CallError(f"{called} is true or false, not {value!r}")
            return value
        whole = isinstance(self.default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise CallError(
                f"{called} is {'a whole number' if whole else 'a number'}, not {value!r}"
            )
        if not self.least <= value <= self.most:
            raise CallError(
                f"{called} must be between {self.least:,.15g} and {self.most:,.15g}, not {value}",
                f"such as {self.default}",
            )
        return value

    def _check_choice(self, called: str, value: Any) -> Any:
        if value in self.one_of:
            return value
        near = near_name(str(value), self.one_of)
        help = f"did you mean `{near}`?" if near else f"one of {', '.join(self.one_of)}"
        raise CallError(f"{called} cannot be `{value}`", help)


def boolean(text: str) -> bool:
    """true or false, as the language writes them."""
    return ("false", "true").index(text) == 1


PARTICLES = Option(16, 1, MOST, doc="size of the population")
ESS = Option(0.5, 0, 1, doc="resample when the effective sample size falls below this share")
NO_DRAFT = "none"
DRAFTS = {
    "draft": Option(
        NO_DRAFT,
        doc="what drafts blocks of tokens: heads, ngram, or a model with the same vocabulary",
    ),
    "block": Option(3, 1, 64, doc="tokens drafted at once at most"),
    "verify": Option(
        "sample",
        one_of=("sample", "weigh"),
        doc="speculative draws, or weights p/q: sample or weigh",
    ),
}
"""Options of the methods that draw each particle's tokens in turn: how they are drafted
(proposals/speculative.py)."""
