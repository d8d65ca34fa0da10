"""Conditions on a text as the language that they hold it to: expressions over the built-ins of
values/library/languages.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, subexpressions
from fkdsl.ir.passes.reading import rebuilt, substitute

ATOMS = {
    "matches": ".matches",
    "contains": ".contains",
    "starts_with": ".starts_with",
    "ends_with": ".ends_with",
    "valid_json": ".json",
    "parses": ".grammar",
}
"""Built-in tests of a text, and the built-ins that give the language of the texts that pass."""
WORD_SLOTS = 2_000_000
"""Added to a text's slot it is a slot beyond those of any function, which stands for a word of the
text while the language of that word is found."""
LENGTHS = {"len": ".length", "letters": ".letters"}


def language_of(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of the texts in a slot for which a test is true; None if the test is not one of
    languages alone."""
    span = test.span
    match test:
        case ir.Builtin(name=name, args=(ir.Local(slot=slot), *given)) if (
            slot == text and name in ATOMS
        ):
            return (
                None if text in reads(tuple(given)) else ir.Builtin(span, ATOMS[name], tuple(given))
            )
        case ir.And(operands=operands) | ir.Or(operands=operands):
            parts = [language_of(o, text) for o in operands]
            if any(p is None or (isinstance(test, ir.Or) and has_grammar(p)) for p in parts):
                return None
            name = ".both" if isinstance(test, ir.And) else ".either"
            return ir.Builtin(
                span, name, (ir.Operate(span, "list", tuple(p for p in parts if p is not None)),)
            )
        case ir.Operate(operator="not", args=(inner,)):
            part = language_of(inner, text)
            return (
                None
                if part is None or has_grammar(part)
                else ir.Builtin(span, ".complement", (part,))
            )
        case ir.Operate(operator="notin" | "ne" as operator, args=args):
            positive = ir.Operate(span, "in" if operator == "notin" else "eq", args)
            part = language_of(positive, text)
            return None if part is None else ir.Builtin(span, ".complement", (part,))
        case ir.Operate(
            operator="in", args=(ir.Local(slot=slot), ir.Operate(operator="list", args=items))
        ):
            texts = ir.Operate(span, "list", items)
            return (
                ir.Builtin(span, ".texts", (texts,))
                if slot == text and text not in reads(texts)
                else None
            )
        case ir.Operate(
            operator="in", args=(ir.Const(value=str()) as part, ir.Local(slot=slot))
        ) if slot == text:
            return ir.Builtin(span, ".contains", (part,))
        case ir.Operate(operator="in", args=(word, ir.Builtin(name="words", args=(of,)))) if (
            text not in reads(word)
        ):
            return _some_word(span, word, of, text)
        case ir.Operate(operator="eq", args=(a, b)):
            view = _of_view(test, text)
            if view is not None:
                return view
            other = b if a == ir.Local(span, text) else a if b == ir.Local(span, text) else None
            if other is not None and text not in reads(other):
                return ir.Builtin(span, ".texts", (ir.Operate(span, "list", (other,)),))
            return _length(test, text)
        case ir.Operate():
            return _of_view(test, text) or _length(test, text)
        case ir.Builtin(name="all" | "any" as name, args=(ir.Gather() as gather,)):
            return _of_words(gather, text, name == "all") or _of_list(gather, text, name == "all")
    return _of_view(test, text)


def _some_word(span: Span, word: ir.Expr, of: ir.Expr, text: int) -> ir.Expr | None:
    """`word in words(s)`, or in words(lower(s))."""
    match of:
        case ir.Local(slot=slot) if slot == text:
            part = ir.Builtin(span, ".texts", (ir.Operate(span, "list", (word,)),))
        case ir.Builtin(name="lower", args=(ir.Local(slot=slot),)) if slot == text:
            part = ir.Builtin(span, ".lower_word", (word,))
        case _:
            return None
    none = ir.Builtin(span, ".each_word", (ir.Builtin(span, ".complement", (part,)),))
    return ir.Builtin(span, ".complement", (none,))


def _of_list(gather: ir.Gather, text: int, every: bool) -> ir.Expr | None:
    """`all(... for k in keys)`, or `any`, over a list that does not depend on the text."""
    if text in reads(gather.clauses):
        return None
    span = gather.span
    match gather.clauses:
        case (ir.Clause((slot,), ir.Operate(operator="list", args=items), ()),) if not bound(
            gather.element
        ):
            tests = tuple(substitute(gather.element, {slot: item}) for item in items)
            return language_of(ir.And(span, tests) if every else ir.Or(span, tests), text)
    part = language_of(gather.element, text)
    if part is None or has_grammar(part):
        return None
    return ir.Builtin(span, ".both" if every else ".either", (replace(gather, element=part),))


