"""Conditions on a text as the language that they hold it to: expressions over the built-ins of
values/library/languages.py.

Here: tests and their and, or, not. What a test may look at besides the text itself is in views.py
(`lower(s)`, `words(s)[1]`), what it may count in counts.py and sums.py, what it says of each word,
line or sentence in item_tests.py, and how two characters or numbers of it compare in
same_character.py, same_number.py and three_numbers.py, and values of a JSON text in json_tests.py.
What can be said in other words is put into those (forms.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, subexpressions
from fkdsl.ir.passes.counts import count_language
from fkdsl.ir.passes.forms import in_plain_form
from fkdsl.ir.passes.item_tests import list_language, quantified, some_item
from fkdsl.ir.passes.json_tests import Json, json_test, opposite
from fkdsl.ir.passes.same_character import same_character
from fkdsl.ir.passes.same_number import same_number
from fkdsl.ir.passes.three_numbers import summed_numbers, three_numbers
from fkdsl.ir.passes.views import (
    has_grammar,
    has_json_test,
    is_always_asked,
    items_of,
    iterated,
    own_form,
    view_language,
)

ATOMS = {
    "matches": ".matches",
    "contains": ".contains",
    "starts_with": ".starts_with",
    "ends_with": ".ends_with",
    "valid_json": ".json",
    "parses": ".grammar",
}
"""Built-in tests of a text, and the built-ins that give the language of the texts that pass."""
POSITIVE = {"notin": "in", "ne": "eq"}
ORDERS = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}
"""Comparisons of numbers, and those that are true where they are not."""
MOST_CHOICES = 6
"""Choices in the test of a choice, which is read twice."""
PART_UNKNOWN = "one side of an `and`"


def language_of(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of the texts in a slot for which a test is true; None if the test is not one of
    languages alone."""
    return _language(in_plain_form(test), text)


def _language(test: ir.Expr, text: int) -> ir.Expr | None:
    """`language_of` for a test in its plain form."""
    span = test.span
    if text not in reads(test):
        return ir.Builtin(span, ".when", (test,))
    json = Json(text)
    match test:
        case ir.And(operands=operands):
            return _and(span, [_language(o, text) for o in operands])
        case ir.Or(operands=operands):
            parts = [p for o in operands if (p := _language(o, text)) is not None]
            if len(parts) < len(operands):
                return None
            return ir.Builtin(span, ".either", (ir.Operate(span, "list", tuple(parts)),))
        case ir.Choose(test=decides, then=then, other=other):
            if sum(isinstance(e, ir.Choose) for e in subexpressions(decides)) > MOST_CHOICES:
                return None
            either = (
                ir.And(span, (decides, then)),
                ir.And(span, (ir.Operate(span, "not", (decides,)), other)),
            )
            return _language(ir.Or(span, either), text)
        case ir.Operate(operator="not", args=(ir.Operate(operator=operator, args=args),)) if (
            operator in ORDERS and any(_is_float(a, text) for a in args)
        ):  # a weaker language has no complement that says anything
            return _language(ir.Operate(span, ORDERS[operator], args), text)
        case ir.Operate(operator="not", args=(inner,)) if json.has_value(inner) and (
            denied := opposite(inner)
        ):
            return _language(denied, text)
        case _ if json.has_value(test) and (of_values := json_test(test, json, _language)):
            return of_values
        case ir.Operate(operator="not", args=(inner,)):
            return complement(_language(inner, text))
        case ir.Operate(operator="notin" | "ne" as operator, args=args):
            return complement(_language(ir.Operate(span, POSITIVE[operator], args), text))
    return (
        _simple(test, text)
        or view_language(test, text, _language)
        or same_character(test, text, _told)
        or same_number(test, text, _told)
        or three_numbers(test, text)
        or summed_numbers(test, text)
        or _readable(test, text)
    )


def _told(test: ir.Expr, text: int) -> ir.Expr | None:
    """`_language` for what takes a character or number to be each of many in turn: not where it
    says no more than that what the test looks at is there, which would stand there once for each
    in vain, and not where it takes another one in turn, since their numbers multiply."""
    language = _language(test, text)
    parts = () if language is None else subexpressions(language)
    return None if any(_calls(part, ".readable", ".one_of") for part in parts) else language


def _calls(e: ir.Expr, *names: str) -> bool:
    return isinstance(e, ir.Builtin) and e.name in names


