"""Checks of `query`: expressions over `value`, what the program returns."""

from __future__ import annotations

from collections.abc import Iterable, Set

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.expressions import Expressions
from fkdsl.language.check.report import Report, a
from fkdsl.language.check.scopes import Scope, Variable, World
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.types import BOOL, FLOAT, Type, accepts

MEANS: dict[str, Type] = {"P": BOOL, "E": FLOAT}
"""What stands inside P(...) and E(...)."""
QUANTILES = {"quantile", "median"}
"""What a query may ask for besides a mean."""


@dataclass(frozen=True)
class Quantile:
    """`quantile(of, level)`, or `median(of)` at level 0.5."""

    of: tree.Expr
    level: float


def quantile_of(e: tree.Expr, functions: Set[str]) -> Quantile | None:
    """What a well-formed `quantile(...)` or `median(...)` asks for; the file's functions of these
    names go first."""
    match e:
        case tree.Call(function=tree.Name(name="median" as name), args=(of,), keywords=()) if (
            name not in functions
        ):
            return Quantile(of, 0.5)
        case tree.Call(
            function=tree.Name(name="quantile" as name),
            args=(of, tree.Literal(value=float(level))),
            keywords=(),
        ) if name not in functions and 0.0 < level < 1.0:
            return Quantile(of, level)
    return None


def mean_of(e: tree.Expr, functions: Set[str]) -> tuple[tree.Expr, str]:
    """(x, "E") of `E(x)` and (x, "P") of `P(x)`, which say of a query what is its meaning anyway;
    else (e, ""). The file's functions of these names go first."""
    match e:
        case tree.Call(function=tree.Name(name="E" | "P" as name), args=(of,), keywords=()) if (
            name not in functions
        ):
            return of, name
    return e, ""


def check_queries(
    world: World,
    queries: Iterable[tree.Query],
    value: Type,
    asks_model: Set[str],
    known: Iterable[tree.Query] = (),
) -> None:
    """Each query a number or a truth value, computed from `value` alone, under a name that none
    before it nor any of those known already has."""
    seen = {q.name: q for q in known}
    for q in queries:
        if q.name in seen:
            first = seen[q.name].span
            world.report.error(
                "FK346", f"query `{q.name}` is declared twice", q.span, "again here",
                "give it another name",
                notes=(f"first in line {first.line} of {first.source.name}",),
            )  # fmt: skip
        seen.setdefault(q.name, q)
        functions = world.functions.keys() | world.externs.keys()
        quantile = quantile_of(q.value, functions)
        mean, mean_name = mean_of(q.value, functions)
        expression = mean if quantile is None else quantile.of
        if not asks_no_model(world.report, expression, asks_model) or not _no_figure(
            world.report, expression, functions
        ):
            continue
        scope = Scope({"value": Variable("value", value, q.span, "a result")})
        actual = Expressions(world, scope).type_of(expression)
        if mean_name == "P" and not accepts(BOOL, actual):
            world.report.error(
                "FK345", f"inside `P` stands a truth value, not {a(actual)}", expression.span,
                f"this is `{actual}`",
                "write an event, `P(len(value) > 5)`, or `E(...)` for a mean",
            )  # fmt: skip
        elif not accepts(FLOAT, actual):
            world.report.error(
                "FK345", f"a query is a number or a truth value, not {a(actual)}", expression.span,
                f"this is `{actual}`",
                'write what to average: `contains(value, "please")`, `len(value)`',
            )  # fmt: skip


def _no_figure(report: Report, e: tree.Expr, functions: Set[str]) -> bool:
    """Whether nothing inside a query is a figure of the whole posterior; reports what is."""
    figures = (QUANTILES | MEANS.keys()) - functions
    calls = [n for n in walk(e) if isinstance(n, tree.Call) and n.function.name in figures]
    for call in calls:
        name = call.function.name
        quantile = name in QUANTILES
        report.error(
            "FK348",
            f"`{name}` stands alone in a query, over "
            + ("a number and a level" if quantile else "one expression"),
            call.span,
            "not the whole query",
            "write `query q = quantile(len(value), 0.9)`, or `median(len(value))`"
            if quantile
            else "write a query for each: `query q = P(len(value) > 5)`, or `E(len(value))`",
        )
    return not calls


def asks_no_model(report: Report, e: tree.Expr, asks_model: Set[str]) -> bool:
    """Whether the expression can be computed of a returned value alone; reports it if not."""
    calls = [n for n in walk(e) if isinstance(n, tree.Call)]
    for call in calls:
        name = call.function.name
        if name in asks_model or name in OPERATIONS:
            report.error(
                "FK347", f"`{name}` asks a model, and this is about the returned value alone",
                call.span,
                "asks a model",
                "compute it in the program, and return it with the value in a record",
            )  # fmt: skip
    return not any(c.function.name in asks_model or c.function.name in OPERATIONS for c in calls)
