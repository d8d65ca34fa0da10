"""Tests that compare characters of a text with each other: `s[0] == s[-1]`,
`all(w[0] == words(s)[0][0] for w in words(s))`.

One of the characters is taken to be each of a few in turn: what is then left is a test of the
text. Of texts where it is another one nothing is known, and they are allowed.
"""

from __future__ import annotations

from string import ascii_letters

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, subexpressions
from fkdsl.ir.passes.inline import fresh_slot
from fkdsl.ir.passes.reading import replaced_part
from fkdsl.ir.passes.views import LanguageOf, has_grammar, is_always_asked, items_of

CHARACTERS = ascii_letters
"""The characters that are told apart."""


def same_character(test: ir.Expr, text: int, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a test that compares a character at a fixed place with the rest of the text;
    None for other tests."""
    bound_here = bound(test)
    for e in subexpressions(test):
        if not _is_character(e, text) or not bound_here.isdisjoint(reads(e)):
            continue
        span, slot = test.span, fresh_slot()
        one = ir.Local(span, slot)
        rest = replaced_part(test, e, one)
        if text not in reads(rest):
            continue
        among = ir.Operate(span, "list", tuple(ir.Const(span, c) for c in CHARACTERS))
        is_one = language_of(ir.Operate(span, "eq", (e, one)), text)
        holds = language_of(rest, text)
        unknown = _others(e, test, rest, one, among, text, language_of)
        if is_one is None or holds is None or unknown is None or has_grammar(holds):
            return None
        both = ir.Builtin(span, ".both", (ir.Operate(span, "list", (is_one, holds)),))
        each = ir.Gather(span, both, (ir.Clause((slot,), among, ()),))
        either = ir.Operate(span, "list", (ir.Builtin(span, ".one_of", (each,)), unknown))
        return ir.Builtin(span, ".either", (either,))
    return None


def _others(
    e: ir.Expr,
    test: ir.Expr,
    rest: ir.Expr,
    one: ir.Expr,
    among: ir.Expr,
    text: int,
    language_of: LanguageOf,
) -> ir.Expr | None:
    """The texts where the character e is another one, or is not there and not asked for."""
    span = test.span
    others = [e]
    match rest:
        case ir.Operate(operator="eq", args=(a, b)) if one in (a, b):
            others.append(b if a == one else a)  # then both are other ones
    if is_always_asked(e, test):
        parts = [language_of(ir.Operate(span, "notin", (o, among)), text) for o in others]
    else:
        letter = language_of(ir.Operate(span, "in", (e, among)), text)
        parts = [letter and ir.Builtin(span, ".no_such_value", (letter,))]
    known = tuple(part for part in parts if part is not None)
    if len(known) < len(parts):
        return None
    both = ir.Builtin(span, ".both", (ir.Operate(span, "list", known),))
    return ir.Builtin(span, ".larger", (both, ir.Const(span, "")))


def _is_character(e: ir.Expr, text: int) -> bool:
    """Whether an expression is a character of the text, or of one of its words or lines."""
    match e:
        case ir.Operate(operator="index", args=(ir.Local(slot=slot), at)):
            return slot == text and text not in reads(at)
        case ir.Operate(
            operator="index", args=(ir.Operate(operator="index", args=(listed, place)), at)
        ):
            return items_of(listed, text) is not None and text not in reads((place, at))
    return False
