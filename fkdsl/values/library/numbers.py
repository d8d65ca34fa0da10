"""Functions of numbers, and conversions.

>>> log(1.0), sqrt(9), abs_(-2), round_(2.567, 1), round_(2.5, None)
(0.0, 3.0, 2, 2.6, 2)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import ANY, BOOL, FLOAT, INT, STR, Type
from fkdsl.values.values import show

X = Parameter("x", FLOAT)


def _same_number(types: Sequence[Type]) -> Type | str:
    """int for an int, float for a float."""
    return INT if types and types[0] in (INT, BOOL) else FLOAT


@pure("log", [X], FLOAT)
def log(x: float) -> float:
    """The natural logarithm."""
    if x <= 0:
        raise BuiltinError(f"log of {show(x)}", "test it first: `condition x > 0`")
    return math.log(x)


@pure("exp", [X], FLOAT)
def exp(x: float) -> float:
    """e to the power x."""
    try:
        return math.exp(x)
    except OverflowError:
        raise BuiltinError(
            f"exp of {show(x)} is too large for a float", "use the logarithm itself"
        ) from None


@pure("sqrt", [X], FLOAT)
def sqrt(x: float) -> float:
    """The square root."""
    if x < 0:
        raise BuiltinError(f"sqrt of {show(x)}", "test it first: `condition x >= 0`")
    return math.sqrt(x)


@pure("abs", [X], _same_number)
def abs_(x: float) -> float:
    """The absolute value."""
    return abs(x)


def _round_type(types: Sequence[Type]) -> Type | str:
    """int; float where digits are given."""
    return INT if len(types) < 2 else FLOAT


@pure("round", [X, Parameter("digits", INT, None)], _round_type)
def round_(x: float, digits: int | None) -> float:
    """The nearest whole number, or the nearest number with so many digits after the point. Of two
    that are equally near it is the even one."""
    _verify_finite(x)
    return round(x) if digits is None else float(round(x, digits))


@pure("floor", [X], INT)
def floor(x: float) -> int:
    """The largest whole number that is not above x."""
    _verify_finite(x)
    return math.floor(x)


@pure("ceil", [X], INT)
def ceil(x: float) -> int:
    """The smallest whole number that is not below x."""
    _verify_finite(x)
    return math.ceil(x)


def _verify_finite(x: float) -> None:
    if not math.isfinite(x):
        raise BuiltinError(f"{show(x)} has no whole number near it", "test it first")


@pure("int", [Parameter("x", ANY)], INT)
def int_(x: Any) -> int:
    """The whole number that a text writes, or a number without its fraction.

    >>> int_(" 12 "), int_(3.9), int_(True)
    (12, 3, 1)
    """
    if isinstance(x, float):
        _verify_finite(x)
        return int(x)
    if isinstance(x, bool | int):
        return int(x)
    if isinstance(x, str) and len(x) < 4000:
        try:
            return int(x.strip())
        except ValueError:
            pass
    raise BuiltinError(f"{show(x)!r} is no whole number", 'test it first: `matches(s, r"-?\\d+")`')


@pure("float", [Parameter("x", ANY)], FLOAT)
def float_(x: Any) -> float:
    """The number that a text writes, or a number as a float."""
    if isinstance(x, bool | int | float):
        return float(x)
    if isinstance(x, str):
        try:
            value = float(x.strip())
            if math.isfinite(value):
                return value
        except ValueError:
            pass
    raise BuiltinError(
        f"{show(x)!r} is no number", 'test it first: `matches(s, r"-?\\d+(\\.\\d+)?")`'
    )


@pure("str", [Parameter("x", ANY)], STR)
def str_(x: Any) -> str:
    """The value as text."""
    return show(x)
