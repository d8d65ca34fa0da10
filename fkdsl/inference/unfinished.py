"""The population of a run that was cut short: by its timeout, by Ctrl-C, or by a bound on steps or
states.

It is no posterior, and has no estimate of Z. The particles that returned early are those with short
values, and the weights of the others lack every potential that is still to come. So it has a class
of its own, which BudgetEnded and Interrupted carry, and is no Result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.interface import FeynmanKac, Level, Step
from fkdsl.inference.search.frontier import Explored

S = TypeVar("S")
MOST = 10_000
"""The most particles that are kept, the heaviest: a search may hold a million states."""


@dataclass(frozen=True)
class UnfinishedParticle:
    """A particle of it. value: what it returned, None where it has not. text: the value, or the
    text so far, for people. log_weight: nats, not normalised. weight: its share of the population
    so far."""

    finished: bool
    value: Any
    text: str
    log_weight: float
    weight: float


@dataclass(frozen=True)
class Unfinished:
    """A population that is not finished.

    why: what ended the run. step: the last complete one. particles: those that live, the heaviest
    first, at most MOST. alive, dead: how many particles there were. log_z_bounds: certain bounds,
    where a search has them. resume: the trace that the run can go on from, None where there is
    none. within: whether the run may have been cut inside a step, of which nothing is kept.
    """

    program: str
    method: str
    why: str
    step: int
    particles: tuple[UnfinishedParticle, ...]
    alive: int
    dead: int
    seconds: float
    seed: int
    model_calls: int
    forwarded_tokens: int
    islands: int = 1
    log_z_bounds: tuple[float, float] | None = None
    resume: str | None = None
    within: bool = False

    @property
    def returned(self) -> int:
        """How many of the particles have returned."""
        return sum(p.finished for p in self.particles)

    @property
    def left_out(self) -> str:
        """What the population lacks of the step under way when the run was cut; "" if nothing."""
        if not self.within:
            return ""
        if not self.alive + self.dead:
            return "no step is complete yet: what was drawn in the first one is left out"
        return (
            f"this is the population after step {self.step}: what was drawn in the next step "
            "before the run was cut is left out"
        )

    @classmethod
    def of(
        cls, model: FeynmanKac[S], populations: Sequence[Step[S] | Level[S]], **facts: Any
    ) -> Unfinished:
        """Of the populations so far, one for each island that has begun. facts: the other
        fields."""
        particles = [
            (x, float(w)) for p in populations for x, w in zip(p.states, p.log_weights, strict=True)
        ]
        alive = sorted(
            ((x, w) for x, w in particles if w > -math.inf), key=lambda particle: -particle[1]
        )
        top = alive[0][1] if alive else 0.0
        total = math.fsum(math.exp(w - top) for _, w in alive)
        return cls(
            particles=tuple(
                _particle(model, x, w, math.exp(w - top) / total) for x, w in alive[:MOST]
            ),
            alive=len(alive),
            dead=len(particles) - len(alive),
            log_z_bounds=_known_bounds(model, populations),
            **facts,
        )


def _particle(model: FeynmanKac[S], x: S, log_weight: float, weight: float) -> UnfinishedParticle:
    finished = model.finished(x)
    return UnfinishedParticle(
        finished, model.value(x) if finished else None, model.describe(x), log_weight, weight
    )


def _known_bounds(
    model: FeynmanKac[S], populations: Sequence[Step[S] | Level[S]]
) -> tuple[float, float] | None:
    """Certain bounds on log Z, where the run was a search that has them."""
    if len(populations) == 1 and isinstance(populations[0], Explored):
        return populations[0].cut(model).bounds
    return None
