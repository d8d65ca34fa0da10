"""Tests of several whole numbers in a text: `int(words(s)[0]) + int(words(s)[1]) == 57`.

The first of them is taken to be each of a few in turn: what is then left is a test of the others.
Where it is larger, or negative, a comparison still says within which bounds the rest lies.
"""

from __future__ import annotations

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, subexpressions
from fkdsl.ir.passes.inline import fresh_slot
from fkdsl.ir.passes.reading import replaced_part
from fkdsl.ir.passes.views import LanguageOf, has_grammar, is_always_asked, items_of

NUMBERS = range(100)
"""The numbers that are told apart."""
BOUNDED = {"eq": ("le", "ge"), "le": ("le", None), "lt": ("lt", None), "ge": (None, "ge")}
BOUNDED["gt"] = (None, "gt")
"""For a comparison of a sum with 0: how the sum compares with 0 once a term of it is put down, and
once a term is put up; None where nothing is known."""


def same_number(test: ir.Expr, text: int, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a test of two whole numbers that stand at fixed places of the text; None for
    other tests. Of three, there would be NUMBERS times NUMBERS cases."""
    bound_here = bound(test)
    numbers = [e for e in subexpressions(test) if _is_number(e, text)]
    if len(set(numbers)) != 2:
        return None
    for e in numbers:
        if not bound_here.isdisjoint(reads(e)):
            continue
        span, slot = test.span, fresh_slot()
        one = ir.Local(span, slot)
        rest = replaced_part(test, e, one)
        if text not in reads(rest) or not is_always_asked(e, test):
            continue
        among = ir.Operate(span, "list", tuple(ir.Const(span, n) for n in NUMBERS))
        is_one = language_of(ir.Operate(span, "eq", (e, one)), text)
        holds = language_of(rest, text)
        beyond = [_beyond(e, test, up, text, language_of) for up in (True, False)]
        known = [part for part in beyond if part is not None]
        if is_one is None or holds is None or has_grammar(holds) or len(known) < len(beyond):
            return None
        both = ir.Builtin(span, ".both", (ir.Operate(span, "list", (is_one, holds)),))
        each = ir.Gather(span, both, (ir.Clause((slot,), among, ()),))
        parts = (ir.Builtin(span, ".one_of", (each,)), *known)
        return ir.Builtin(span, ".either", (ir.Operate(span, "list", parts),))
    return None


def _beyond(
    e: ir.Expr, test: ir.Expr, up: bool, text: int, language_of: LanguageOf
) -> ir.Expr | None:
    """A language that has all texts that pass the test with a number e above NUMBERS, or below."""
    span = test.span
    end = ir.Const(span, NUMBERS.stop if up else NUMBERS.start - 1)
    out = language_of(ir.Operate(span, "ge" if up else "le", (e, end)), text)
    if out is None:
        return None
    parts = [out]
    match test:
        case ir.Operate(operator=operator, args=(a, b)) if operator in BOUNDED:
            sign = _sign(e, a) or -_sign(e, b)
            weaker = BOUNDED[operator][0 if (sign > 0) == up else 1] if sign else None
            if weaker is not None:
                rest = replaced_part(ir.Operate(span, weaker, (a, b)), e, end)
                bounded = language_of(rest, text)
                if bounded is not None and not has_grammar(bounded):
                    parts.append(bounded)
    both = ir.Builtin(span, ".both", (ir.Operate(span, "list", tuple(parts)),))
    return ir.Builtin(span, ".larger", (both, ir.Const(span, "")))


def _sign(e: ir.Expr, within: ir.Expr) -> int:
    """1 where e is added, once or times something, -1 where it is taken away, 0 where neither is
    seen."""
    match within:
        case _ if within == e:
            return 1
        case ir.Operate(operator="add", args=(a, b)):
            return _of_one(_sign(e, a), _sign(e, b))
        case ir.Operate(operator="sub", args=(a, b)):
            return _of_one(_sign(e, a), -_sign(e, b))
        case ir.Operate(operator="neg", args=(a,)):
            return -_sign(e, a)
        case ir.Operate(
            operator="mul", args=(ir.Const(value=int(n)), a) | (a, ir.Const(value=int(n)))
        ):
            return _sign(e, a) * ((n > 0) - (n < 0))
    return 0


def _of_one(a: int, b: int) -> int:
    """The sign of what stands in one of two terms; 0 for what stands in both."""
    return 0 if a and b else a or b


def _is_number(e: ir.Expr, text: int) -> bool:
    """Whether an expression is a whole number that a word, line or other item of the text is."""
    match e:
        case ir.Builtin(name="int", args=(ir.Operate(operator="index", args=(listed, place)),)):
            return items_of(listed, text) is not None and text not in reads(place)
    return False
