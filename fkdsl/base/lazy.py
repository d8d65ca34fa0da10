"""Modules that are imported when something of them is first used: `fkdsl check` of a program needs
neither numpy nor the libraries of schemas, and to import them takes longer than the check.

A type checker is to see the import itself, so it is written twice:

    if TYPE_CHECKING:
        import numpy as np
    else:
        np = lazy_import("numpy")

>>> fractions = lazy_import("fractions")
>>> fractions.Fraction(1, 2) + 1
Fraction(3, 2)
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """Stands for a module that is not imported yet. What was asked of it once stays at hand, so
    that the next look-up is as quick as in the module."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)
        return value


def lazy_import(name: str) -> ModuleType:
    """The module of that name if it is imported already, else what stands for it. Raises nothing:
    a module that is missing shows when it is first used."""
    return sys.modules.get(name) or LazyModule(name)
