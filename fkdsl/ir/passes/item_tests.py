"""Tests of the words, lines, sentences or characters of a text: all of them, some of them, each
with one of a list, or put together (`join([l[0] for l in lines(s)]) == "SEA"`)."""

from __future__ import annotations

from dataclasses import replace

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads
from fkdsl.ir.passes.inline import fresh_slot
from fkdsl.ir.passes.reading import substitute
from fkdsl.ir.passes.views import LanguageOf, has_grammar, items_of, iterated


def some_item(span: Span, item: ir.Expr, listed: ir.Expr, text: int) -> ir.Expr | None:
    """`item in words(s)`, and the like."""
    by = items_of(listed, text)
    if by is None:
        return None
    other = _complement(ir.Builtin(span, ".texts", (ir.Operate(span, "list", (item,)),)))
    return _complement(ir.Builtin(span, ".each_item", (by, *_all_of_them(span), other)))


def quantified(
    gather: ir.Gather, text: int, every: bool, language_of: LanguageOf
) -> ir.Expr | None:
    """`all(... for ...)`, or `any`."""
    span = gather.span
    clause, *rest = gather.clauses
    if rest:
        inner = replace(gather, clauses=tuple(rest))
        element: ir.Expr = ir.Builtin(span, "all" if every else "any", (inner,))
        return quantified(ir.Gather(span, element, (clause,)), text, every, language_of)
    if text not in reads(clause.iterable):
        return _over_list(gather, clause, text, every, language_of)
    # `any` is: not all fail.
    holds = gather.element if every else ir.Operate(span, "not", (gather.element,))
    failed = tuple(ir.Operate(c.span, "not", (c,)) for c in clause.conditions)
    test = ir.Or(span, (*failed, holds)) if failed else holds
    each = _each_item(span, clause, test, text, language_of)
    return each if every or each is None else _complement(each)


def _over_list(
    gather: ir.Gather, clause: ir.Clause, text: int, every: bool, language_of: LanguageOf
) -> ir.Expr | None:
    """All or some of a list that does not depend on the text, with a test of the text each."""
    span, element, conditions = gather.span, gather.element, clause.conditions
    if text in reads(conditions):
        failed = tuple(ir.Operate(c.span, "not", (c,)) for c in conditions)
        tests = (*failed, element) if every else (*conditions, element)
        element = ir.Or(span, tests) if every else ir.And(span, tests)
        conditions = ()
    match clause:
        case ir.Clause((slot,), ir.Operate(operator="list", args=items)) if (
            not conditions and not bound(element)
        ):
            tests = tuple(substitute(element, {slot: item}) for item in items)
            return language_of(ir.And(span, tests) if every else ir.Or(span, tests), text)
    part = language_of(element, text)
    if part is None or has_grammar(part):
        return None
    listed = ir.Gather(span, part, (replace(clause, conditions=conditions),))
    return ir.Builtin(span, ".both" if every else ".either", (listed,))


def _each_item(
    span: Span, clause: ir.Clause, test: ir.Expr, text: int, language_of: LanguageOf
) -> ir.Expr | None:
    """The texts of which each item passes a test; None for tests that look at more of the text than
    the item."""
    match clause.iterable:
        case ir.Builtin(name="zip", args=lists):
            return _paired(span, clause, lists, test, text, language_of)
        case ir.Builtin(name="enumerate", args=(listed, _)) if len(clause.targets) == 2:
            number, item = clause.targets
            if number in reads(test):
                return None
        case listed if len(clause.targets) == 1:
            (item,) = clause.targets
        case _:
            return None
    sliced: tuple[ir.Expr, ...] = _all_of_them(span)
    match listed:
        case ir.Operate(operator="slice", args=(whole, *cut)) if iterated(whole, text) is not None:
            listed, sliced = whole, tuple(cut)
    by = iterated(listed, text)
    if by is None or text in reads((test, sliced)):
        return None
    part = language_of(test, item)
    if part is None or has_grammar(part):
        return None
    return ir.Builtin(span, ".each_item", (by, *sliced, part))


