"""What the closures of expressions share: a call of one or more of them, and the place of what
fails in it.

A closure is called for every token that a condition is asked about, so each is written out for its
number of arguments: one Python call a node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fkdsl.base.errors import FkdslError
from fkdsl.base.spans import Span
from fkdsl.machine.memory import OLD, SIZED, SMALL, charge_of, no_memory, size
from fkdsl.machine.particle import ActiveFrame, Compute
from fkdsl.values.faults import Fault, NeedRows
from fkdsl.values.nesting import verify_joined, verify_nesting
from fkdsl.values.operators import OPERATORS, truth
from fkdsl.values.signatures import BuiltinError
from fkdsl.values.token_distributions import Product
from fkdsl.values.values import ContextRef, Record, Token, show_beginning

SHOWN = 60
"""Most characters of a value that a message shows."""


def placed(error: Exception, span: Span) -> Exception:
    """What an expression at `span` raises where this was raised in it; a Fault that has a place
    keeps it."""
    match error:
        case Fault():
            error.span = error.span or span
            return error
        case BuiltinError(message=message, help=help, code=code):
            return Fault(code, message, help, span)
        case NeedRows() | FkdslError():
            return error
        case RecursionError():
            return Fault("FK409", "calls nested too deep", "give the recursion an end", span)
        case MemoryError():
            return no_memory().at(span)
        case ArithmeticError() | ValueError() | TypeError() | LookupError():
            why = str(error) or type(error).__name__
            return Fault(
                "FK402", f"this has no result: {why}", "check the values that it is given", span
            )
        case AttributeError(name=str(method), obj=value) if _is_no_text(value, method):
            return Fault(
                "FK402",
                f"{show_beginning(value, SHOWN)} is no text",
                "compare the value with none first, or have a schema say that it is a text",
                span,
            )
    return error


def _is_no_text(value: Any, method: str) -> bool:
    """Whether a value of the program, of type any until it is used, is given where a text is
    needed: a built-in asked it for a method that texts have."""
    is_value = value is None or isinstance(value, bool | int | float | tuple | Record)
    return is_value and hasattr(str, method)


def guarded(span: Span, compute: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its faults given the place `span`."""

    def call(*args: Any) -> Any:
        try:
            return compute(*args)
        except Exception as error:
            raise placed(error, span) from None

    return call


def applied(span: Span, function: Callable[..., Any], args: tuple[Compute, ...]) -> Compute:
    """The function of the arguments' values."""

    def unary(frame: ActiveFrame) -> Any:
        try:
            return function(a(frame))
        except Exception as error:
            raise placed(error, span) from None

    def binary(frame: ActiveFrame) -> Any:
        try:
            return function(a(frame), b(frame))
        except Exception as error:
            raise placed(error, span) from None

    def ternary(frame: ActiveFrame) -> Any:
        try:
            return function(a(frame), b(frame), c(frame))
        except Exception as error:
            raise placed(error, span) from None

    def general(frame: ActiveFrame) -> Any:
        try:
            return function(*[compute(frame) for compute in args])
        except Exception as error:
            raise placed(error, span) from None

    match args:
        case (a,):
            return unary
        case (a, b):
            return binary
        case (a, b, c):
            return ternary
    return general


def charging(compute: Compute, span: Span, item: int = OLD) -> Compute:
    """The expression, what it makes charged to its particle. item: bytes of an item of a list; 0
    where what it holds is to be counted."""

    def charged(frame: ActiveFrame) -> Any:
        value = compute(frame)
        if type(value) in SIZED and (not item or len(value) > SMALL):
            try:
                frame.particle.charge(charge_of(value, item) if item else size([value]))
            except Fault as fault:
                raise placed(fault, span) from None
        return value

    return charged


def checking_nesting(compute: Compute, span: Span) -> Compute:
    """The expression, whose value may hold lists and records within each other, with the bounds on
    that."""

    def verified(frame: ActiveFrame) -> Any:
        value = compute(frame)
        try:
            verify_nesting(value)
        except Fault as fault:
            raise placed(fault, span) from None
        return value

    return verified


def making(span: Span, function: Callable[..., Any], args: tuple[Compute, Compute]) -> Compute:
    """`applied` of an operator that may make a text or a list, which is charged to the particle."""
    a, b = args

    def binary(frame: ActiveFrame) -> Any:
        try:
            left, right = a(frame), b(frame)
            value = function(left, right)
            if type(value) in SIZED and len(value) > SMALL:
                frame.particle.charge(charge_of(value, OLD))
                if type(value) is tuple:
                    verify_joined(value, left, right)
            elif type(value) is Product:
                verify_nesting(value)
        except Exception as error:
            raise placed(error, span) from None
        return value

    return binary


def as_argument(value: Any) -> Any:
    """A token as its text, other values unchanged: what a built-in is given."""
    return value.text if isinstance(value, Token) else value


def called(span: Span, function: Callable[..., Any], args: tuple[Compute, ...]) -> Compute:
    """The built-in or extern function of the arguments' values, tokens as their texts."""

    def unary(frame: ActiveFrame) -> Any:
        try:
            value = a(frame)
            return function(value.text if type(value) is Token else value)
        except Exception as error:
            raise placed(error, span) from None

    def binary(frame: ActiveFrame) -> Any:
        try:
            left, right = a(frame), b(frame)
            return function(
                left.text if type(left) is Token else left,
                right.text if type(right) is Token else right,
            )
        except Exception as error:
            raise placed(error, span) from None

    def general(frame: ActiveFrame) -> Any:
        try:
            return function(*[as_argument(c(frame)) for c in args])
        except Exception as error:
            raise placed(error, span) from None

    match args:
        case (a,):
            return unary
        case (a, b):
            return binary
    return general


def every(span: Span, tests: tuple[Compute, ...]) -> Compute:
    """Whether all hold, asked in order up to the first that does not."""

    def decide(frame: ActiveFrame) -> bool:
        try:
            for test in tests:
                if not truth(test(frame)):
                    return False
        except Exception as error:
            raise placed(error, span) from None
        return True

    return decide


def attribute(span: Span, value: Compute, name: str) -> Compute:
    """`lm.text`, `lm.tokens`, `lm.done` of a context; a field of a record."""
    of_context: dict[str, Callable[[Any, Any], Any]] = {
        "text": lambda particle, context: particle.text(context),
        "tokens": lambda particle, context: context.node.length - context.start,
        "done": lambda particle, context: context.done,
    }
    read_context = of_context.get(name)

    def read(frame: ActiveFrame) -> Any:
        try:
            owner = value(frame)
            if read_context is not None and isinstance(owner, ContextRef):
                result = read_context(frame.particle, frame.particle.contexts[owner.index])
                if name == "text" and len(result) > SMALL:
                    frame.particle.charge(len(result))
                return result
            return OPERATORS["field"](owner, name)
        except Exception as error:
            raise placed(error, span) from None

    return read
