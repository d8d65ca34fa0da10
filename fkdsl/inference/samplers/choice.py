"""Which method? A choice between candidates by pilot islands of each.

The islands of the pilot have streams of their own and are no part of the answer, which is made of
fresh islands of what was chosen. Given the pilot each of them has mean Z, whatever was chosen, so
E[Z_hat] = Z. (To take the candidate's own pilot islands, or the best of them, would be biased: what
makes a candidate look good is then in the answer.)

>>> a = IslandPilot((-1.0, -1.4, -0.9), (10, 10, 10), (0.1,) * 3)
>>> b = IslandPilot((-1.1, -1.0, -1.2), (20, 20, 20), (0.1,) * 3)
>>> chosen = choose({"few": Piloted(a, 10.0), "many": Piloted(b, 20.0)}, first="few")
>>> chosen.name, {name: round(t.error, 2) for name, t in chosen.tried.items()}
('many', {'few': 0.22, 'many': 0.08})
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.samplers.adaptive import IslandPilot

DEATH = 5.0
"""Nats that an island which died counts as an error of log Z."""
CLEARLY = 1.3
"""How many times better than the first candidate another must be to be chosen in its place: errors
of a few islands are rough."""


@dataclass(frozen=True)
class Piloted:
    """A candidate's pilot, and what an island of it costs, in any unit that all candidates have."""

    pilot: IslandPilot
    cost: float


@dataclass(frozen=True)
class Tried:
    """error: root mean square of log Z_hat - log Z of an island, nats, log Z from all candidates'
    islands together. cost: of an island. merit: error^2 cost, what is to be small: at equal costs
    the variance of the answer is in proportion to it."""

    error: float
    cost: float

    @property
    def merit(self) -> float:
        return self.error**2 * self.cost


@dataclass(frozen=True)
class Chosen:
    """name: of the candidate. tried: what each came to, by name."""

    name: str
    tried: Mapping[str, Tried]


def choose(piloted: Mapping[str, Piloted], first: str) -> Chosen:
    """The candidate of the least merit; `first` unless another is CLEARLY better. Pure: depends on
    the pilots alone."""
    logs = np.array([z for p in piloted.values() for z in p.pilot.log_Z])
    log_z = log_sum_exp(logs) - math.log(len(logs))
    tried = {
        name: Tried(_error(np.array(p.pilot.log_Z), log_z), p.cost) for name, p in piloted.items()
    }
    best = min(tried, key=lambda name: (tried[name].merit, name != first))
    if CLEARLY * tried[best].merit >= tried[first].merit:
        best = first
    return Chosen(best, tried)


def _error(log_Z: Floats, log_z: float) -> float:
    if log_z == -math.inf:
        return DEATH
    with np.errstate(invalid="ignore"):
        errors = np.minimum(np.abs(log_Z - log_z), DEATH)
    return float(np.sqrt(np.mean(errors**2)))