def _paired(
    span: Span,
    clause: ir.Clause,
    lists: tuple[ir.Expr, ...],
    test: ir.Expr,
    text: int,
    language_of: LanguageOf,
) -> ir.Expr | None:
    """`all(... for l, k in zip(lines(s), keys))`: each item with one of a list that does not depend
    on the text."""
    views = [i for i, e in enumerate(lists) if text in reads(e)]
    if len(views) != 1 or len(clause.targets) != len(lists):
        return None
    by, item = iterated(lists[views[0]], text), clause.targets[views[0]]
    part = language_of(test, item) if by is not None and text not in reads(test) else None
    if by is None or part is None or has_grammar(part):
        return None
    rest = [i for i in range(len(lists)) if i != views[0]]
    targets = tuple(clause.targets[i] for i in rest)
    match rest, lists[rest[0]]:
        case [_], ir.Operate(operator="list", args=items) if not bound(part):
            parts = (substitute(part, {targets[0]: one}) for one in items)
            each: ir.Expr = ir.Operate(span, "list", tuple(parts))
        case [_], others:
            each = ir.Gather(span, part, (ir.Clause(targets, others, ()),))
        case _:
            others = ir.Builtin(span, "zip", tuple(lists[i] for i in rest))
            each = ir.Gather(span, part, (ir.Clause(targets, others, ()),))
    return ir.Builtin(span, ".paired", (by, each))


def list_language(
    span: Span, listed: ir.Expr, value: ir.Expr, text: int, language_of: LanguageOf
) -> ir.Expr | None:
    """The texts of which a list, or a text joined of a list, equals a value."""
    match listed:
        case ir.Operate(operator="slice", args=(whole, *cut)) if text not in reads(tuple(cut)):
            by = items_of(whole, text)
            return None if by is None else ir.Builtin(span, ".items_are", (by, *cut, value))
        case ir.Builtin(name="join", args=(ir.Gather() as gather, between)) if text not in reads(
            between
        ):
            return _joined(span, gather, between, value, text, language_of)
        case ir.Builtin(name="join", args=(inner, between)) if text not in reads(between):
            slot = fresh_slot()
            item = ir.Local(span, slot)
            gather = ir.Gather(span, item, (ir.Clause((slot,), inner, ()),))
            return _joined(span, gather, between, value, text, language_of)
        case ir.Builtin(name="lower" | "upper" as to, args=(ir.Builtin(name="join") as joined,)):
            match joined.args:
                case (ir.Gather(element=element, clauses=clauses), between):
                    of = ir.Gather(span, ir.Builtin(span, to, (element,)), clauses)
                    between = ir.Builtin(span, to, (between,))
                    return list_language(
                        span, ir.Builtin(span, "join", (of, between)), value, text, language_of
                    )
        case ir.Gather():
            return _gathered(span, listed, value, text, language_of)
    by = items_of(listed, text)
    return None if by is None else ir.Builtin(span, ".items_are", (by, *_all_of_them(span), value))


def _compared(
    span: Span, gather: ir.Gather, text: int, language_of: LanguageOf
) -> tuple[ir.Expr, int, ir.Expr] | None:
    """What the items of a gather are, a slot, and the language of the items whose element equals
    what is in the slot; None where the element is none of the item alone."""
    match gather.clauses:
        case (ir.Clause((item,), iterable, ()),):
            by = iterated(iterable, text)
        case _:
            return None
    if by is None or text in reads(gather.element):
        return None
    slot = fresh_slot()
    part = language_of(ir.Operate(span, "eq", (gather.element, ir.Local(span, slot))), item)
    return None if part is None or has_grammar(part) else (by, slot, part)


def _gathered(
    span: Span, gather: ir.Gather, value: ir.Expr, text: int, language_of: LanguageOf
) -> ir.Expr | None:
    """`[len(w) for w in words(s)] == [3, 5]`: each item gives its value of the list."""
    found = _compared(span, gather, text, language_of)
    if found is None:
        return None
    by, slot, part = found
    match value:
        case ir.Operate(operator="list", args=items) if not bound(part):
            parts = tuple(substitute(part, {slot: one}) for one in items)
            return ir.Builtin(span, ".items_in", (by, ir.Operate(span, "list", parts)))
    each = ir.Gather(span, part, (ir.Clause((slot,), value, ()),))
    return ir.Builtin(span, ".items_in", (by, each))


def _joined(
    span: Span,
    gather: ir.Gather,
    between: ir.Expr,
    value: ir.Expr,
    text: int,
    language_of: LanguageOf,
) -> ir.Expr | None:
    """`join([l[0] for l in lines(s)]) == "SEA"`: each item gives a piece of the value."""
    found = _compared(span, gather, text, language_of)
    if found is None:
        return None
    by, slot, part = found
    pieces = ir.Builtin(span, ".pieces", (value,))
    parts = ir.Gather(span, part, (ir.Clause((slot,), pieces, ()),))
    return ir.Builtin(span, ".joined", (by, between, value, parts))


def _all_of_them(span: Span) -> tuple[ir.Expr, ir.Expr]:
    """The ends of a slice that is the whole list."""
    return ir.Const(span, None), ir.Const(span, None)


def _complement(language: ir.Expr) -> ir.Expr:
    return ir.Builtin(language.span, ".complement", (language,))
