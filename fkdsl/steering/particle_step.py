"""A particle on its way through one step: it advances from draw to draw, and says what it needs.

step = ParticleStep(particle, settings, cache)
while (request := step.advance()):      # it stands at a draw, or at a question to a model
    rounds.serve([(step, request)])     # puts rows into particle.rows
particle.state(), particle.log_G        # the step is over
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fkdsl.engine.cached_transformer import Context
from fkdsl.machine.interpreter import Done, Draw, advance, fault_at
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import Status
from fkdsl.proposals.drafting import Correction, DraftCounts
from fkdsl.proposals.lookahead import LookaheadCache
from fkdsl.proposals.open_draw import OpenDraw, Request
from fkdsl.proposals.propose import propose
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.values.faults import Fault, NeedRows


class Guesser(Protocol):
    """What guesses at the end of each step how much weight is still to come of a particle that goes
    on. The guess is a function of the particle's state and of rows, draws nothing, and changes no
    measure: `RunningParticle.guess` takes it back."""

    @property
    def owner(self) -> str:
        """Whose guess it is, in the state."""
        ...

    def rows(self, particle: RunningParticle) -> Sequence[tuple[str, Context]]:
        """The (model, context) pairs whose rows the guess is made from."""
        ...

    def log_weight(self, particle: RunningParticle) -> float:
        """The guess, finite, in nats; its rows are in `particle.rows`."""
        ...


class ParticleStep:
    """draw: the draw that the particle stands at, None elsewhere. counts: of the tokens that it has
    drawn from drafted models in this step. pending_corrections: tokens drawn from a weighed draft
    whose p / q is not weighed yet; their rows are asked for with the next rows of a model, at the
    latest at the step's end. by_draft: as in OpenDraw. guessers: who guess at its end."""

    def __init__(
        self,
        particle: RunningParticle,
        settings: ProposalSettings,
        cache: LookaheadCache,
        by_draft: bool = False,
        guessers: Sequence[Guesser] = (),
    ) -> None:
        self.particle, self.settings, self.cache = particle, settings, cache
        self.by_draft, self.guessers = by_draft, guessers
        self.draw: OpenDraw | None = None
        self.counts = DraftCounts()
        self.pending_corrections: list[Correction] = []
        self._guessed_from: list[tuple[str, Context]] | None = None

    def advance(self) -> Request | None:
        """Runs to the step's end, None, or to the first thing that is needed and not at hand.
        Raises Fault with its place."""
        if self.pending_corrections:
            self.apply_corrections()
        while self.particle.status is not Status.DEAD:
            if self.draw is None:
                try:
                    draw = advance(self.particle)
                except NeedRows as need:
                    return self._with_corrections(Request(need.wanted))
                if isinstance(draw, Done):
                    return self._request_of_end() or self._guess()
                self.draw = self._open(draw)
            if self.draw.choice is None:  # else all that it needs is at hand
                request = self._requests(self.draw)
                if request is not None:
                    return self._with_corrections(request)
            self.make(self.draw)
        return None

    def _open(self, draw: Draw) -> OpenDraw:
        try:
            return OpenDraw(self.particle, *draw, self.settings, self.cache, self.by_draft)
        except (Fault, MemoryError) as error:
            raise fault_at(error, draw.op.span) from None

    @staticmethod
    def _requests(draw: OpenDraw) -> Request | None:
        try:
            return draw.requests()
        except (Fault, MemoryError) as error:
            raise fault_at(error, draw.op.span) from None

    def make(self, draw: OpenDraw) -> None:
        """Makes the draw that the particle stands at, what it requests being at hand."""
        particle, self.draw = self.particle, None
        try:
            drafted = propose(draw)
        except (Fault, MemoryError) as error:
            raise fault_at(error, draw.op.span) from None
        if particle.rows:
            particle.rows = {}
        if drafted is not None:
            self.counts.add(drafted.counts)
            if drafted.correction is not None:
                self.pending_corrections.append(drafted.correction)

    # ---------------------------------------------------------------- guesses

    def _guess(self) -> Request | None:
        """What guesses need before the step can end; None once they are made."""
        particle = self.particle
        if particle.status is not Status.RUNNING or not self.guessers:
            return None
        if self._guessed_from is None:
            self._guessed_from = [
                pair for guesser in self.guessers for pair in guesser.rows(particle)
            ]
        wanted = [(model, node) for model, node in self._guessed_from if node not in particle.rows]
        if wanted:
            return Request(wanted)
        for guesser in self.guessers:
            particle.guess(guesser.owner, guesser.log_weight(particle))
        return None

    # ------------------------------------------------------------ corrections

    def _with_corrections(self, request: Request) -> Request:
        if request.rows and self.pending_corrections:
            request.rows.extend((c.model, c.node) for c in self.pending_corrections)
        return request

    def _request_of_end(self) -> Request | None:
        """What is needed before the step can end: the rows of corrections, and, of a particle that
        goes on, the row of the block's last context, which begins the next one."""
        if not self.pending_corrections or self.particle.status is Status.DEAD:
            return None
        wanted = [(c.model, c.node) for c in self.pending_corrections]
        if self.particle.status is Status.RUNNING:
            last = self.pending_corrections[-1]
            engine = self.particle.engines[last.model]
            wanted.append((last.model, engine.extend(last.node, (last.token,))))
        return Request(wanted)

    def apply_corrections(self) -> None:
        """Weighs p / q of the tokens whose rows are at hand."""
        particle, later = self.particle, []
        for correction in self.pending_corrections:
            row = particle.rows.get(correction.node)
            if row is None:
                later.append(correction)
            elif particle.status is not Status.DEAD:
                log_w = float(row[correction.token]) - correction.log_q
                particle.weigh(log_w, correction.place)
        self.pending_corrections = later
