"""Sums of counts of a text, and how many tests of a list hold, compared with numbers:
`count(s, "a") == count(s, "b")`, `len(words(s)) % 2 == 0`, `sum([k in s for k in keys]) >= 2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads
from fkdsl.ir.passes.forms import is_test
from fkdsl.ir.passes.reading import substitute
from fkdsl.ir.passes.views import LanguageOf, has_grammar, items_of, iterated

FLIPPED = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq"}


def sum_language(test: ir.Operate, text: int, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a comparison of two numbers, one of which at least is a sum of counts of the
    text; None for other tests."""
    span, operator = test.span, test.operator
    a, b = test.args
    if operator != "in" and text in reads(a) and text in reads(b):
        a, b = ir.Operate(span, "sub", (a, b)), ir.Const(span, 0)
    elif operator != "in" and text in reads(b):
        a, b, operator = b, a, FLIPPED[operator]
    if text in reads(b):
        return None
    divisor: ir.Expr = ir.Const(span, 0)
    match a:
        case ir.Operate(operator="mod", args=(inner, by)) if text not in reads(by):
            a, divisor = inner, by
    numbers = (divisor, ir.Const(span, operator), b)
    sums = _Sum(text, language_of)
    if sums.add(a, ir.Const(span, 1)):
        if sums.numbers:
            return _of_number(sums, numbers)
        terms, first = ir.Operate(span, "list", tuple(sums.terms)), sums.first
        return ir.Builtin(span, ".sum_among", (terms, first or ir.Const(span, 0), *numbers))
    tests = _tests(a, text, language_of)
    if tests is None or divisor != ir.Const(span, 0):
        return None
    return ir.Builtin(span, ".as_many_hold", (tests, *numbers[1:]))


def _of_number(sums: _Sum, numbers: tuple[ir.Expr, ir.Expr, ir.Expr]) -> ir.Expr | None:
    """The language of a sum that has the number that the text writes in it, times something, or of
    the rest of its division. None where counts are added to it."""
    divisor, operator, bound = numbers
    span = operator.span
    if sums.terms or len(sums.numbers) > 1:
        return None
    first = sums.first or ir.Const(span, 0)
    if divisor != ir.Const(span, 0):
        of_rest = (sums.numbers[0], first, divisor, operator, bound)
        return ir.Builtin(span, ".rest_of_number", of_rest)
    return ir.Builtin(span, ".number_in_sum", (sums.numbers[0], first, operator, bound))


@dataclass
class _Sum:
    """The terms of a sum, each an expression of a list of counts, and what does not depend on the
    text. numbers: what the whole number that the text writes is multiplied with, for each time that
    it is added."""

    text: int
    language_of: LanguageOf
    terms: list[ir.Expr] = field(default_factory=list)
    first: ir.Expr | None = None
    numbers: list[ir.Expr] = field(default_factory=list)

    def add(self, e: ir.Expr, factor: ir.Expr) -> bool:
        """Adds an expression times a factor; whether it is such a sum."""
        span = e.span
        if self.text not in reads(e):
            more = ir.Operate(span, "mul", (factor, e))
            self.first = more if self.first is None else ir.Operate(span, "add", (self.first, more))
            return True
        match e:
            case ir.Operate(operator="add", args=(a, b)):
                return self.add(a, factor) and self.add(b, factor)
            case ir.Operate(operator="sub", args=(a, b)):
                return self.add(a, factor) and self.add(b, ir.Operate(span, "neg", (factor,)))
            case ir.Operate(operator="neg", args=(a,)):
                return self.add(a, ir.Operate(span, "neg", (factor,)))
            case ir.Operate(operator="mul", args=(a, b)):
                for of, times in ((a, b), (b, a)):
                    if self.text not in reads(times):
                        return self.add(of, ir.Operate(span, "mul", (factor, times)))
                return False
            case ir.Builtin(name="sum", args=(ir.Operate(operator="list", args=items),)):
                return all(self.add(item, factor) for item in items)
            case ir.Builtin(name="int", args=(ir.Local(slot=slot),)) if slot == self.text:
                self.numbers.append(factor)
                return True
            case ir.Builtin(name="sum", args=(ir.Gather() as gather,)) if not _depends(
                gather, self.text
            ):
                return self.add_each(gather, factor)
        term = self.term(e, factor)
        if term is not None:
            self.terms.append(term)
        return term is not None

    def add_each(self, gather: ir.Gather, factor: ir.Expr) -> bool:
        """Adds a sum over a list that does not depend on the text."""
        inner = _Sum(self.text, self.language_of)
        items = _written_out(gather)
        if items is not None:
            return all(self.add(item, factor) for item in items)
        if not inner.add(gather.element, factor) or inner.first is not None or bound(inner.terms):
            return False
        if inner.numbers:
            return False
        each = ir.Operate(gather.span, "list", tuple(inner.terms))
        self.terms.append(ir.Gather(gather.span, each, gather.clauses))
        return True

    def term(self, e: ir.Expr, factor: ir.Expr) -> ir.Expr | None:
        """A count of the text, as a list of one."""
        span, whole = e.span, ir.Local(e.span, self.text)

        def of(by: ir.Expr, part: ir.Expr) -> ir.Expr:
            return ir.Builtin(span, ".term", (factor, by, part))

        characters, everything = ir.Const(span, "characters"), _all_texts(span)
        match e:
            case ir.Builtin(name="len", args=(s,)) if s == whole:
                return of(characters, everything)
            case ir.Builtin(name="letters", args=(s,)) if s == whole:
                some = ir.Builtin(span, ".numbers", (ir.Const(span, "ge"), ir.Const(span, 1)))
                return of(characters, ir.Builtin(span, ".letters", (some,)))
            case ir.Builtin(name="count", args=(s, part)) if s == whole and self.text not in reads(
                part
            ):
                return ir.Builtin(span, ".occurrences", (factor, part))
        items = counted_items(e, self.text, self.language_of)
        return None if items is None else of(*items)


