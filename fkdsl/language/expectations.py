"""The `expect` lines of a test, compiled: the figures P(...) and E(...) in them, and what they say
of the figures.

    expect P(len(value) == 2) >= 0.5 and Z < 1.0

has one figure, a function of the returned value, and is a function of that figure's value, Z, log_Z
and the support. Its comparisons are to rounding (fkdsl.values.operators.agree): `==` agrees, `<=`
is less or agrees, `<` is less and does not agree; `support == [...]` whatever the order. Inside
P(...) and E(...) comparisons are the language's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.ir import nodes as ir
from fkdsl.language.check.checker import Checked
from fkdsl.language.check.queries import MEANS
from fkdsl.language.check.tests import FIGURES, SUPPORT
from fkdsl.language.lower.lower import lower_functions
from fkdsl.language.queries import VALUE, over
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk


@dataclass(frozen=True)
class Figure:
    """P(event) or E(number): `function` of the returned value, and the text that asks for it."""

    kind: str
    expression: tree.Expr
    function: str

    @property
    def text(self) -> str:
        return f"{self.kind}({self.expression.span.text})"


@dataclass(frozen=True)
class Expectation:
    """An `expect` line. says: its expression, with figures as names; parameters: what `function`
    takes, in order; figures: those among them that are P and E."""

    written: tree.Expr
    says: tree.Expr
    function: str
    parameters: tuple[str, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Expectations:
    """A test's lines, the figures of all of them without repetition, and the functions of both."""

    lines: tuple[Expectation, ...]
    figures: tuple[Figure, ...]
    functions: ir.Program


def expectations(checked: Checked, test: tree.Test) -> Expectations:
    figures: list[Figure] = []
    lines = []
    for i, e in enumerate(test.expectations):
        said = _with_figures(e, figures, checked.functions.keys() | checked.externs.keys())
        names = {n.name for n in walk(said) if isinstance(n, tree.Name)}
        used = tuple(f for f in figures if f.function in names)
        parameters = (*FIGURES, SUPPORT, *(f.function for f in used))
        lines.append(Expectation(e, said, f".expect{i}", parameters, used))
    definitions = [over(f.function, (VALUE,), f.expression) for f in figures]
    definitions += [over(line.function, line.parameters, _to_rounding(line.says)) for line in lines]
    return Expectations(tuple(lines), tuple(figures), lower_functions(checked, definitions))


def _with_figures(
    e: tree.Expr, figures: list[Figure], functions: frozenset[str] | set[str]
) -> tree.Expr:
    """The expression with a name for each P and E; new ones are added to the figures."""

    def named(node: Any) -> Any:
        match node:
            case tree.Call(function=tree.Name(name=kind), args=(inner,)) if (
                kind in MEANS and kind not in functions
            ):
                known = next((f for f in figures if (f.kind, f.expression) == (kind, inner)), None)
                if known is None:
                    known = Figure(kind, inner, f".figure{len(figures)}")
                    figures.append(known)
                return tree.Name(node.span, known.function)
        return _rebuilt(node, named)

    result: tree.Expr = named(e)
    return result


def _to_rounding(e: tree.Expr) -> tree.Expr:
    """The expression with its comparisons to rounding."""

    def rounded(node: Any) -> Any:
        if not isinstance(node, tree.Compare):
            return _rebuilt(node, rounded)
        left, pairs = rounded(node.first), []
        for op, operand in node.rest:
            right = rounded(operand)
            pairs.append(_pair(node, left, op, right))
            left = right
        return pairs[0] if len(pairs) == 1 else tree.BoolOp(node.span, "and", tuple(pairs))

    result: tree.Expr = rounded(e)
    return result


def _pair(node: tree.Compare, left: tree.Expr, op: str, right: tree.Expr) -> tree.Expr:
    span = node.span
    as_it_is = tree.Compare(span, left, ((op, right),))
    lists = any(isinstance(side, tree.Name) and side.name == SUPPORT for side in (left, right))
    agrees = tree.Compare(span, left, (("same" if lists else "agrees", right),))
    match op:
        case "==":
            return agrees
        case "!=":
            return tree.Unary(span, "not", agrees)
        case "<=" | ">=":
            return tree.BoolOp(span, "or", (as_it_is, agrees))
        case "<" | ">":
            return tree.BoolOp(span, "and", (as_it_is, tree.Unary(span, "not", agrees)))
    return as_it_is


def _rebuilt(node: Any, change: Callable[[Any], Any]) -> Any:
    """The node with the expressions right below it changed; one that has none is itself."""
    changed = {
        f.name: _changed(getattr(node, f.name), change) for f in fields(node) if f.name != "span"
    }
    return (
        replace(node, **changed)
        if any(v is not getattr(node, k) for k, v in changed.items())
        else node
    )


def _changed(part: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(part, tuple):
        parts = tuple(_changed(p, change) for p in part)
        return parts if any(a is not b for a, b in zip(parts, part, strict=True)) else part
    if isinstance(part, tree.Expr):
        return change(part)
    if isinstance(part, tree.Clause | tree.Keyword | tree.FormatPart):
        return _rebuilt(part, change)
    return part
