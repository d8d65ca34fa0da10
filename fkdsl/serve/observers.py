"""What watches the steps of a run for a server: its progress as JSON, and the memory of its
particles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from fkdsl.api.engines import Engines
from fkdsl.base.errors import BudgetEnded
from fkdsl.base.logspace import log_sum_exp
from fkdsl.inference.interface import Step
from fkdsl.machine.memory import size

TEXTS, TEXT = 4, 200
"""Texts of a step that are shown, and characters of each."""
Observe = Callable[[dict[str, Any]], None]
"""Is told of a step as JSON."""


class Population:
    """An observer that ends a run whose particles together take too much memory; what they share
    is counted once. most: bytes."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, step: Any) -> None:
        frames = (frame for x in step.states for frame in x.frames)
        values = chain.from_iterable(frame.slots for frame in frames)
        returned = (x.value for x in step.states)
        if size(chain(values, returned), most=self.most) > self.most:
            raise BudgetEnded(
                f"the particles take more than {self.most >> 20:,} MiB together",
                "ask for fewer, or keep shorter texts and lists",
            )


def heaviest(model: Any, states: Sequence[Any], log_weights: Sequence[float]) -> list[Any]:
    """The texts of most weight as JSON: those of equal states are one."""
    masses: dict[str, list[float]] = {}
    for state, log_weight in zip(states, log_weights, strict=True):
        if log_weight > -math.inf:
            masses.setdefault(model.describe(state)[:TEXT], []).append(log_weight)
    merged = {text: log_sum_exp(np.array(weights)) for text, weights in masses.items()}
    first = sorted(merged, key=lambda text: -merged[text])[:TEXTS]
    return [{"text": text, "log_weight": merged[text]} for text in first]


def step_observer(model: Any, engines: Engines, observe: Observe) -> Callable[[Any], None]:
    """An observer of a run that tells of each step as JSON. model: describes states; None where
    texts are not wanted."""

    def watch(step: Any) -> None:
        event: dict[str, Any] = {
            "t": step.t,
            "log_z": step.log_Z,
            "unfinished": step.unfinished,
            "forwarded_tokens": engines.counts()[1],
        }
        if isinstance(step, Step):
            event |= {
                "island": step.island,
                "particles": len(step.particles),
                "alive": step.alive,
                "ess": step.ess,
                "resampled": step.resampled,
            }
            states, weights = step.states, [float(w) for w in step.log_weights]
        else:
            event["states"] = len(step.states)
            states, weights = step.states, list(step.log_weights)
        if model is not None:
            event["texts"] = heaviest(model, states, weights)
        observe(event)

    return watch
