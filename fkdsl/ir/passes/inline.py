"""Calls of pure functions, replaced by what they return, so that conditions can be read through
them. What a function with branches and loops returns is found by returns.py."""

from __future__ import annotations

from itertools import count
from typing import Any

from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.reading import is_small, rebuilt
from fkdsl.ir.passes.returns import returned

DEEP = 8
"""Depth of calls within calls down to which they are replaced."""
MOST_CALLS = 64
"""Calls of one expression that are replaced at most: of a function that calls another ten times,
which calls a third ten times, there are many."""
_fresh = count(1_000_000)
"""Slots beyond those of any function, for the comprehensions of a replaced call; whoever keeps the
expression renumbers them."""


def fresh_slot() -> int:
    """A slot beyond those of any function; whoever keeps the expression renumbers it."""
    return next(_fresh)


def inlined(program: ir.Program, e: ir.Expr) -> ir.Expr:
    """The expression with calls of pure functions replaced by what they return, as far as that is
    known and small; of a function that calls itself once."""
    return _Inlining(program).of(e, ())


class _Inlining:
    def __init__(self, program: ir.Program) -> None:
        self.program, self.calls = program, 0

    def of(self, e: ir.Expr, within: tuple[str, ...]) -> ir.Expr:
        """within: the functions whose calls were replaced around the expression."""

        def change(node: Any) -> Any:
            node = rebuilt(node, change)
            match node:
                case ir.Invoke(function=name) if (
                    name not in within and len(within) < DEEP and self.calls < MOST_CALLS
                ):
                    self.calls += 1
                    value = returned(self.program.functions[name], node.args, fresh_slot)
                    if value is not None and is_small(value):
                        value = self.of(value, (*within, name))
                        if is_small(value):
                            return value
            return node

        result: ir.Expr = change(e)
        return result
