"""Calls of pure functions that only assign and return, replaced by what they return, so that
conditions can be read through them."""

from __future__ import annotations

from itertools import count
from typing import Any

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, renumbered
from fkdsl.ir.passes.reading import rebuilt, substitute

DEEP = 8
"""Depth of calls within calls down to which they are replaced."""
_fresh = count(1_000_000)
"""Slots beyond those of any function, for the comprehensions of a replaced call; whoever keeps the
expression renumbers them."""


def fresh_slot() -> int:
    """A slot beyond those of any function; whoever keeps the expression renumbers it."""
    return next(_fresh)


def inlined(program: ir.Program, e: ir.Expr, depth: int = 0) -> ir.Expr:
    """The expression with calls of pure functions that only assign and return replaced by what they
    return."""

    def change(node: Any) -> Any:
        node = rebuilt(node, change)
        if isinstance(node, ir.Invoke) and depth < DEEP:
            value = returned(program.functions[node.function], node.args)
            if value is not None:
                return inlined(program, value, depth + 1)
        return node

    result: ir.Expr = change(e)
    return result


def returned(function: ir.Function, args: tuple[ir.Expr, ...]) -> ir.Expr | None:
    """What a function returns, over its arguments; None if it does more than assign and return."""
    values: dict[int, ir.Expr] = dict(enumerate(args))

    def written(e: ir.Expr) -> ir.Expr:
        anew: ir.Expr = renumbered(e, {slot: fresh_slot() for slot in sorted(bound(e))})
        return substitute(anew, values)

    for instr in function.body:
        match instr:
            case ir.Set(targets=(slot,), value=value):
                values[slot] = written(value)
            case ir.Return(value=value):
                return written(value)
            case _:
                return None
    return None
