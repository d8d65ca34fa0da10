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

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.inference.method import Method, MethodCall


class Methods(MutableMapping[str, Method]):
    """Methods by name, each imported when it is first asked: whether an `infer` line may say `smc`
    takes none of the others."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self._homes = dict(homes)
        self._methods: dict[str, Method] = {}

    def __getitem__(self, name: str) -> Method:
        home = self._homes[name]
        if name not in self._methods:
            method = getattr(import_module(f"fkdsl.inference.{home}"), name.upper())
            self._methods[name] = method
        return self._methods[name]

    def __setitem__(self, name: str, method: Method) -> None:
        self._homes.setdefault(name, "")
        self._methods[name] = method

    def __delitem__(self, name: str) -> None:
        del self._homes[name], self._methods[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


METHODS = Methods(
    {
        "smc": "samplers.smc",
        "steer": "samplers.steer",
        "dpf": "samplers.dpf",
        "importance": "samplers.smc",
        "rejection": "samplers.rejection",
        "pgibbs": "samplers.pgibbs",
        "tempered": "samplers.tempered",
        "alive": "samplers.alive",
        "exact": "search.best_first",
        "beam": "search.beam",
        "local": "samplers.smc",
    }
)
"""By name, in the order in which the command line lists them: each is its name in capitals in the
file that is named here."""


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
