"""The values of constant expressions: defaults of parameters, parameters of a test."""

from __future__ import annotations

from typing import Any

from fkdsl.base.errors import InternalError
from fkdsl.language.check.report import Report
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.faults import Fault
from fkdsl.values.operators import OPERATORS
from fkdsl.values.values import EOS, Record

UNARY = {"-": "neg", "+": "pos", "not": "not"}
BINARY = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "**": "pow"}
"""The operators of the syntax, by their names among the values' OPERATORS."""
MADE_OF = (
    tree.Literal,
    tree.EosLiteral,
    tree.ListExpr,
    tree.RecordExpr,
    tree.Unary,
    tree.Binary,
)


def is_constant(e: tree.Expr) -> bool:
    """Whether the expression is made of literals and operators only."""
    return all(isinstance(node, MADE_OF) for node in walk(e))


def constant(e: tree.Expr) -> Any:
    """The value of a constant expression. Raises Fault where an operator has none, such as 1 / 0;
    the checker has then said so (check_value)."""
    match e:
        case tree.Literal(value=value):
            return value
        case tree.EosLiteral():
            return EOS
        case tree.Unary(op=op, operand=operand):
            return OPERATORS[UNARY[op]](constant(operand))
        case tree.Binary(op=op, left=left, right=right):
            return OPERATORS[BINARY[op]](constant(left), constant(right))
        case tree.ListExpr(items=items):
            return tuple(map(constant, items))
        case tree.RecordExpr(fields=fields):
            return Record({name: constant(value) for name, value in fields})
    raise InternalError(f"not a constant: {e.span.text}")


def check_value(report: Report, e: tree.Expr, code: str, what: str) -> None:
    """Reports a constant expression that has no value. what: the words for it in the message."""
    try:
        constant(e)
    except Fault as fault:
        report.error(code, f"{what} has no value: {fault.message}", e.span, "computed", fault.help)