def counted_items(e: ir.Expr, text: int, language_of: LanguageOf) -> tuple[ir.Expr, ir.Expr] | None:
    """(how the text is taken apart, the language of the items that count) of a number of items:
    `len(words(s))`, `sum([1 for w in words(s) if len(w) > 3])`. None for other numbers."""
    match e:
        case ir.Builtin(name="len", args=(ir.Gather() as gather,)):
            return _items_that(gather, (), text, language_of)
        case ir.Builtin(name="sum", args=(ir.Gather(element=ir.Const(value=1)) as gather,)):
            return _items_that(gather, (), text, language_of)
        case ir.Builtin(name="sum", args=(ir.Gather(element=element) as gather,)) if is_test(
            element
        ):
            return _items_that(gather, (element,), text, language_of)
        case ir.Builtin(name="len", args=(listed,)):
            by = items_of(listed, text)
            return None if by is None else (by, _all_texts(e.span))
    return None


def _items_that(
    gather: ir.Gather, tests: tuple[ir.Expr, ...], text: int, language_of: LanguageOf
) -> tuple[ir.Expr, ir.Expr] | None:
    """The items of the text that pass the comprehension's conditions and some more."""
    match gather.clauses:
        case (ir.Clause((item,), iterable, conditions),):
            by = iterated(iterable, text)
        case _:
            return None
    if by is None or text in reads((conditions, tests)):
        return None
    part = language_of(ir.And(gather.span, (*conditions, *tests)), item)
    return None if part is None or has_grammar(part) else (by, part)


def _tests(e: ir.Expr, text: int, language_of: LanguageOf) -> ir.Expr | None:
    """The languages of the tests, an expression of a list, of which a number says how many hold."""
    match e:
        case ir.Builtin(name="sum", args=(ir.Operate(operator="list", args=items),)) if all(
            map(is_test, items)
        ):
            return _list_of(e.span, items, text, language_of)
        case ir.Operate(operator="add"):
            added = _added(e)
            return _list_of(e.span, added, text, language_of) if all(map(is_test, added)) else None
        case ir.Builtin(name="sum", args=(ir.Gather(element=element) as gather,)) if is_test(
            element
        ):
            tests: tuple[ir.Expr, ...] = (element,)
        case ir.Builtin(name="sum", args=(ir.Gather(element=ir.Const(value=1)) as gather,)):
            tests = ()
        case ir.Builtin(name="len", args=(ir.Gather() as gather,)):
            tests = ()
        case _:
            return None
    match gather.clauses:
        case (ir.Clause(iterable=iterable, conditions=conditions) as clause,):
            pass
        case _:
            return None
    if text in reads(iterable):
        return None
    test = ir.And(gather.span, (*conditions, *tests))
    over = ir.Gather(gather.span, test, (ir.Clause(clause.targets, iterable, ()),))
    written = _written_out(over)
    if written is not None:
        return _list_of(gather.span, written, text, language_of)
    part = language_of(test, text)
    if part is None or has_grammar(part):
        return None
    return ir.Gather(gather.span, part, over.clauses)


def _added(e: ir.Expr) -> list[ir.Expr]:
    """The terms of a sum."""
    match e:
        case ir.Operate(operator="add", args=(a, b)):
            return [*_added(a), *_added(b)]
    return [e]


def _list_of(
    span: Span, tests: Sequence[ir.Expr], text: int, language_of: LanguageOf
) -> ir.Expr | None:
    parts = [part for test in tests if (part := language_of(test, text)) is not None]
    if len(parts) < len(tests) or any(map(has_grammar, parts)):
        return None
    return ir.Operate(span, "list", tuple(parts))


def _written_out(gather: ir.Gather) -> list[ir.Expr] | None:
    """The elements over a list that is written out."""
    match gather.clauses:
        case (ir.Clause((slot,), ir.Operate(operator="list", args=items), ()),) if not bound(
            gather.element
        ):
            return [substitute(gather.element, {slot: item}) for item in items]
    return None


def _depends(gather: ir.Gather, text: int) -> bool:
    """Whether what a comprehension runs over depends on the text."""
    return text in reads(tuple((c.iterable, c.conditions) for c in gather.clauses))


def _all_texts(span: Span) -> ir.Expr:
    return ir.Builtin(span, ".when", (ir.Const(span, True),))
