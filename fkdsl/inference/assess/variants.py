"""What `fkdsl test` runs: every method that estimates Z without bias, at the small settings that
its `Checks` name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.method import Checks, Method, MethodCall
from fkdsl.inference.methods import METHODS, check_method


@dataclass(frozen=True)
class Variant:
    """A method with the settings that its runs take in turn."""

    name: str
    method: str
    settings: tuple[Mapping[str, Any], ...]

    @property
    def checks(self) -> Checks:
        """What the method can be held to."""
        return check_method(self.method).checks

    @property
    def stepwise(self) -> bool:
        """Whether every step of these runs can be held to what is still to come. A move keeps the
        law of a path, not what its population promises given the steps before."""
        return self.checks.stepwise and not any(call.moves_paths for call in self.calls)

    @cached_property
    def calls(self) -> tuple[MethodCall, ...]:
        """The method with each of the settings, checked once for all runs."""
        method = check_method(self.method)
        return tuple(method.call(settings) for settings in self.settings)


def variants(names: Sequence[str] | None = None) -> tuple[Variant, ...]:
    """Of all methods that estimate Z without bias, or of those named; a variant's own name names it
    alone."""
    every = [
        Variant(name, method.name, settings)
        for method in METHODS.values()
        if method.estimates_z
        for name, settings in _settings(method).items()
    ]
    return tuple(v for v in every if names is None or v.method in names or v.name in names)


def _settings(method: Method) -> Mapping[str, tuple[Mapping[str, Any], ...]]:
    """The settings of each of a method's variants, by their names."""
    if method.checks.variants is not None:
        return method.checks.variants
    few: tuple[Mapping[str, Any], ...] = ({},)
    if "particles" in method.options:
        few = tuple({"particles": n} for n in (2, 3, 4))
    return {method.name: few}
