"""Parts of lists and records that are written out, replaced by what stands there, so that a
condition on `person.name` is read as one on the text that is in it."""

from __future__ import annotations

from typing import Any

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound
from fkdsl.ir.passes.reading import rebuilt, substitute

MOST_ITEMS = 64
"""Items of a list of which `all` and `any` are written out."""


def simplified(e: ir.Expr) -> ir.Expr:
    """An expression of the same value; it may have one where the other is a mistake, since what it
    does not need it does not evaluate."""

    def change(node: Any) -> Any:
        return _simple(rebuilt(node, change))

    result: ir.Expr = change(e)
    return result


def _simple(node: Any) -> Any:
    match node:
        case ir.Operate(
            operator="attribute", args=(ir.RecordOf(names=names, values=values), ir.Const(value=n))
        ) if n in names:
            return values[names.index(n)]
        case ir.Operate(
            operator="index",
            args=(ir.RecordOf(names=names, values=values), ir.Const(value=str() as n)),
        ) if n in names:
            return values[names.index(n)]
        case ir.Operate(
            operator="index",
            args=(ir.Operate(operator="list", args=items), ir.Const(value=int() as i)),
        ) if not isinstance(i, bool) and -len(items) <= i < len(items):
            return items[i]
        case ir.Builtin(name="len", args=(ir.Operate(operator="list", args=items),)):
            return ir.Const(node.span, len(items))
        case ir.Builtin(name="all" | "any" as name, args=(ir.Gather() as gather,)):
            return _written_out(gather, name == "all") or node
    return node


def _written_out(gather: ir.Gather, every: bool) -> ir.Expr | None:
    """`all(... for x in [a, b])` as an `and`; None for other comprehensions."""
    match gather.clauses:
        case (ir.Clause((slot,), ir.Operate(operator="list", args=items), ()),) if 0 < len(
            items
        ) <= MOST_ITEMS and not bound(gather.element):
            tests = tuple(substitute(gather.element, {slot: item}) for item in items)
            return ir.And(gather.span, tests) if every else ir.Or(gather.span, tests)
    return None
