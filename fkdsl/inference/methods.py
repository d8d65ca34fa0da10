"""The inference methods by name: what `infer name(option=...)` and the command line may say.

>>> check_method("smcc")
Traceback (most recent call last):
...
fkdsl.base.errors.CallError: there is no inference method `smcc`
  = help: did you mean `smc`?
>>> check_options("smc", {"particels": 64})
Traceback (most recent call last):
...
fkdsl.base.errors.CallError: smc has no option `particels`
  = help: did you mean `particles`?
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.inference.method import Method, MethodCall
from fkdsl.inference.samplers.alive import ALIVE
from fkdsl.inference.samplers.pgibbs import PGIBBS
from fkdsl.inference.samplers.rejection import REJECTION
from fkdsl.inference.samplers.smc import IMPORTANCE, LOCAL, SMC
from fkdsl.inference.samplers.steer import STEER
from fkdsl.inference.samplers.tempered import TEMPERED
from fkdsl.inference.search.beam import BEAM
from fkdsl.inference.search.best_first import EXACT

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        SMC, STEER, IMPORTANCE, REJECTION, PGIBBS, TEMPERED, ALIVE, EXACT, BEAM, LOCAL,
    )
}  # fmt: skip
"""By name, in the order in which the command line lists them."""


def check_method(name: str) -> Method:
    """The method of that name; CallError with a near name if there is none."""
    if name not in METHODS:
        near = near_name(name, list(METHODS))
        raise CallError(
            f"there is no inference method `{name}`",
            f"did you mean `{near}`?" if near else f"one of {', '.join(METHODS)}",
        )
    return METHODS[name]


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method, by name: given ones checked, the others at their defaults."""
    return check_method(name).checked(options)


def called(method: str | MethodCall, options: Mapping[str, Any] | None) -> MethodCall:
    """A method that is named, with its options checked; or the call itself, which has its own."""
    if isinstance(method, MethodCall):
        return method
    return check_method(method).call(options or {})
