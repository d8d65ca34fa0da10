"""The outcomes of a population's draws, listed before the draws are made, and steps whose first
draw is given one of them (`ListsOutcomes` of inference/interface.py).

    step = ListingStep(x, particle, settings, cache)
    ...                                     step.advance(), and its rows, as in particle_step.py
    step.fan                                # p of each outcome, and what a surrogate promises

    step = TakingStep(particle, settings, cache, listed, i)
    ...                                     the step goes on from outcome i

The listing asks of outcomes what weighted rejection asks before it draws any
(proposals/rejection.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import ProbabilityBlocks
from fkdsl.inference.interface import Fan
from fkdsl.machine.charges import Masses
from fkdsl.machine.interpreter import Done, Draw, advance, fault_at
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.completion import OWNER
from fkdsl.proposals.lookahead import Lookahead, LookaheadCache
from fkdsl.proposals.open_draw import OpenDraw, Request
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.prior import ROUNDING
from fkdsl.proposals.proposal import Choice
from fkdsl.proposals.propose import move_past, rejection_for
from fkdsl.proposals.refusals import with_deaths
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.tilts import Tilt
from fkdsl.steering.particle_step import Guesser, ParticleStep
from fkdsl.values.faults import Fault, NeedRows


class Listed(NamedTuple):
    """What a draw may give. tilt: what it promises, None where nothing looks ahead. log_mass: of
    what is left, nats; refused: the probability that each line has refused."""

    outcomes: Outcomes
    tilt: Tilt | None
    log_mass: float
    refused: Masses


class ListingStep(ParticleStep):
    """A step from x that ends where its first draw can be made. fan: that draw's outcomes, None
    where they cannot be listed, or where the step has no draw."""

    def __init__(
        self,
        x: ProgramState,
        particle: RunningParticle,
        settings: ProposalSettings,
        cache: LookaheadCache,
    ) -> None:
        super().__init__(particle, settings, cache)
        self.x = x
        self.fan: Fan[ProgramState] | None = None

    def advance(self) -> Request | None:
        if self.draw is None:
            try:
                at = advance(self.particle)
            except NeedRows as need:
                return Request(need.wanted)
            if isinstance(at, Done):
                return None
            self.draw = self._open(at)
        request = self._requests(self.draw)
        if request is None:
            try:
                self.fan = self._list(self.draw)
            except (Fault, MemoryError) as error:
                raise fault_at(error, self.draw.op.span) from None
        return request

    def _list(self, draw: OpenDraw) -> Fan[ProgramState] | None:
        """The outcomes of the draw, whose rows are at hand. Where none is left they have no
        mass."""
        if draw.finished or draw.unsatisfiable:
            return Fan(self.x, np.zeros(1))
        outcomes = draw.outcomes(None)
        if outcomes is None:
            return None
        tilt = draw.tilt(outcomes)
        p, refused = self._living(draw, outcomes)
        held = self.particle.guesses.get(OWNER, 0.0)
        mass = float(p.sum(dtype=np.float64))
        log_mass = math.log(mass) if 0.0 < mass < 1.0 - ROUNDING else 0.0
        made = Listed(outcomes, tilt, log_mass, refused)
        if tilt is None:
            return Fan(self.x, p, log_mass, None, -held, made)
        return Fan(self.x, p, log_mass, tilt.h, tilt.log_scale - held, made)

    def _living(self, draw: OpenDraw, outcomes: Outcomes) -> tuple[Floats, Masses]:
        """The outcomes' probabilities, less those that were asked about and die, and what each line
        has refused. Few outcomes are all asked, of many the likeliest."""
        p, plan, settings = outcomes.p, draw.plan, draw.settings
        refused = draw.refused(outcomes, float(p.sum(dtype=np.float64)))
        if plan is None or draw.is_decided or not plan.needs_lookahead:
            return p, refused
        lookahead = Lookahead(
            self.particle, draw.op, outcomes, plan, draw.cache, settings.clock is None
        )
        living = np.flatnonzero(p)
        if len(living) <= settings.enumerated:
            for i in living.tolist():
                lookahead.is_viable(i)
        else:
            rejection_for(plan, settings).remove_dead(
                ProbabilityBlocks(p.copy()), lookahead.is_viable
            )
        if not lookahead.died:
            return p, refused
        p = p.copy()
        p[list(lookahead.died)] = 0.0
        return p, with_deaths(dict(refused), lookahead.died, outcomes)


class TakingStep(ParticleStep):
    """A step whose first draw gives outcome i of what was listed of it. The draw weighs the mass of
    what was left, as one that is made does, and what a surrogate promises: p(i) over that mass is
    the particle's before."""

    def __init__(
        self,
        particle: RunningParticle,
        settings: ProposalSettings,
        cache: LookaheadCache,
        listed: Listed,
        i: int,
        guessers: Sequence[Guesser] = (),
    ) -> None:
        super().__init__(particle, settings, cache, guessers=guessers)
        self._given: Listed | None = listed
        self._i = i

    def _open(self, draw: Draw) -> OpenDraw:
        opened = super()._open(draw)
        if self._given is not None:  # so it needs no row
            opened.choice = Choice(self._i, self._given.log_mass, refused=self._given.refused)
        return opened

    def make(self, draw: OpenDraw) -> None:
        given, self._given = self._given, None
        if given is None:
            super().make(draw)
            return
        assert draw.choice is not None
        self.draw = None
        try:
            move_past(draw, given.outcomes, draw.choice, None, None, given.tilt)
        except (Fault, MemoryError) as error:
            raise fault_at(error, draw.op.span) from None
        self.particle.rows = {}
