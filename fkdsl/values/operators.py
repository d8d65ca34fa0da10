"""The operators of expressions, by their names in the ir. Each takes values and returns a value, or
raises a Fault.

>>> OPERATORS["div"](1, 4), OPERATORS["in"]("a", "cat"), OPERATORS["mul"]("ab", 2)
(0.25, True, 'abab')
>>> OPERATORS["add"](Token(1, "a", False), "b")
'ab'
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from fkdsl.values.faults import LIMITS, Fault
from fkdsl.values.token_distributions import Power, Product, gives_tokens
from fkdsl.values.values import Record, Token, show


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, Token) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _mismatch(name: str, a: Any, b: Any) -> Fault:
    message = f"cannot {name} {show(a)!r} and {show(b)!r}"
    return Fault("FK408", message, "convert one of them: str(x), int(x) or float(x)")


def _bounded(value: Any) -> Any:
    if isinstance(value, str | tuple) and len(value) > LIMITS.size:
        raise Fault(
            "FK411", f"this value has more than {LIMITS.size:,} items", "keep texts and lists short"
        )
    if isinstance(value, int) and value.bit_length() > LIMITS.digits:
        raise Fault(
            "FK411",
            f"this integer has more than {LIMITS.digits:,} bits",
            "use a float, or keep it small",
        )
    return value


def _finite(value: float, what: str) -> float:
    if isinstance(value, complex) or (isinstance(value, float) and math.isnan(value)):
        raise Fault(
            "FK402", f"{what} has no result", "check the sign and size of its operands first"
        )
    return value


def add(a: Any, b: Any) -> Any:
    a, b = _plain(a), _plain(b)
    if (_is_number(a) and _is_number(b)) or (type(a) is type(b) and isinstance(a, str | tuple)):
        return _bounded(a + b)
    raise _mismatch("add", a, b)


def sub(a: Any, b: Any) -> Any:
    if _is_number(a) and _is_number(b):
        return _finite(_bounded(a - b), "this difference")
    raise _mismatch("subtract", a, b)


def mul(a: Any, b: Any) -> Any:
    if gives_tokens(a) and gives_tokens(b):
        return Product(a, b)
    a, b = _plain(a), _plain(b)
    if _is_number(a) and _is_number(b):
        return _finite(_bounded(a * b), "this product")
    for text, times in ((a, b), (b, a)):
        if isinstance(text, str | tuple) and isinstance(times, int):
            if len(text) * times > LIMITS.size:
                raise Fault(
                    "FK411",
                    f"this would have more than {LIMITS.size:,} items",
                    "repeat it fewer times",
                )
            return text * times
    raise _mismatch("multiply", a, b)


def _division(symbol: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def divide(a: Any, b: Any) -> Any:
        if not (_is_number(a) and _is_number(b)):
            raise _mismatch("divide", a, b)
        if b == 0:
            message = f"division by zero: {show(a)} {symbol} {show(b)}"
            raise Fault("FK401", message, f"test it first: `a {symbol} b if b != 0 else 0`")
        try:
            return compute(a, b)
        except OverflowError:
            raise Fault(
                "FK402", "this quotient is too large for a float", "keep numbers below 1e308"
            ) from None

    return divide


def power(a: Any, b: Any) -> Any:
    if gives_tokens(a):
        if not _is_number(b) or b == 0 or not math.isfinite(b):
            raise Fault(
                "FK402",
                f"a context to the power {show(b)}",
                "use a finite number that is not 0: `lm ** 0.7`",
            )
        return Power(a, float(b))
    if not (_is_number(a) and _is_number(b)):
        raise _mismatch("raise to a power", a, b)
    if (
        isinstance(a, int)
        and isinstance(b, int)
        and abs(a) > 1
        and b * a.bit_length() > LIMITS.digits
    ):
        raise Fault(
            "FK411", f"{a} ** {b} has more than {LIMITS.digits:,} bits", "use a float: `2.0 ** n`"
        )
    if a == 0 and b < 0:
        raise Fault("FK401", "zero to a negative power", "test it first")
    try:
        return _finite(a**b, f"{show(a)} ** {show(b)}")
    except OverflowError:
        raise Fault(
            "FK402", f"{show(a)} ** {show(b)} is too large for a float", "use logarithms"
        ) from None


def negative(a: Any) -> Any:
    if not _is_number(a):
        raise Fault("FK408", f"cannot negate {show(a)!r}")
    return -a


def positive(a: Any) -> Any:
    return -negative(a)


def negation(a: Any) -> bool:
    return not truth(a)


def truth(a: Any) -> bool:
    """The value of a condition. The checker has checked its type unless that is `any`."""
    if not isinstance(a, bool):
        raise Fault(
            "FK408",
            f"expected true or false, found {show(a)!r}",
            "compare it with something: `x != 0`",
        )
    return a


def equal(a: Any, b: Any) -> bool:
    return bool(a == b)


def _ordered(symbol: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(a: Any, b: Any) -> bool:
        if type(a) is int and type(b) is int:
            return compare(a, b)
        a, b = _plain(a), _plain(b)
        try:
            return compare(a, b)
        except TypeError:
            raise _mismatch(f"compare by {symbol}", a, b) from None

    return ordered


def is_in(a: Any, b: Any) -> bool:
    if isinstance(b, Token):
        b = b.text
    if isinstance(b, str):
        a = _plain(a)
        if not isinstance(a, str):
            raise _mismatch("look for", a, b)
        return a in b
    if isinstance(b, tuple | Record):
        return a in b
    raise Fault(
        "FK408",
        f"cannot look inside {show(b)!r}",
        "`in` needs a list, a text or a record on its right",
    )


def index(value: Any, at: Any) -> Any:
    value = _plain(value)
    if isinstance(value, Record):
        at = _plain(at)
        if at not in value:
            names = ", ".join(value) or "none"
            raise Fault(
                "FK407", f"this record has no field {show(at)!r}", f"its fields are: {names}"
            )
        return value[at]
    if not isinstance(value, str | tuple) or isinstance(at, bool) or not isinstance(at, int):
        raise Fault("FK408", f"cannot take {show(at)!r} of {show(value)!r}")
    if not -len(value) <= at < len(value):
        kind = "a text" if isinstance(value, str) else "a list"
        raise Fault(
            "FK406",
            f"index {at} of {kind} of length {len(value)}",
            "test the length first: `len(xs) > n`",
        )
    return value[at]


def cut(value: Any, start: Any, stop: Any) -> Any:
    value = _plain(value)
    if not isinstance(value, str | tuple):
        raise Fault("FK408", f"cannot take a part of {show(value)!r}")
    return value[start:stop]


def field(value: Any, name: str) -> Any:
    if not isinstance(value, Record):
        raise Fault("FK408", f"{show(value)!r} has no field `{name}`")
    return index(value, name)


def iterate(value: Any) -> Any:
    """The items over which `for` and comprehensions run: of a list its items, of a text its
    characters, of a record its names."""
    value = _plain(value)
    if isinstance(value, Record):
        return tuple(value)
    if isinstance(value, tuple | str):
        return value
    raise Fault(
        "FK408", f"cannot run over {show(value)!r}", "`for` needs a list, a text or a record"
    )


def make_list(*items: Any) -> tuple[Any, ...]:
    return items


RELATIVE_ROUNDING, ABSOLUTE_ROUNDING = 1e-9, 1e-12
"""Floats that differ by less, relatively or absolutely, are equal up to rounding."""


def agree(a: Any, b: Any) -> bool:
    """Whether values are equal, with floats up to rounding, in lists too; `expect` compares so.

    >>> agree(0.1 + 0.2, 0.3), agree(1, 2), agree((0.1 + 0.2, "a"), (0.3, "a")), agree(1e-13, 0)
    (True, False, True, True)
    """
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(agree, a, b))
    if _is_number(a) and _is_number(b) and float in (type(a), type(b)):
        return math.isclose(a, b, rel_tol=RELATIVE_ROUNDING, abs_tol=ABSOLUTE_ROUNDING)
    return equal(a, b)


def same_items(a: Any, b: Any) -> bool:
    """Whether two lists have the same items, each as often, in any order."""
    unmatched = list(b)
    for item in a:
        at = next((i for i, other in enumerate(unmatched) if agree(item, other)), None)
        if at is None:
            return False
        del unmatched[at]
    return not unmatched


OPERATORS: dict[str, Callable[..., Any]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": _division("/", operator.truediv),
    "floordiv": _division("//", operator.floordiv),
    "mod": _division("%", operator.mod),
    "pow": power,
    "neg": negative,
    "pos": positive,
    "not": negation,
    "eq": equal,
    "ne": lambda a, b: not equal(a, b),
    "lt": _ordered("<", operator.lt),
    "le": _ordered("<=", operator.le),
    "gt": _ordered(">", operator.gt),
    "ge": _ordered(">=", operator.ge),
    "in": is_in,
    "notin": lambda a, b: not is_in(a, b),
    "index": index,
    "slice": cut,
    "field": field,
    "list": make_list,
    "agree": agree,
    "same": same_items,
    "iterate": iterate,
}
"""Every operator. `language.lower` writes the names, and `ir.build` looks them up."""
