"""Sums of three whole numbers of a text, `int(words(s)[0]) + int(words(s)[1]) == int(words(s)[2])`,
and of all numbers of a list: `sum([int(w) for w in words(s)]) == 20`.

The numbers are items of one list, at fixed places, each times a constant. An automaton reads the
first two, and knows then which the third one may be (engine/constraints/added_numbers.py).
"""

from __future__ import annotations

from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import NOWHERE
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads
from fkdsl.ir.passes.reading import addends
from fkdsl.ir.passes.views import items_of

FLIPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}
COMPARED = ("lt", "le", "gt", "ge", "eq")
NUMBERS = 3


def three_numbers(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of a comparison of such a sum; None for other tests."""
    match test:
        case ir.Operate(operator=operator, args=(a, b)) if operator in COMPARED:
            total = _Sum(text)
            if not (total.add(a, 1) and total.add(b, -1)):
                return None
        case _:
            return None
    lists = {by for by, _ in total.terms}
    if len(total.terms) != NUMBERS or len(lists) != 1 or 0 in total.terms.values():
        return None
    span, (by,) = test.span, lists
    ordered = sorted(total.terms.items(), key=lambda term: term[0][1])
    places = ir.Const(span, tuple(place for (_, place), _ in ordered))
    factors = ir.Const(span, tuple(factor for _, factor in ordered))
    numbers = (places, factors, total.first, ir.Const(span, operator), ir.Const(span, 0))
    return ir.Builtin(span, ".added_numbers", (by, *numbers))


def summed_numbers(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of a comparison of the sum of all numbers of a list; None for other tests."""
    match test:
        case ir.Operate(operator=operator, args=(a, b)) if operator in (*COMPARED, "in"):
            pass
        case _:
            return None
    if operator != "in" and text in reads(b):
        a, b, operator = b, a, FLIPPED[operator]
    match a:
        case ir.Builtin(
            name="sum",
            args=(
                ir.Gather(
                    element=ir.Builtin(name="int", args=(ir.Local(slot=slot),)),
                    clauses=(ir.Clause((item,), listed, ()),),
                ),
            ),
        ) if slot == item and text not in reads(b):
            by = items_of(listed, text)
            if by is not None and by != ir.Const(by.span, "sentences"):
                compared = ir.Const(test.span, operator)
                return ir.Builtin(test.span, ".summed_numbers", (by, compared, b))
    return None


@dataclass
class _Sum:
    """terms: for each number, which is an item of a list at a place, what it is multiplied with.
    first: what does not depend on the text."""

    text: int
    terms: dict[tuple[ir.Expr, int], int] = field(default_factory=dict)
    first: ir.Expr = ir.Const(NOWHERE, 0)

    def add(self, e: ir.Expr, factor: int) -> bool:
        """Adds an expression times a factor; whether it is such a sum."""
        if self.text not in reads(e):
            times = ir.Operate(e.span, "mul", (ir.Const(e.span, factor), e))
            self.first = ir.Operate(e.span, "add", (self.first, times))
            return True
        if parts := addends(e):
            return all(self.add(part, factor * times) for part, times in parts)
        match e:
            case ir.Builtin(
                name="int",
                args=(ir.Operate(operator="index", args=(listed, ir.Const(value=int(place)))),),
            ) if place >= 0:
                by = items_of(listed, self.text)
                if by is None or by == ir.Const(by.span, "sentences"):
                    return False
                self.terms[by, place] = self.terms.get((by, place), 0) + factor
                return True
        return False
