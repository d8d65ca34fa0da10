"""What a built-in function is called with and gives: the table that the checker reads and the
runtime calls.

Pure functions register themselves with `@pure(...)`; distributions with `@distribution(...)` (their
result is `dist[T]`). A rule for the result type may look at the argument types, for `max`, `sorted`
and the like.

>>> @pure("a_sum_for_this_example", [Parameter("x", INT), Parameter("y", INT, 2)], INT)
... def a_sum(x, y):
...     "x plus y."
...     return x + y
>>> TABLE["a_sum_for_this_example"].call(1, 2), TABLE.pop("a_sum_for_this_example").returns
(3, Simple(name='int'))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fkdsl.values.types import INT, Type

__all__ = [
    "INT",
    "REQUIRED",
    "TABLE",
    "BuiltinError",
    "Parameter",
    "Signature",
    "TypeRule",
    "distribution",
    "pure",
]


class Required:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = Required()


class BuiltinError(Exception):
    """A built-in was given a value it has no result for (log of a negative, a regex that does not
    parse): a message and one thing to try. Whoever runs the program adds the place and the
    particle. code: of its page in docs/errors."""

    def __init__(self, message: str, help: str = "", code: str = "FK402") -> None:
        self.message, self.help, self.code = message, help, code
        super().__init__(message)


@dataclass(frozen=True)
class Parameter:
    """A parameter; with a default, a call may leave it out. All may be given by position or by
    name."""

    name: str
    type: Type
    default: Any = REQUIRED


TypeRule = Callable[[Sequence[Type]], "Type | str"]
"""From the argument types (those given by the call; defaults left out) to the result's, or a
message that says what is wrong with them, such as 'cannot compare str with int'."""


@dataclass(frozen=True)
class Signature:
    """A built-in function.

    params: its parameters, in order. variadic: the type of further positional arguments (`max(a, b,
    c)`), or None. returns: its result's type, or a rule that computes it. call: the function
    itself, given every parameter by position, defaults filled in; pure, and bounded in time and
    memory. Lists come and go as tuples, records as `Record`s, tokens as `Token`s where the type
    says token or any, as `str` where it says str. `folder=Path` is given too when `needs_folder`.
    """

    name: str
    params: tuple[Parameter, ...]
    variadic: Type | None
    returns: Type | TypeRule
    call: Callable[..., Any]
    kind: Literal["pure", "distribution"]
    needs_folder: bool
    doc: str


TABLE: dict[str, Signature] = {}
"""Every registered built-in, by name. Filled by importing `fkdsl.values.library` and
`fkdsl.values.distributions`."""

F = TypeVar("F", bound=Callable[..., Any])


def _register(
    kind: Literal["pure", "distribution"],
    name: str,
    params: Sequence[Parameter],
    returns: Type | TypeRule,
    variadic: Type | None,
    needs_folder: bool,
) -> Callable[[F], F]:
    def add(function: F) -> F:
        doc = (function.__doc__ or "").strip()
        TABLE[name] = Signature(
            name, tuple(params), variadic, returns, function, kind, needs_folder, doc
        )
        return function

    return add


def pure(
    name: str,
    params: Sequence[Parameter],
    returns: Type | TypeRule,
    *,
    variadic: Type | None = None,
    needs_folder: bool = False,
) -> Callable[[F], F]:
    """Registers a pure function of the language."""
    return _register("pure", name, params, returns, variadic, needs_folder)


def distribution(
    name: str, params: Sequence[Parameter], returns: Type | TypeRule
) -> Callable[[F], F]:
    """Registers a distribution's constructor; `returns` is its whole type, such as `Dist(BOOL)`."""
    return _register("distribution", name, params, returns, None, False)