def _of_view(test: ir.Expr, text: int) -> ir.Expr | None:
    """A test of `last_word(s)` or of `words(s)[i]`: the texts whose word is in the language of the
    test."""
    span = test.span
    index: tuple[ir.Expr, ...]
    for e in subexpressions(test):
        match e:
            case ir.Builtin(name="last_word", args=(ir.Local(slot=slot),)) if slot == text:
                name, index = ".last_word", ()
            case ir.Operate(
                operator="index", args=(ir.Builtin(name="words", args=(ir.Local(slot=slot),)), at)
            ) if slot == text and text not in reads(at):
                name, index = ".word_at", (at,)
            case _:
                continue
        word = text + WORD_SLOTS
        known = _with(test, e, ir.Local(span, word))
        part = language_of(known, word) if text not in reads(known) else None
        return None if part is None or has_grammar(part) else ir.Builtin(span, name, (*index, part))
    return None


def _with(e: ir.Expr, old: ir.Expr, new: ir.Expr) -> ir.Expr:
    """The expression with one of its parts replaced."""

    def change(node: Any) -> Any:
        return new if node == old else rebuilt(node, change)

    result: ir.Expr = change(e)
    return result


def _of_words(gather: ir.Gather, text: int, every: bool) -> ir.Expr | None:
    """`all(... for w in words(s))`; `any` as: not all words fail."""
    span = gather.span
    match gather.clauses:
        case (
            ir.Clause((word,), ir.Builtin(name="words", args=(ir.Local(slot=slot),)), conditions),
        ) if slot == text:
            negated = [ir.Operate(c.span, "not", (c,)) for c in conditions]
            holds = gather.element if every else ir.Operate(span, "not", (gather.element,))
            part = language_of(ir.Or(span, (*negated, holds)) if negated else holds, word)
            if part is None or text in reads(part) or has_grammar(part):
                return None
            each = ir.Builtin(span, ".each_word", (part,))
            return each if every else ir.Builtin(span, ".complement", (each,))
    return None


def all_of(span: Span, languages: Sequence[ir.Expr]) -> ir.Expr:
    """The language of the texts that are in all of them."""
    if len(languages) == 1:
        return languages[0]
    return ir.Builtin(span, ".both", (ir.Operate(span, "list", tuple(languages)),))


def has_grammar(language: ir.Expr) -> bool:
    """Whether a schema or grammar is in it. Masks follow these by themselves or in an `and`, not
    negated and not in an `or`."""
    return any(
        isinstance(e, ir.Builtin) and e.name in (".json", ".grammar")
        for e in subexpressions(language)
    )


def _length(test: ir.Operate, text: int) -> ir.Expr | None:
    """Comparisons of `len(s)`, `letters(s)` and `len(words(s))` with a number."""
    span = test.span
    flip = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq"}
    if test.operator not in flip or len(test.args) != 2:
        return None
    a, b = test.args
    operator = test.operator
    if _is_length(b, text):
        a, b, operator = b, a, flip[operator]
    if not (isinstance(a, ir.Builtin) and _is_length(a, text)) or text in reads(b):
        return None
    one, none = ir.Const(span, 1), ir.Const(span, None)
    zero = ir.Const(span, 0)
    least, most = {
        "le": (zero, b),
        "lt": (zero, ir.Operate(span, "sub", (b, one))),
        "ge": (b, none),
        "gt": (ir.Operate(span, "add", (b, one)), none),
        "eq": (b, b),
    }[operator]
    if isinstance(a.args[0], ir.Builtin):
        # An upper bound alone is checked at every token (early.py), which is as good.
        return (
            ir.Builtin(span, ".word_count", (least, most))
            if operator in ("eq", "ge", "gt")
            else None
        )
    return ir.Builtin(span, LENGTHS[a.name], (least, most))


def _is_length(e: ir.Expr, text: int) -> bool:
    match e:
        case ir.Builtin(name=name, args=(ir.Local(slot=slot),)):
            return name in LENGTHS and slot == text
        case ir.Builtin(name="len", args=(ir.Builtin(name="words", args=(ir.Local(slot=slot),)),)):
            return slot == text
    return False
