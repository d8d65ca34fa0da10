"""How far a text trusts its surrogate, and when a run's error is in doubt for having trusted it.

A surrogate that knows less than the model of what the text is about holds every further token of
it to be unlikely, and then h favours the nearest end by many nats: nearly all particles come to it,
and the other texts are so rare among them that no run's own error sees what is missing. Both show
in what the model says next: with h_0 before a token is drawn, and A' = sum p e h^b,

    drift = log A' - b log h_0

is 0 in the mean for a surrogate that is right, and far above it for one that exaggerates.

- Each text trusts its surrogate by the largest b, up to POWER, whose drift at the text's first
  token is at most CAUTION. b is a function of the state, so every method is exact.
- The same difference at later tokens, where log h_0 is that of the token before, says how many
  nats h was wrong by at each. A run in which that is DOUBTFUL or more in the mean says so.
"""

from __future__ import annotations

import math
from dataclasses import field

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass

CAUTION = 1.5
"""Nats that h^b may be wrong by at a text's first token."""
DOUBTFUL = 1.5
"""Nats that h^b may be wrong by at a token, in the mean, before the run's error is in doubt: a text
of one more token is then missed by such a factor."""
HALVINGS = 10


def trusted_power(p: Floats, h: Floats, log_h_0: float, most: float, caution: float) -> float:
    """The largest b in [0, most] at which log sum p h^b - b log h_0 is at most `caution`, to within
    a thousandth of `most`. p, h: (n,) of the outcomes. log_h_0: before any of them, nats."""

    def is_trusted(b: float) -> bool:
        mean = float(p @ h**b)
        return mean <= 0.0 or math.log(mean) - b * log_h_0 <= caution

    if is_trusted(most):
        return most
    # The drift is convex in b, and at 0 the log of a probability, so what is trusted is [0, b].
    low, high = 0.0, most
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_trusted(middle) else (low, middle)
    return low


@dataclass
class Drifts:
    """What h was wrong by in a run. sums: of the drifts of each constraint's tokens, nats. tokens:
    how many these are."""

    sums: dict[int, float] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)

    def add(self, constraint: int, drift: float) -> None:
        """Adds a token's."""
        self.sums[constraint] = self.sums.get(constraint, 0.0) + drift
        self.tokens[constraint] = self.tokens.get(constraint, 0) + 1

    def clear(self) -> None:
        """Forgets all."""
        self.sums.clear()
        self.tokens.clear()

    @property
    def largest(self) -> float:
        """Of a token in the mean, of the constraint that has the largest, nats; 0 for none."""
        return max((self.sums[c] / n for c, n in self.tokens.items()), default=0.0)
