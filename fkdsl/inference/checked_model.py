"""A Feynman-Kac model of a user's, held to the laws that every loop relies on: what it breaks is
said by its own names, before it makes an answer wrong.

>>> import numpy as np
>>> class Walk:
...     def initial(self, rngs): return [[0] for _ in rngs], np.zeros(len(rngs))
...     def step(self, rngs, xp):
...         for x in xp: x.append(1)
...         return xp, np.zeros(len(xp))
...     def finished(self, x): return len(x) == 3
...     def value(self, x): return len(x)
...     def key(self, x): return tuple(x)
...     def describe(self, x): return str(x)
>>> CheckedModel(Walk()).step([None], [[0]])
Traceback (most recent call last):
...
fkdsl.base.errors.CallError: `step` of Walk changed the state that it was given: (0,) became (0, 1)
  = help: make a new state, such as x + [token]: other particles may have the same one
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng
from fkdsl.base.shown import one_line, shortened
from fkdsl.inference.interface import FeynmanKac

S = TypeVar("S")
NEEDED = ("initial", "step", "finished", "value", "key")
"""What a Feynman-Kac model has."""


class CheckedModel(Generic[S]):
    """The model, whose `initial`, `step` and `key` raise CallError where they break a law of
    FeynmanKac. Whatever else it has, this has too."""

    def __init__(self, model: FeynmanKac[S]) -> None:
        missing = [name for name in NEEDED if not hasattr(model, name)]
        self.name = type(model).__name__
        if missing:
            raise CallError(
                f"this {self.name} is no program and no Feynman-Kac model: "
                f"it has no `{missing[0]}`",
                "give a program's text, fkdsl.load(path), "
                "or an object with initial, step, finished, ...",
            )
        self.model = model
        # Whether a model has a Protocol is asked of its attributes, so this has the same.
        for name in dir(model):
            if not name.startswith("_") and not hasattr(type(self), name):
                value = getattr(model, name)
                if callable(value):
                    setattr(self, name, value)

    def initial(self, rngs: Sequence[Rng]) -> tuple[list[S], Floats]:
        return self._verified("initial", self.model.initial(rngs), len(rngs))

    def step(self, rngs: Sequence[Rng], xp: Sequence[S]) -> tuple[list[S], Floats]:
        before = [self.key(x) for x in xp]
        result = self._verified("step", self.model.step(rngs, xp), len(xp))
        for x, key in zip(xp, before, strict=True):
            if self.key(x) != key:
                raise CallError(
                    f"`step` of {self.name} changed the state that it was given: "
                    f"{_quoted(key)} became {_quoted(self.key(x))}",
                    "make a new state, such as x + [token]: other particles may have the same one",
                )
        return result

    def finished(self, x: S) -> bool:
        return bool(self.model.finished(x))

    def value(self, x: S) -> Any:
        return self.model.value(x)

    def key(self, x: S) -> Hashable:
        key = self.model.key(x)
        try:
            hash(key)
        except TypeError:
            raise CallError(
                f"`key` of {self.name} gave {_quoted(key)}, which is not hashable",
                "return a text, a number, or a tuple of these, such as tuple(x)",
            ) from None
        return key

    def describe(self, x: S) -> str:
        describe = getattr(self.model, "describe", None)
        return str(x) if describe is None else describe(x)

    def _verified(self, method: str, result: Any, n: int) -> tuple[list[S], Floats]:
        """(n states, log G (n,)) as they were given."""
        what = f"`{method}` of {self.name}"
        if not isinstance(result, tuple) or len(result) != 2:
            raise CallError(
                f"{what} gave no pair of states and log potentials: {_quoted(result)}",
                "return [x for each particle], np.zeros(n)",
            )
        states, log_G = list(result[0]), np.asarray(result[1], dtype=np.float64)
        if len(states) != n or log_G.shape != (n,):
            raise CallError(
                f"{what} was given {n} particles, and gave {len(states)} states and log "
                f"potentials of shape {log_G.shape}",
                f"return a list of {n} states, and an array ({n},)",
            )
        for x, g in zip(states, log_G.tolist(), strict=True):
            if not g < math.inf:
                raise CallError(
                    f"{what} gave the log potential {g} to the state {_quoted(x)}",
                    "a log potential is a number of nats, or -inf for a potential of 0",
                )
        return states, log_G


def _quoted(value: object) -> str:
    return shortened(one_line(repr(value)))
