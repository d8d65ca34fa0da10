"""The signatures of built-in functions: the table that the checker reads and by which the runtime
calls them.

`@pure(...)` registers a pure function, `@distribution(...)` a distribution, whose result is
`dist[T]`. The type of a result may be a rule on the types of the arguments, as for `max` and
`sorted`.

>>> @pure("a_sum_for_this_example", [Parameter("x", INT), Parameter("y", INT, 2)], INT)
... def a_sum(x, y):
...     "x plus y."
...     return x + y
>>> TABLE["a_sum_for_this_example"].call(1, 2), TABLE.pop("a_sum_for_this_example").returns
(3, Simple(name='int'))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from fkdsl.base.quick_dataclass import dataclass
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
    """A built-in has no result for its arguments, as the log of a negative number. help: one thing
    to try; code: of the page in docs/errors. The machine adds the place and the particle."""

    def __init__(self, message: str, help: str = "", code: str = "FK402") -> None:
        self.message, self.help, self.code = message, help, code
        super().__init__(message)


@dataclass(frozen=True)
class Parameter:
    """A parameter, given by position or by name, or, with `by_name`, by name only. A call may
    leave it out if it has a default."""

    name: str
    type: Type
    default: Any = REQUIRED
    by_name: bool = False


TypeRule = Callable[[Sequence[Type]], "Type | str"]
"""From the types of a call's arguments, without defaults, to the type of the result, or to a
message that says what is wrong with them, such as 'cannot compare str with int'."""


@dataclass(frozen=True)
class Signature:
    """A built-in function.

    params: the parameters, in order. variadic: the type of further positional arguments (`max(a, b,
    c)`), or None. returns: the type of the result, or its rule. call: the function itself, pure and
    bounded in time and memory, which takes every parameter by position, defaults included, and
    `folder=` too if `needs_folder`, and `indexes=`, the program's by their names, if
    `needs_indexes`. Lists are passed as tuples, records as `Record`s, tokens as `Token`s if the
    parameter's type is token or any, as `str` if it is str.
    """

    name: str
    params: tuple[Parameter, ...]
    variadic: Type | None
    returns: Type | TypeRule
    call: Callable[..., Any]
    kind: Literal["pure", "distribution"]
    needs_folder: bool
    needs_indexes: bool
    doc: str


TABLE: dict[str, Signature] = {}
"""Every built-in, by name. Importing `fkdsl.values.library` and `fkdsl.values.distributions` fills
it."""

F = TypeVar("F", bound=Callable[..., Any])


def _register(
    kind: Literal["pure", "distribution"],
    name: str,
    params: Sequence[Parameter],
    returns: Type | TypeRule,
    variadic: Type | None,
    needs_folder: bool,
    needs_indexes: bool,
) -> Callable[[F], F]:
    def add(function: F) -> F:
        doc = (function.__doc__ or "").strip()
        TABLE[name] = Signature(
            name,
            tuple(params),
            variadic,
            returns,
            function,
            kind,
            needs_folder,
            needs_indexes,
            doc,
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
    needs_indexes: bool = False,
) -> Callable[[F], F]:
    """Registers a pure function of the language."""
    return _register("pure", name, params, returns, variadic, needs_folder, needs_indexes)


def distribution(
    name: str,
    params: Sequence[Parameter],
    returns: Type | TypeRule,
    *,
    needs_indexes: bool = False,
) -> Callable[[F], F]:
    """Registers a distribution's constructor; `returns` is its whole type, such as `Dist(BOOL)`."""
    return _register("distribution", name, params, returns, None, False, needs_indexes)
