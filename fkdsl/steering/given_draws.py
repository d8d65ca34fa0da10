"""A step whose draw is given: what the program weighs behind each value that a draw may give.

With s0 at `d ~ retrieve(...)` it gives, for each document d, the log of what the conditions and
observations up to the next draw weigh given d: log p(y | x, d) where an answer y is observed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fkdsl.base.logspace import Floats
from fkdsl.base.random import KeyedRng
from fkdsl.machine.interpreter import Draw, advance
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.lookahead import LookaheadCache
from fkdsl.proposals.open_draw import OpenDraw
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.steering.particle_step import ParticleStep
from fkdsl.values.faults import Fault, NeedRows


class GivenStep(ParticleStep):
    """A step whose first draw gives `value`."""

    def __init__(
        self,
        particle: RunningParticle,
        settings: ProposalSettings,
        cache: LookaheadCache,
        value: Any,
    ) -> None:
        super().__init__(particle, settings, cache)
        self.value = value
        self.given = False

    def make(self, draw: OpenDraw) -> None:
        if self.given:
            super().make(draw)
            return
        self.given, self.draw = True, None
        self.particle.assign_drawn(self.particle.frames[-1], draw.op.target, self.value)
        self.particle.rows = {}


class GivenDraws(SteeringModel):
    """A program of which a draw is given. It is built without the optimiser, so that every draw has
    the law that is written."""

    def draw_at(self, x: ProgramState) -> Draw | None:
        """The draw that a state stands at; None where it asks a model before it, or stands at
        none. Raises ProgramError for a mistake of the program."""
        particle = RunningParticle(self.code, self.engines, KeyedRng(0), self.limits)
        particle.resume(x)
        try:
            at = advance(particle)
        except NeedRows:
            return None
        except Fault as fault:
            raise self._mistake(fault, particle, 0, 1, "before the first draw") from None
        return at if isinstance(at, Draw) else None

    def step_given(
        self, x: ProgramState, values: Sequence[Any]
    ) -> tuple[list[ProgramState], Floats]:
        """(the state, log G) after the step from x, for each value that its draw gives."""
        steps: list[ParticleStep] = []
        for value in values:
            particle = RunningParticle(self.code, self.engines, KeyedRng(0), self.limits)
            particle.resume(x)
            steps.append(GivenStep(particle, self.proposals, LookaheadCache(), value))
        return self.run_to_end(steps)
