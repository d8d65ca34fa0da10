"""Numbers of a text, compared with other numbers: `len(words(s)) == 8`, `count(s, "a") in [1, 2]`,
`int(s) < 50`, `find(s, "a") > 3`; and texts in their order, `"a" <= s[0] <= "z"`.

Here: one number. Sums of several, and with others, are in sums.py.
"""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads
from fkdsl.ir.passes.sums import FLIPPED, counted_items, sum_language
from fkdsl.ir.passes.views import LanguageOf

Counted = Callable[[ir.Expr], ir.Expr]
"""Gives the language of the texts whose number is among some, an expression of `.numbers`."""


def count_language(test: ir.Operate, text: int, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a comparison of a number of the text with one that does not depend on it, or
    of two such numbers."""
    span, operator = test.span, test.operator
    if operator not in (*FLIPPED, "in") or len(test.args) != 2:
        return None
    a, b = test.args
    if operator != "in" and text in reads(b):
        a, b, operator = b, a, FLIPPED[operator]
    if text not in reads(b):
        compared = ir.Const(span, operator)
        match a:
            case ir.Builtin(name="find", args=(ir.Local(slot=slot), part)) if (
                slot == text and text not in reads(part)
            ):
                return ir.Builtin(span, ".found", (part, compared, b))
            case ir.Builtin(name="int", args=(ir.Local(slot=slot),)) if slot == text:
                return ir.Builtin(span, ".whole_number", (compared, b))
            case ir.Builtin(name="float", args=(ir.Local(slot=slot),)) if slot == text:
                return ir.Builtin(span, ".float_number", (compared, b))
            case ir.Local() if operator in ("lt", "le", "gt", "ge"):
                return ir.Builtin(span, ".ordered", (compared, b))
        counted = _counted(a, text, language_of)
        if counted is not None:
            return counted(ir.Builtin(span, ".numbers", (compared, b)))
    match a, b:
        case (
            ir.Builtin(name="find", args=(ir.Local(slot=one), part)),
            ir.Builtin(name="find", args=(ir.Local(slot=other), second)),
        ) if one == other == text and operator != "in" and text not in reads((part, second)):
            return ir.Builtin(span, ".first_of", (part, second, ir.Const(span, operator)))
    return sum_language(test, text, language_of)


def _counted(e: ir.Expr, text: int, language_of: LanguageOf) -> Counted | None:
    """What a number that depends on the text counts; None if it is another number."""
    span = e.span

    def counts(name: str, *args: ir.Expr) -> Counted:
        return lambda numbers: ir.Builtin(span, name, (*args, numbers))

    match e:
        case ir.Builtin(name="len" | "letters" as name, args=(ir.Local(slot=slot),)) if (
            slot == text
        ):
            return counts({"len": ".length", "letters": ".letters"}[name])
        case ir.Builtin(name="count", args=(ir.Local(slot=slot), part)) if (
            slot == text and text not in reads(part)
        ):
            return counts(".count", part)
        case ir.Builtin(name="len" | "sum"):
            items = counted_items(e, text, language_of)
            if items is not None:
                by, part = items
                match part:
                    case ir.Builtin(name=".when"):
                        return counts(".item_count", by)
                return counts(".item_count_that", by, part)
    return None
