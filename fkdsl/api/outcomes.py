"""What a test block came to, line by line and method by method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fkdsl.api.method_checks import MethodCheck
from fkdsl.language.expectations import Expectation
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.operators import ABSOLUTE_ROUNDING
from fkdsl.values.values import show

Outcome = Literal["passed", "failed", "undecided", "error"]


@dataclass(frozen=True)
class Line:
    """An `expect` line and what became of it. figures: what it reads, as shown: ('P(value ==
    "00")', '0.36')."""

    written: tree.Expr
    outcome: Outcome
    figures: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True)
class TestRun:
    """A test block's outcome: failed if a line or a method is. by: how its figures were found."""

    test: tree.Test
    outcome: Outcome
    by: Literal["exact", "sampling", ""]
    lines: tuple[Line, ...]
    methods: tuple[MethodCheck, ...]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Settings:
    """methods: whether they are checked at all; only: some of them; runs: of each variant, ten
    times as many where something seems wrong, and of a sampled program; seconds: that sampling
    takes at most for a test whose figures are not exact."""

    methods: bool = True
    only: tuple[str, ...] | None = None
    runs: int = 100
    seed: int = 0
    seconds: float = 30.0


def shown_figures(line: Expectation, known: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the line reads, with the values; an interval as its ends."""
    read = {n.name for n in walk(line.says) if isinstance(n, tree.Name)}
    texts = {f.function: f.text for f in line.figures}
    return tuple(
        (texts.get(p, p), _shown(p, known[p])) for p in line.parameters if p in read and p in known
    )


def _shown(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value if abs(value) > ABSOLUTE_ROUNDING else 0.0:.10g}"
    if isinstance(value, tuple) and name != "support":
        return f"between {value[0]:.4g} and {value[1]:.4g}"
    return show(value)
