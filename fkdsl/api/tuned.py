"""What tuning a twist has come to: its rounds, and runs with the twist and without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field

import numpy as np

from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.steering.learned_twist import LearnedTwist

BETTER = 0.8
"""The twist helps if the error of log Z with it is at most so many times that without."""
DEATH = 5.0
"""Nats that a run which died counts as an error of log Z."""


@dataclass(frozen=True)
class Spread:
    """What several runs came to. log_z: of each that lived, nats. died: how many did not."""

    log_z: tuple[float, ...]
    died: int
    particles: int
    tokens: float

    @property
    def sd(self) -> float:
        """Of log Z over the runs that lived, nats; NaN for fewer than two."""
        return float(np.std(self.log_z, ddof=1)) if len(self.log_z) > 1 else math.nan

    def error(self, log_z: float) -> float:
        """Root mean square of log Z_hat - log Z over the runs, nats, a run that died counting as
        DEATH. log_z: log Z, or what is taken for it."""
        errors = np.array([*(np.array(self.log_z) - log_z), *[DEATH] * self.died])
        return float(np.sqrt(np.mean(errors**2)))


@dataclass(frozen=True)
class Round:
    """A round: its number from 1 on, its runs, with the twist before its fit; the share of the
    deviance that the fit explains on runs left out of it (1 at most, NaN where it is not known);
    the penalty; and how flat the weights were made for it (1: not at all)."""

    number: int
    runs: Spread
    explained: float
    penalty: float
    power: float


@dataclass
class Tuned:
    """What tuning has come to so far. without, with_twist: the runs that are compared at the end,
    None before. ended: why it ended early, "" if it did not. notes: what a pilot found of
    look-ahead by a surrogate."""

    twist: LearnedTwist | None = None
    rounds: list[Round] = field(default_factory=list)
    without: Spread | None = None
    with_twist: Spread | None = None
    ended: str = ""
    notes: tuple[str, ...] = ()

    @property
    def helps(self) -> bool | None:
        """Whether log Z errs less with the twist, at equal tokens; None where that is not known."""
        if self.without is None or self.with_twist is None:
            return None
        before, after = self.errors
        return after <= BETTER * before

    @property
    def errors(self) -> tuple[float, float]:
        """The error of log Z (`Spread.error`) without the twist and with it; log Z is taken from
        the runs of both."""
        assert self.without is not None
        assert self.with_twist is not None
        sets = (self.without, self.with_twist)
        logs = [z for s in sets for z in s.log_z]
        if not logs:
            return math.inf, math.inf
        log_z = log_sum_exp(np.array(logs)) - math.log(len(logs) + sum(s.died for s in sets))
        return self.without.error(log_z), self.with_twist.error(log_z)


def spread_of(log_z: Sequence[float], particles: int, tokens: float) -> Spread:
    """What runs with these log Z_hat (nats, -inf for one that died) came to."""
    lived = tuple(z for z in log_z if z > -math.inf)
    return Spread(lived, len(log_z) - len(lived), particles, tokens)
