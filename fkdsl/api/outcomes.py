"""What a test block came to, line by line and method by method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from fkdsl.api.unbiasedness import MethodCheck
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.language.expectations import Expectation
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.operators import ABSOLUTE_ROUNDING
from fkdsl.values.values import show

Outcome = Literal["passed", "failed", "undecided", "error"]


@dataclass(frozen=True)
class ExpectLine:
    """An `expect` line and its outcome. figures: those that it reads, with their values as text:
    ('P(value == "00")', '0.36')."""

    written: tree.Expr
    outcome: Outcome
    figures: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True)
class TestRun:
    """A test block's outcome: it fails if a line or a method fails. by: how its figures were
    found."""

    test: tree.Test
    outcome: Outcome
    by: Literal["exact", "sampling", ""]
    lines: tuple[ExpectLine, ...]
    methods: tuple[MethodCheck, ...]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class TestSettings:
    """How tests are run. methods: whether methods are checked at all. only: the names of those that
    are, None for all. runs: of each variant, up to ten times as many where one seems wrong; also of
    a program that can only be sampled. seconds: for a test that can only be sampled."""

    __test__: ClassVar[bool] = False  # pytest does not collect it
    methods: bool = True
    only: tuple[str, ...] | None = None
    runs: int = 100
    seed: int = 0
    seconds: float = 30.0


def shown_figures(line: Expectation, known: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The figures that the line reads, with their values; an interval is shown by its ends."""
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
