"""Queries about what a program returns: the file's `query` lines, and those of a caller.

queries = [*declared(checked), *further(checked, "main", {"sea": 'contains(value, "sea")'})]
functions = lower_queries(checked, queries)    # ir: a function of `value` for each, by its name
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span
from fkdsl.ir import nodes as ir
from fkdsl.language.check.checker import MAX_FRAMES, Checked
from fkdsl.language.check.queries import check_queries, mean_of, quantile_of
from fkdsl.language.check.report import Report
from fkdsl.language.check.scopes import World
from fkdsl.language.lower.lower import lower_functions
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse_expression
from fkdsl.language.syntax.tree_walk import deepest

VALUE = "value"


@dataclass(frozen=True)
class Query:
    """A posterior mean of an expression over `value`, or its quantile at a level in (0, 1). event:
    whether `P` says that the expression is a truth value."""

    name: str
    expression: tree.Expr
    level: float | None = None
    event: bool = False


def declared(checked: Checked) -> tuple[Query, ...]:
    """The file's own queries."""
    return tuple(_query(q, checked) for q in checked.queries)


def further(
    checked: Checked, program: str, expressions: Mapping[str, str | Span]
) -> tuple[Query, ...]:
    """The queries of a caller, by name: expressions over what the program returns, which may call
    the file's functions; each a text, or a part of one. Raises ProgramError, whose places are in
    these texts."""
    queries = [_parsed(name, _place(name, text)) for name, text in expressions.items()]
    report = Report()
    world = world_of(checked, report)
    for q in queries:
        deep = deepest(q, MAX_FRAMES)
        if deep is not None:
            message, help = (
                "this is nested too deep",
                "name the inner parts in a `def` of the program",
            )
            raise ProgramError([Diagnostic("FK109", message, deep.span, "too many levels", help)])
    asks_model = {n for n, f in checked.functions.items() if f.asks_model or f.stochastic}
    check_queries(world, queries, checked.programs[program].returns, asks_model, checked.queries)
    if report.errors:
        raise ProgramError(report.errors)
    return tuple(_query(q, checked) for q in queries)


def _place(name: str, text: str | Span) -> Span:
    return text if isinstance(text, Span) else Span(Source(f"query {name}", text), 0, len(text))


def _parsed(name: str, span: Span) -> tree.Query:
    diagnostics: list[Diagnostic] = []
    expression = parse_expression(span.source, span.start, span.end, diagnostics)
    if diagnostics:
        raise ProgramError(diagnostics)
    return tree.Query(span, name, expression)


def world_of(checked: Checked, report: Report) -> World:
    """What the file declares, for checking another expression against it."""
    definitions = {**checked.functions, **checked.programs}
    return World(
        report,
        {n: f.definition for n, f in checked.functions.items()},
        {n: f.definition for n, f in checked.programs.items()},
        dict(checked.externs),
        dict(checked.models),
        {name: info.declaration for name, info in checked.indexes.items()},
        {n: f.params for n, f in definitions.items()},
        {n: f.returns for n, f in definitions.items()},
        {n for n, f in definitions.items() if f.stochastic},
    )


def _query(q: tree.Query, checked: Checked) -> Query:
    functions = checked.functions.keys() | checked.externs.keys()
    quantile = quantile_of(q.value, functions)
    if quantile is None:
        mean, name = mean_of(q.value, functions)
        return Query(q.name, mean, event=name == "P")
    return Query(q.name, quantile.of, quantile.level)


def lower_queries(checked: Checked, queries: Iterable[Query]) -> ir.Program:
    """A function of one parameter, the returned value, for each query, by its name."""
    return lower_functions(checked, [over(q.name, (VALUE,), q.expression) for q in queries])


def over(name: str, parameters: Sequence[str], expression: tree.Expr) -> tree.FunctionDef:
    """`def name(parameters): return expression`."""
    span = expression.span
    params = tuple(tree.Param(p, None, None, span) for p in parameters)
    return tree.FunctionDef(
        span, name, params, None, "", (tree.Return(span, expression),), False, span
    )
