"""Draws with look-ahead by a surrogate and without it, side by side, and how much more each would
have weighed the other way: what the pilot of `--lookahead auto` is made of.

A token drawn from p e weighs A = sum p e, and one drawn from p e h^b weighs A'/h^b of the token,
A' = sum p e h^b (completion.py). Both are known wherever the token came from, so a path says by how
much its weight would differ: log_ratio = sum of log A'/h^b - log A over its tokens. (Here without
e, which few draws have and which is about the same in both.)
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Key, Rng
from fkdsl.machine.particle import RunningParticle
from fkdsl.proposals.completion import CompletionLookahead, Tilt
from fkdsl.proposals.outcomes import Outcomes


class PathRng:
    """The stream of a particle in one step of a trial. looks: whether the particle looks ahead.
    log_ratio: of the step's draws, nats. log_mass: of what masks left at them, nats."""

    __slots__ = ("_rng", "log_mass", "log_ratio", "looks")

    def __init__(self, rng: Rng, looks: bool) -> None:
        self._rng, self.looks, self.log_ratio = rng, looks, 0.0
        self.log_mass = 0.0

    def choice(self, probabilities: ArrayLike) -> int:
        return self._rng.choice(probabilities)

    def uniform(self) -> float:
        return self._rng.uniform()

    def split(self, *key: Key) -> Rng:
        return self._rng.split(*key)


@dataclass
class TrialLookahead(CompletionLookahead):
    """A look-ahead of those particles alone whose PathRng says so; of all, it enters the
    log_ratio and log_mass."""

    def proposes(self, particle: RunningParticle) -> bool:
        return _stream(particle).looks

    def twists(self, particle: RunningParticle) -> bool:
        return _stream(particle).looks

    def drawn(self, particle: RunningParticle, outcomes: Outcomes, tilt: Tilt, i: int) -> None:
        p, stream = outcomes.p, _stream(particle)
        log_mass = math.log(float(p.sum()))
        stream.log_ratio += math.log(float(p @ tilt.h)) - math.log(tilt.h[i]) - log_mass
        stream.log_mass += log_mass


def _stream(particle: RunningParticle) -> PathRng:
    assert isinstance(particle.rng, PathRng)
    return particle.rng