def _readable(test: ir.Expr, text: int) -> ir.Expr | None:
    """The texts that have what a test looks at, whatever it says of that: as many words as that
    takes, a number where it reads one. Of others the program raises an error."""
    span, parts = test.span, []
    everything = ir.Builtin(span, ".when", (ir.Const(span, True),))
    for e in subexpressions(test):
        part: ir.Expr | None = None
        match e:
            case ir.Operate(operator="index", args=(listed, at)) if text not in reads(at):
                by = iterated(listed, text)
                if by is not None:
                    part = ir.Builtin(span, ".item_at", (by, at, everything))
            case ir.Builtin(name="int" | "float", args=(of,)) if text in reads(of):
                zero = ir.Const(span, 0)
                both = (ir.Operate(span, "ge", (e, zero)), ir.Operate(span, "lt", (e, zero)))
                if _is_simple(of, text):
                    part = _language(ir.Or(span, both), text)
        if part is not None and is_always_asked(e, test) and bound(test).isdisjoint(reads(e)):
            parts.append(part)
    if not parts:
        return None
    whole = ir.Builtin(span, ".both", (ir.Operate(span, "list", tuple(dict.fromkeys(parts))),))
    return ir.Builtin(span, ".readable", (whole,))


def _is_simple(e: ir.Expr, text: int) -> bool:
    """Whether an expression is the text, or one of its items."""
    match e:
        case ir.Local(slot=slot):
            return slot == text
        case ir.Operate(operator="index", args=(listed, _)):
            return items_of(listed, text) is not None
    return False


def _is_float(e: ir.Expr, text: int) -> bool:
    """Whether an expression is a number that the text writes, which is finite."""
    return isinstance(e, ir.Builtin) and e.name == "float" and text in reads(e)


def _simple(test: ir.Expr, text: int) -> ir.Expr | None:
    """`language_of` for a test of the text itself, of a number that counts something in it, or of
    its items."""
    span = test.span
    match test:
        case ir.Builtin(name=name, args=(ir.Local(slot=slot), *given)) if (
            slot == text and name in ATOMS and text not in reads(tuple(given))
        ):
            return ir.Builtin(span, ATOMS[name], tuple(given))
        case ir.Builtin(name="all" | "any" as name, args=(ir.Gather() as gather,)):
            # What looks at one view of the text says all of that view: `lower(s)` is made once.
            return view_language(test, text, _language) or quantified(
                gather, text, name == "all", _language
            )
        case ir.Operate(operator="in", args=(ir.Local(slot=slot), among)) if (
            slot == text and text not in reads(among)
        ):
            return ir.Builtin(span, ".among", (among,))
        case ir.Builtin(name="contains", args=(whole, ir.Local(slot=slot))) if (
            slot == text and text not in reads(whole)
        ):
            return ir.Builtin(span, ".among", (whole,))
        case ir.Operate(operator="in", args=(part, ir.Local(slot=slot))) if (
            slot == text and text not in reads(part)
        ):
            return ir.Builtin(span, ".contains", (part,))
        case ir.Operate(operator="in", args=(item, listed)) if text not in reads(item):
            return some_item(span, item, listed, text)
        case ir.Operate(operator="eq", args=(a, b)):
            for view, other in ((a, b), (b, a)):
                if text in reads(other):
                    result = own_form(span, view, other, text)
                elif view == ir.Local(span, text):
                    result = ir.Builtin(span, ".texts", (ir.Operate(span, "list", (other,)),))
                else:
                    result = list_language(span, view, other, text, _language)
                if result is not None:
                    return result
    return count_language(test, text, _language) if isinstance(test, ir.Operate) else None


def _and(span: Span, parts: Sequence[ir.Expr | None]) -> ir.Expr | None:
    """The language of an `and`. Where a part is none, that of the others, which is larger."""
    known = tuple(p for p in parts if p is not None)
    if not known:
        return None
    both = ir.Builtin(span, ".both", (ir.Operate(span, "list", known),))
    if len(known) == len(parts) or all(map(has_json_test, known)):
        return both
    if has_grammar(both) or all(_is_fixed(p) for p in known):
        return None
    return ir.Builtin(span, ".larger", (both, ir.Const(span, PART_UNKNOWN)))


def _is_fixed(language: ir.Expr) -> bool:
    return _calls(language, ".when")


def complement(language: ir.Expr | None) -> ir.Expr | None:
    """The language of `not`; None for a schema or grammar, which masks do not follow there."""
    if language is None or has_grammar(language):
        return None
    return ir.Builtin(language.span, ".complement", (language,))


def all_of(span: Span, languages: Sequence[ir.Expr]) -> ir.Expr:
    """The language of the texts that are in all of them."""
    if len(languages) == 1:
        return languages[0]
    return ir.Builtin(span, ".both", (ir.Operate(span, "list", tuple(languages)),))
