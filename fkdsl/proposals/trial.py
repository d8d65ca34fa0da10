"""Draws with look-ahead by a surrogate and without it, side by side, and what their paths say of
the surrogate: what the pilot of `--lookahead auto` is made of.

**What a path would have weighed the other way.** A token drawn from p e weighs A = sum p e, and one
drawn from p e h^b weighs A'/h^b of the token, A' = sum p e h^b (completion.py). Both are known
wherever the token came from, so a path says by how much its weight would differ: log_ratio = sum of
log A'/h^b - log A over its tokens. (Here without e, which few draws have and which is about the
same in both.)

**What was expected, and what came.** After each token the surrogate expects the text to be
completed with probability h. What the path goes on to weigh,

    y = sum of log A over the tokens that follow                          without look-ahead
    y = b log h + sum of (log A' less the b log h of the token before)    with it

is the log of an unbiased estimate of the model's own probability. So the slope of y against
x = log h, through the origin, where a completed text has both, is the power of h that the model
agrees with. A path keeps the mean squares and products of its tokens.
"""

from __future__ import annotations

import math
from dataclasses import replace

from numpy.typing import ArrayLike

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Key, Rng
from fkdsl.machine.particle import RunningParticle
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.tilts import Tilt


@dataclass
class TrialPath:
    """What is known of a path so far.

    looks: whether it looks ahead. log_ratio: nats that it would have weighed more with look-ahead
    than without. log_mass: nats that masks have left. points: places at which x and y were
    compared, the beginnings of texts and what follows each of their tokens. squares, products: the
    sums of x^2 and of x y over them, nats^2, of tokens so far. expected: the sum of x over those of
    the present text. held: b log h after its last token. first, last: x at the beginning of the
    present text, and now. begun: the sum of x at the beginnings of all texts.
    """

    looks: bool
    log_ratio: float = 0.0
    log_mass: float = 0.0
    points: int = 0
    squares: float = 0.0
    products: float = 0.0
    expected: float = 0.0
    held: float = 0.0
    first: float = 0.0
    last: float = 0.0
    begun: float = 0.0

    def copy(self) -> TrialPath:
        """One that goes its own way."""
        return replace(self)

    def add(self, log_A: float, log_A_h: float, log_h: float, tilt: Tilt) -> None:
        """Adds a token. log_A: log sum p. log_A_h: log sum p h^b. log_h: log h^b of the token."""
        self.log_mass += log_A
        self.log_ratio += log_A_h - log_h - log_A
        if not tilt.power:
            return
        if tilt.log_h_0 is not None:
            self.expected, self.first = 0.0, tilt.log_h_0
            self.begun += tilt.log_h_0
            self._point(tilt.log_h_0, tilt.power)
        # What comes now, all places before it have had to expect.
        self.products += self.expected * (log_A_h - self.held if self.looks else log_A)
        self._point(log_h / tilt.power, tilt.power)

    def _point(self, x: float, power: float) -> None:
        self.points += 1
        self.squares += x * x
        self.expected += x
        self.held, self.last = power * x, x
        if self.looks:
            self.products += power * x * x

    def mean_square(self) -> float:
        """Of x, nats^2."""
        return self.squares / max(self.points, 1)

    def mean_product(self) -> float:
        """Of x y, nats^2; b log h stands for what is still to come of a text."""
        to_come = 0.0 if self.looks else self.expected * self.held
        return (self.products + to_come) / max(self.points, 1)


class PathRng:
    """The stream of a particle in one step of a trial, which knows its path."""

    __slots__ = ("_rng", "path")

    def __init__(self, rng: Rng, path: TrialPath) -> None:
        self._rng, self.path = rng, path

    def choice(self, probabilities: ArrayLike) -> int:
        return self._rng.choice(probabilities)

    def uniform(self) -> float:
        return self._rng.uniform()

    def split(self, *key: Key) -> Rng:
        return self._rng.split(*key)


@dataclass
class TrialLookahead(CompletionLookahead):
    """A look-ahead of those particles alone whose PathRng says so; of all, it tells their path of
    each draw."""

    def proposes(self, particle: RunningParticle) -> bool:
        return _path(particle).looks

    def twists(self, particle: RunningParticle) -> bool:
        return _path(particle).looks

    def drawn(self, particle: RunningParticle, outcomes: Outcomes, tilt: Tilt, i: int) -> None:
        p = outcomes.p
        log_A_h = math.log(float(p @ tilt.h)) + tilt.log_scale
        _path(particle).add(math.log(float(p.sum())), log_A_h, tilt.log_h(i), tilt)


def _path(particle: RunningParticle) -> TrialPath:
    assert isinstance(particle.rng, PathRng)
    return particle.rng.path
