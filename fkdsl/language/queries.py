"""Questions about what a program returns: the file's `query` lines, and those that a caller asks of
a checked program.

questions = [*declared(checked), *ask(checked, "main", {"sea": 'contains(value, "sea")'})] functions
= lower_questions(checked, questions)              # ir: one function of `value` for each, by its
name
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.spans import Source, Span
from fkdsl.ir import nodes as ir
from fkdsl.language.check.checker import MAX_FRAMES, Checked
from fkdsl.language.check.queries import check_queries, quantile_of
from fkdsl.language.check.report import Report
from fkdsl.language.check.scopes import World
from fkdsl.language.lower.lower import lower_functions
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse_expression
from fkdsl.language.syntax.tree_walk import deepest

VALUE = "value"


@dataclass(frozen=True)
class Question:
    """What is asked: the posterior mean of the expression over `value`, or its quantile at a level
    in (0, 1)."""

    name: str
    expression: tree.Expr
    level: float | None = None


def declared(checked: Checked) -> tuple[Question, ...]:
    """The file's own queries."""
    return tuple(_question(q, checked) for q in checked.queries)


def ask(checked: Checked, program: str, asked: Mapping[str, str | Span]) -> tuple[Question, ...]:
    """Queries by name, each an expression over what the program returns, with the file's functions
    at hand: a text, or a part of one. Raises ProgramError whose places are in the texts."""
    queries = [_parsed(name, _place(name, text)) for name, text in asked.items()]
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
    return tuple(_question(q, checked) for q in queries)


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
        {n: f.params for n, f in definitions.items()},
        {n: f.returns for n, f in definitions.items()},
        {n for n, f in definitions.items() if f.stochastic},
    )


def _question(q: tree.Query, checked: Checked) -> Question:
    quantile = quantile_of(q.value, checked.functions.keys() | checked.externs.keys())
    if quantile is None:
        return Question(q.name, q.value)
    return Question(q.name, quantile.of, quantile.level)


def lower_questions(checked: Checked, questions: Iterable[Question]) -> ir.Program:
    """A function of one parameter, the returned value, for each question, by its name."""
    return lower_functions(checked, [over(q.name, (VALUE,), q.expression) for q in questions])


def over(name: str, parameters: Sequence[str], expression: tree.Expr) -> tree.FunctionDef:
    """`def name(parameters): return expression`."""
    span = expression.span
    params = tuple(tree.Param(p, None, None, span) for p in parameters)
    return tree.FunctionDef(
        span, name, params, None, "", (tree.Return(span, expression),), False, span
    )
