"""The types of operators: from the operands' types to the result's, or what is wrong with them.

>>> str(binary_type("/", INT, INT)), str(binary_type("*", CONTEXT, Dist(TOKEN)))
('float', 'dist[token]')
>>> binary_type("+", STR, INT).help
'write `str(...)` round the int'
"""

from __future__ import annotations

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.language.check.report import a as article
from fkdsl.values.types import (
    ANY,
    BOOL,
    CONTEXT,
    DOCUMENT,
    FLOAT,
    INT,
    RECORD,
    STR,
    TOKEN,
    Dist,
    List,
    Pair,
    Type,
    accepts,
    common_type,
)

NUMBERS = (BOOL, INT, FLOAT)
TEXTS = (STR, TOKEN)


@dataclass(frozen=True)
class Misfit:
    """Operands that do not fit, and one thing to try. to_text: whether that is to make a text of
    the operand that is none. of_numbers: whether it is to read a number from the text."""

    message: str
    help: str = ""
    to_text: bool = False
    of_numbers: bool = False


def is_distribution(t: Type) -> bool:
    return t == CONTEXT or isinstance(t, Dist)


def is_token_distribution(t: Type) -> bool:
    return t == CONTEXT or t == Dist(TOKEN)


def drawn_type(t: Type) -> Type | None:
    """What a draw from it is, or None if it is no distribution."""
    match t:
        case Dist(item):
            return item
        case _ if t == CONTEXT:
            return TOKEN
        case _ if t == ANY:
            return ANY
    return None


def merged(a: Type, b: Type) -> Type | None:
    """`join`, but an item type that is still open (`any`, of an empty list) takes the other's."""
    match a, b:
        case List(x), List(y):
            item = y if x == ANY else x if y == ANY else merged(x, y)
            return None if item is None else List(item)
    return common_type(a, b)


def _number(*types: Type) -> Type:
    return FLOAT if FLOAT in types else INT


def binary_type(op: str, a: Type, b: Type) -> Type | Misfit:
    """The type of `a op b`; an exponent is taken to be of unknown sign, so int ** int gives
    float."""
    if ANY in (a, b):
        return ANY
    if is_distribution(a) or is_distribution(b):
        return _distribution_type(op, a, b)
    if a in NUMBERS and b in NUMBERS:
        return FLOAT if op in ("/", "**") else _number(a, b)
    if op == "+":
        if a in TEXTS and b in TEXTS:
            return STR
        if isinstance(a, List) and isinstance(b, List):
            both = merged(a, b)
            return (
                both
                if both is not None
                else Misfit(f"cannot join `{a}` and `{b}`", "a list's items have one type")
            )
        if (a in TEXTS and b in NUMBERS) or (b in TEXTS and a in NUMBERS):
            number = b if a in TEXTS else a
            help = f"write `str(...)` round the {number}"
            return Misfit(f"cannot add `{a}` and `{b}`", help, to_text=True)
        if isinstance(a, List):
            return Misfit(
                f"cannot add `{a}` and `{b}`", "to append one item, put it in brackets: `xs + [x]`"
            )
    if op == "*":
        for x, times in ((a, b), (b, a)):
            if times in (INT, BOOL) and (x in TEXTS or isinstance(x, List)):
                return STR if x in TEXTS else x
    if op == "%" and a in TEXTS:
        return Misfit(
            f"`%` needs numbers, not `{a}` and `{b}`", 'to format text, write f"... {x} ..."'
        )
    if op == "-" and isinstance(a, List):
        return Misfit(
            f"cannot subtract `{b}` from `{a}`",
            "write a comprehension: `[x for x in a if x not in b]`",
        )
    return Misfit(
        f"`{op}` cannot take `{a}` and `{b}`", "convert one: `int(x)`, `float(x)` or `str(x)`"
    )


def _distribution_type(op: str, a: Type, b: Type) -> Type | Misfit:
    if op == "*" and is_token_distribution(a) and is_token_distribution(b):
        return Dist(TOKEN)
    if op == "**" and is_token_distribution(a) and b in NUMBERS:
        return Dist(TOKEN)
    if op == "*" and (a in NUMBERS or b in NUMBERS):
        return Misfit(f"`*` cannot take `{a}` and `{b}`", "for a temperature, write `lm ** 0.7`")
    if op == "+" and is_token_distribution(a) and is_token_distribution(b):
        return Misfit("distributions are not added", "write `mixture([a, b], weights=[0.5, 0.5])`")
    if op == "+" and CONTEXT in (a, b):
        return Misfit(
            f"`+` cannot take `{a}` and `{b}`",
            "append with `lm += ...`, or use the text: `lm.text + ...`",
        )
    drawn = a if is_distribution(a) else b
    return Misfit(
        f"`{op}` cannot take `{a}` and `{b}`", f"draw from the `{drawn}` first: `x ~ ...`"
    )


def compare_misfit(op: str, a: Type, b: Type) -> Misfit | None:
    """What is wrong with `a op b`, or None. `==` compares values of one type; `<` orders numbers,
    texts and lists."""
    if ANY in (a, b):
        return None
    if op in ("in", "not in"):
        return _in_misfit(op, a, b)
    if is_distribution(a) or is_distribution(b):
        which = a if is_distribution(a) else b
        advice = (
            "compare its text: `lm.text`" if which == CONTEXT else "draw from it first: `x ~ ...`"
        )
        return Misfit(f"{article(which)} is not compared", advice)
    if common_type(a, b) is None:
        equality = op in ("==", "!=")
        message = (
            f"`{a}` and `{b}` are never equal" if equality else f"cannot order `{a}` and `{b}`"
        )
        of_numbers = (a in TEXTS and b in NUMBERS) or (a in NUMBERS and b in TEXTS)
        return Misfit(message, "compare values of one type", of_numbers=of_numbers)
    if op not in ("==", "!=") and not _ordered(a):
        return Misfit(f"`{a}` values have no order", "compare numbers or texts")
    return None


def _ordered(t: Type) -> bool:
    match t:
        case List(item):
            return item == ANY or _ordered(item)
        case Pair(items):
            return all(map(_ordered, items))
    return t in NUMBERS or t in TEXTS or t == ANY


def _in_misfit(op: str, a: Type, b: Type) -> Misfit | None:
    match b:
        case List(item):
            if common_type(a, item) is None:
                return Misfit(f"{article(b)} holds no `{a}`", f"its items are `{item}`")
            return None
    if b in TEXTS or b in (RECORD, DOCUMENT):
        if accepts(STR, a):
            return None
        return Misfit(f"{article(b)} holds no `{a}`", "look for text in it: `str(x)`")
    if b == CONTEXT:
        return Misfit(f"`{op}` cannot look inside a context", "look in its text: `lm.text`")
    return Misfit(
        f"`{op}` cannot look inside `{b}`", "the right side is a list, a text or a record"
    )
