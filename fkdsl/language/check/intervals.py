"""What can be said of an expectation whose figures are known only to lie in intervals: true, false,
or nothing yet.

Interval arithmetic (Moore 1966) over the syntax tree: true and false hold whatever the figures are
within theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from fkdsl.language.syntax import tree
from fkdsl.values.operators import agree

Interval = tuple[float, float]
EVERYTHING: Interval = (-math.inf, math.inf)
MONOTONE: dict[str, Callable[[float], float]] = {
    "log": lambda x: math.log(x) if x > 0.0 else -math.inf,
    "exp": lambda x: math.exp(x) if x < 700.0 else math.inf,
    "sqrt": lambda x: math.sqrt(max(x, 0.0)),
}


def decided(e: tree.Expr, known: Mapping[str, Interval]) -> bool | None:
    """Whether a boolean expression holds for all figures in their intervals, or for none; None for
    neither."""
    match e:
        case tree.Literal(value=bool(value)):
            return value
        case tree.Unary(op="not", operand=operand):
            inner = decided(operand, known)
            return None if inner is None else not inner
        case tree.BoolOp(op=op, operands=operands):
            ends_it = op == "or"
            answers = [decided(o, known) for o in operands]
            return ends_it if ends_it in answers else None if None in answers else not ends_it
        case tree.Compare(first=first, rest=rest):
            left, results = first, []
            for op, right in rest:
                results.append(_compared(op, bounds(left, known), bounds(right, known)))
                left = right
            return False if False in results else None if None in results else True
    return None


def _compared(op: str, a: Interval, b: Interval) -> bool | None:
    below = True if a[1] < b[0] else False if a[0] > b[1] else None
    apart = a[1] < b[0] or a[0] > b[1]
    match op:
        case "<" | "<=":
            return below
        case ">" | ">=":
            return None if below is None else not below
        case "==" | "!=":
            equal = (
                False
                if apart
                else True
                if a[0] == a[1] and b[0] == b[1] and agree(a[0], b[0])
                else None
            )
            return equal if op == "==" or equal is None else not equal
    return None


def bounds(e: tree.Expr, known: Mapping[str, Interval]) -> Interval:
    """The interval of a number's expression; everything where nothing is known."""
    match e:
        case tree.Literal(value=int() | float() as value):
            return (float(value), float(value))
        case tree.Name(name=name):
            return known.get(name, EVERYTHING)
        case tree.Unary(op="-", operand=operand):
            low, high = bounds(operand, known)
            return (-high, -low)
        case tree.Unary(op="+", operand=operand):
            return bounds(operand, known)
        case tree.Binary(op=op, left=left, right=right):
            return _arithmetic(op, bounds(left, known), bounds(right, known))
        case tree.Call(function=tree.Name(name="abs"), args=(inner,)):
            low, high = bounds(inner, known)
            return (
                0.0 if low <= 0.0 <= high else min(abs(low), abs(high)),
                max(abs(low), abs(high)),
            )
        case tree.Call(function=tree.Name(name=name), args=(inner,)) if name in MONOTONE:
            low, high = bounds(inner, known)
            return (
                (MONOTONE[name](low), MONOTONE[name](high))
                if high < math.inf
                else (MONOTONE[name](low), math.inf)
            )
    return EVERYTHING


def _arithmetic(op: str, a: Interval, b: Interval) -> Interval:
    match op:
        case "+":
            corners = [a[0] + b[0], a[1] + b[1]]
        case "-":
            corners = [a[0] - b[1], a[1] - b[0]]
        case "*":
            corners = [x * y for x in a for y in b]
        case "/" if b[0] > 0.0 or b[1] < 0.0:
            corners = [x / y for x in a for y in b]
        case _:
            return EVERYTHING
    return EVERYTHING if any(map(math.isnan, corners)) else (min(corners), max(corners))
