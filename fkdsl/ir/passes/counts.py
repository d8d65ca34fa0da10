"""Numbers that count something in a text, compared with other numbers: `len(words(s)) == 8`,
`count(s, "a") in [1, 2]`, `len([w for w in words(s) if len(w) > 5]) >= 2`."""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads
from fkdsl.ir.passes.views import LanguageOf, has_grammar, items_of, iterated

FLIPPED = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq"}
Counted = Callable[[ir.Expr], ir.Expr]
"""Gives the language of the texts whose number is among some, an expression of `.numbers`."""


def count_language(test: ir.Operate, text: int, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a comparison of a number of the text with one that does not depend on it."""
    span, operator = test.span, test.operator
    if operator not in (*FLIPPED, "in") or len(test.args) != 2:
        return None
    a, b = test.args
    if operator != "in" and text in reads(b):
        a, b, operator = b, a, FLIPPED[operator]
    if text in reads(b):
        return None
    counted = _counted(a, text, language_of)
    if counted is None:
        return None
    return counted(ir.Builtin(span, ".numbers", (ir.Const(span, operator), b)))


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
        case ir.Builtin(name="len", args=(ir.Gather() as gather,)):
            return _items_that(span, gather, (), text, language_of)
        case ir.Builtin(name="sum", args=(ir.Gather(element=ir.Const(value=1)) as gather,)):
            return _items_that(span, gather, (), text, language_of)
        case ir.Builtin(name="sum", args=(ir.Gather(element=element) as gather,)) if _is_test(
            element
        ):
            return _items_that(span, gather, (element,), text, language_of)
        case ir.Builtin(name="len", args=(listed,)):
            by = items_of(listed, text)
            return None if by is None else counts(".item_count", by)
    return None


def _is_test(e: ir.Expr) -> bool:
    """Whether an expression is seen to be true or false, and so counts as 1 or 0."""
    match e:
        case ir.And() | ir.Or():
            return True
        case ir.Operate(operator=operator):
            return operator in ("not", "in", "notin", "eq", "ne", "lt", "le", "gt", "ge")
        case ir.Builtin(name=name):
            return name in ("contains", "starts_with", "ends_with", "matches", "all", "any")
    return False


def _items_that(
    span: Span,
    gather: ir.Gather,
    tests: tuple[ir.Expr, ...],
    text: int,
    language_of: LanguageOf,
) -> Counted | None:
    """Counts the items of the text that pass the comprehension's conditions and some more."""
    match gather.clauses:
        case (ir.Clause((item,), iterable, conditions),):
            by = iterated(iterable, text)
        case _:
            return None
    if by is None or text in reads((conditions, tests)):
        return None
    part = language_of(ir.And(span, (*conditions, *tests)), item)
    if part is None or has_grammar(part):
        return None
    return lambda numbers: ir.Builtin(span, ".item_count_that", (by, part, numbers))
