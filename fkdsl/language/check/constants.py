"""The values of constant expressions: defaults of parameters, options of `infer`."""

from __future__ import annotations

from typing import Any

from fkdsl.base.errors import InternalError
from fkdsl.language.syntax import tree
from fkdsl.values.values import EOS, Record


def constant(e: tree.Expr) -> Any:
    """The value of a literal, a signed number, or a list or record of such; the checker lets
    nothing else through."""
    match e:
        case tree.Literal(value=value):
            return value
        case tree.EosLiteral():
            return EOS
        case tree.Unary(op="-", operand=operand):
            return -constant(operand)
        case tree.Unary(op="+", operand=operand):
            return constant(operand)
        case tree.ListExpr(items=items):
            return tuple(map(constant, items))
        case tree.RecordExpr(fields=fields):
            return Record({name: constant(value) for name, value in fields})
    raise InternalError(f"not a constant: {e.span.text}")
