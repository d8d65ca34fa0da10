"""Conditions on a text that say which language it is in, as expressions of program/library/languages.py."""

from __future__ import annotations

from collections.abc import Sequence

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import subexpressions
from fkdsl.ir.passes.reading import free

ATOMS = {"matches": ".matches", "contains": ".contains", "starts_with": ".starts_with", "ends_with": ".ends_with",
         "valid_json": ".json", "parses": ".grammar"}  # fmt: skip
LENGTHS = {"len": ".length", "letters": ".letters"}


def language_of(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of the texts in a slot for which a test is true; None if it is not said by languages alone."""
    span = test.span
    match test:
        case ir.Builtin(name=name, args=(ir.Local(slot=slot), *given)) if slot == text and name in ATOMS:
            return None if text in free(tuple(given)) else ir.Builtin(span, ATOMS[name], tuple(given))
        case ir.And(operands=operands) | ir.Or(operands=operands):
            parts = [language_of(o, text) for o in operands]
            if any(p is None or (isinstance(test, ir.Or) and has_grammar(p)) for p in parts):
                return None
            name = ".both" if isinstance(test, ir.And) else ".either"
            return ir.Builtin(span, name, (ir.Operate(span, "list", tuple(p for p in parts if p is not None)),))
        case ir.Operate(operator="not", args=(inner,)):
            part = language_of(inner, text)
            return None if part is None or has_grammar(part) else ir.Builtin(span, ".complement", (part,))
        case ir.Operate(operator="notin" | "ne" as operator, args=args):
            positive = ir.Operate(span, "in" if operator == "notin" else "eq", args)
            part = language_of(positive, text)
            return None if part is None else ir.Builtin(span, ".complement", (part,))
        case ir.Operate(operator="in", args=(ir.Local(slot=slot), ir.Operate(operator="list", args=items))):
            texts = ir.Operate(span, "list", items)
            return ir.Builtin(span, ".texts", (texts,)) if slot == text and text not in free(texts) else None
        case ir.Operate(operator="in", args=(ir.Const(value=str()) as part, ir.Local(slot=slot))) if slot == text:
            return ir.Builtin(span, ".contains", (part,))
        case ir.Operate(operator="eq", args=(a, b)):
            other = b if a == ir.Local(span, text) else a if b == ir.Local(span, text) else None
            if other is not None and text not in free(other):
                return ir.Builtin(span, ".texts", (ir.Operate(span, "list", (other,)),))
            return _length(test, text)
        case ir.Operate():
            return _length(test, text)
        case ir.Builtin(name="all" | "any" as name, args=(ir.Gather() as gather,)):
            return _of_words(gather, text, name == "all")
    return None


def _of_words(gather: ir.Gather, text: int, every: bool) -> ir.Expr | None:
    """`all(... for w in words(s))`, or `any`: that not all words fail."""
    span = gather.span
    match gather.clauses:
        case (ir.Clause((word,), ir.Builtin(name="words", args=(ir.Local(slot=slot),)), conditions),) if slot == text:
            negated = [ir.Operate(c.span, "not", (c,)) for c in conditions]
            holds = gather.element if every else ir.Operate(span, "not", (gather.element,))
            part = language_of(ir.Or(span, (*negated, holds)) if negated else holds, word)
            if part is None or text in free(part) or has_grammar(part):
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
    """Whether a schema or grammar is in it, which are followed only by themselves or in an `and`."""
    return any(isinstance(e, ir.Builtin) and e.name in (".json", ".grammar") for e in subexpressions(language))


def _length(test: ir.Operate, text: int) -> ir.Expr | None:
    """`len(s) <= n`, `letters(s) <= n` and their kin."""
    span = test.span
    flip = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq"}
    if test.operator not in flip or len(test.args) != 2:
        return None
    a, b = test.args
    operator = test.operator
    if _is_length(b, text):
        a, b, operator = b, a, flip[operator]
    if not (isinstance(a, ir.Builtin) and _is_length(a, text)) or text in free(b):
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
    return ir.Builtin(span, LENGTHS[a.name], (least, most))


def _is_length(e: ir.Expr, text: int) -> bool:
    match e:
        case ir.Builtin(name=name, args=(ir.Local(slot=slot),)):
            return name in LENGTHS and slot == text
    return False
