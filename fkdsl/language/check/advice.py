"""What to try when a value has the wrong type.

>>> from fkdsl.base.spans import NOWHERE
>>> conversion(INT, FLOAT, Literal(NOWHERE, 0.5)).text
'write `round(...)` or `int(...)`'
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.language.check.operators import NUMBERS, TEXTS
from fkdsl.language.syntax.edits import ATOMS
from fkdsl.language.syntax.tree import Compare, Expr, Literal
from fkdsl.values.types import (
    BOOL,
    CONTEXT,
    FLOAT,
    IMAGE,
    INT,
    NONE,
    STR,
    TOKEN,
    Dist,
    List,
    OneOf,
    Type,
    common_type,
)


def shown(e: Expr, most: int = 30) -> str:
    """The expression as the user wrote it, if it is short."""
    text = e.span.text
    return text if 0 < len(text) <= most and "\n" not in text else "..."


@dataclass(frozen=True)
class Advice:
    """What to try, in words; and what to write in place of the expression, "" where that is not
    certain."""

    text: str
    instead: str = ""


def _is_text(e: Expr) -> bool:
    return isinstance(e, Literal) and isinstance(e.value, str)


LENGTHS = ("length", "len", "size")
"""What other languages call the number of parts of a text or a list."""


def number_in(text: Expr) -> str:
    """How to compare a text with a number."""
    match text:
        case Literal(value=str(said)) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", said):
            return f"write the number {said}, without quotes"
    x = shown(text)
    return f'read the number: `matches({x}, r"[0-9]+") and int({x}) ...`'


def several_texts(operands: Sequence[Expr]) -> str:
    """What to write for texts that `and` or `or` joins, as in `"a" or "b"` and `s == "a" or "b"`;
    "" for other operands."""
    first, *others = operands
    if not all(map(_is_text, others)):
        return ""
    match first:
        case Compare(rest=((("==" | "!=" as op), right),)) if _is_text(right):
            items = ", ".join(map(shown, (right, *others)))
            return f"write `{shown(first.first)} {'in' if op == '==' else 'not in'} [{items}]`"
    texts = ", ".join(map(shown, operands))
    return f"several texts are a list: `[{texts}]`" if _is_text(first) else ""


def conversion(wanted: Type, actual: Type, e: Expr) -> Advice:
    """How to make a value of the wanted type of the expression."""
    x = shown(e)
    if isinstance(actual, Dist) and not isinstance(wanted, Dist) and wanted != CONTEXT:
        return Advice(f"draw from it first: `x ~ {x}`, and use `x`")
    if actual == NONE:
        return Advice("this gives nothing: let the function end with `return ...`")
    if wanted == BOOL:
        return _to_bool(actual, e)
    match wanted:
        case _ if wanted == STR and actual == IMAGE:
            return Advice("an image stands in a prompt, between its texts: `prompt(photo, text)`")
        case _ if wanted == STR:
            return _written(e, "write `{}.text`" if actual == CONTEXT else "write `str({})`")
        case _ if wanted == INT and actual == FLOAT and not _is_text(e):
            return Advice(f"write `round({x})` or `int({x})`")
        case _ if wanted == INT and actual in (STR, TOKEN) and not _is_text(e):
            return _written(e, "write `int({})`")
        case _ if wanted in (INT, FLOAT) and _is_text(e):
            return Advice(f"write a number for `{x}`")
        case _ if wanted == FLOAT and actual in TEXTS:
            return _written(e, "write `float({})`")
        case _ if wanted in (CONTEXT, OneOf((CONTEXT, Dist(TOKEN)))):
            if actual == Dist(TOKEN):
                return Advice("only a context made by prompt, chat or fork has a text")
            return Advice(f"make one: `lm = prompt({x if actual in TEXTS else '...'})`")
        case Dist():
            return Advice(
                "distributions are made by bernoulli(p), normal(mean, sd), ..., "
                "and contexts by prompt(...)"
            )
        case List(item) if item == STR and actual in TEXTS:
            return Advice(f"write `words({x})`, or `[{x}]`")
        case List(item) if common_type(item, actual) is not None:
            return _written(e, "put it in a list: `[{}]`")
    return Advice(f"write something of type `{wanted}`")


def _to_bool(actual: Type, e: Expr) -> Advice:
    if actual == CONTEXT:
        return _written(e, "test a property: `{}.done`")
    if actual in NUMBERS:
        return _written(e, "compare it: `{} != 0`")
    if actual in TEXTS:
        return _written(e, 'compare it: `{} != ""`')
    if isinstance(actual, List):
        return _written(e, "compare it: `len({}) > 0`")
    return Advice("write a comparison")


def _written(e: Expr, advice: str) -> Advice:
    """The advice with the expression in it, which says between backquotes what to write."""
    _, code, _ = advice.split("`")
    stands_alone = isinstance(e, ATOMS) or code.endswith((")", "]"))
    certain = stands_alone and bool(e.span.text)
    return Advice(advice.format(shown(e)), code.format(e.span.text) if certain else "")
