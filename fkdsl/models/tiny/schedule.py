"""The learning rate of a training run."""

from __future__ import annotations

import math

from fkdsl.base.quick_dataclass import dataclass


@dataclass(frozen=True)
class Schedule:
    """steps: of the run. rate: the peak of the learning rate. The rate reaches it after `warm_up`
    steps, stays there, and falls to zero along a cosine in the last part, `cool_down`, of the
    steps; a run can be made longer until then."""

    steps: int = 6000
    rate: float = 3e-3
    warm_up: int = 100
    cool_down: float = 0.3

    def falls_from(self) -> int:
        """The first step of the last part, in which the rate falls."""
        return self.steps - round(self.steps * self.cool_down)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        falls = self.falls_from()
        if step < falls:
            return self.rate * min(1.0, (step + 1) / self.warm_up)
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - falls) / (self.steps - falls)))
