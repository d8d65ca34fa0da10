"""What to try when a value has the wrong type.

>>> from fkdsl.base.spans import NOWHERE
>>> conversion(INT, FLOAT, Literal(NOWHERE, 0.5))
'write `round(...)` or `int(...)`'
"""

from __future__ import annotations

from fkdsl.language.check.operators import NUMBERS, TEXTS
from fkdsl.language.syntax.tree import Expr, Literal
from fkdsl.values.types import (
    BOOL,
    CONTEXT,
    FLOAT,
    INT,
    NONE,
    STR,
    TOKEN,
    Dist,
    List,
    Type,
    common_type,
)


def shown(e: Expr, most: int = 30) -> str:
    """The expression as the user wrote it, if it is short."""
    text = e.span.text
    return text if 0 < len(text) <= most and "\n" not in text else "..."


def _is_text(e: Expr) -> bool:
    return isinstance(e, Literal) and isinstance(e.value, str)


def conversion(wanted: Type, actual: Type, e: Expr) -> str:
    """How to make a value of the wanted type of the expression, in a word."""
    x = shown(e)
    if isinstance(actual, Dist) and not isinstance(wanted, Dist) and wanted != CONTEXT:
        return f"draw from it first: `x ~ {x}`, and use `x`"
    if actual == NONE:
        return "this gives nothing: let the function end with `return ...`"
    if wanted == BOOL:
        return _to_bool(actual, x)
    match wanted:
        case _ if wanted == STR:
            return f"write `{x}.text`" if actual == CONTEXT else f"write `str({x})`"
        case _ if wanted == INT and actual in (FLOAT, STR, TOKEN) and not _is_text(e):
            return f"write `round({x})` or `int({x})`" if actual == FLOAT else f"write `int({x})`"
        case _ if wanted in (INT, FLOAT) and _is_text(e):
            return f"write a number for `{x}`"
        case _ if wanted == FLOAT and actual in TEXTS:
            return f"write `float({x})`"
        case _ if wanted == CONTEXT:
            if actual == Dist(TOKEN):
                return "only a context made by prompt, chat or fork has a text"
            return "make one: `lm = prompt(...)`"
        case Dist():
            return (
                "distributions are made by bernoulli(p), normal(mean, sd), ..., "
                "and contexts by prompt(...)"
            )
        case List(item) if item == STR and actual in TEXTS:
            return f"write `words({x})`, or `[{x}]`"
        case List(item) if common_type(item, actual) is not None:
            return f"put it in a list: `[{x}]`"
    return f"write something of type `{wanted}`"


def _to_bool(actual: Type, x: str) -> str:
    if actual == CONTEXT:
        return f"test a property: `{x}.done`"
    if actual in NUMBERS:
        return f"compare it: `{x} != 0`"
    if actual in TEXTS:
        return f'compare it: `{x} != ""`'
    return f"compare it: `len({x}) > 0`" if isinstance(actual, List) else "write a comparison"
