"""Precomputation: the rows that particles will ask for, if they live and their drafts are right.

Draws are functions of a particle's stream and of rows. So where rows are at hand, steps can be made
before their time: `EarlySteps` takes a particle's later steps, by the streams that the particle
will draw from, up to the first row that is missing. From there a `Drafter` of it goes on with the
draft's rows in the place of the model's, past conditions, masks and ends of steps, to the end of
its block; the rows that it asks for are computed in the forward that some particle waits for. So a
forward serves the whole population, wherever its particles' blocks begin.

A particle that comes to a step which was made early takes what was made (`PrecomputedStep`). All
this changes nothing but what is computed when: resampling may give a particle another state or
another lineage, and then nothing was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fkdsl.base.errors import CallError
from fkdsl.base.random import Rng, StepRng
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.drafts import DraftQuery
from fkdsl.machine.ops import ObserveOp, WatchedOp
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import ProgramState, Status
from fkdsl.proposals.drafting import DraftCounts, Drafting, steps_in_block
from fkdsl.proposals.open_draw import Request
from fkdsl.steering.particle_step import ParticleStep
from fkdsl.steering.rounds import Rounds
from fkdsl.values.faults import Fault

OBSERVED = 64
"""Rows of one observation that are computed early at most."""
BLOCKS = 4
"""Blocks' worth of steps that may be made early, and that a drafter may go from where it set
out."""

BeginStep = Callable[[Rng, ProgramState], ParticleStep]
"""A particle at the beginning of a step, by its stream and state."""


def most_steps(drafting: Drafting) -> int:
    """Steps that may be made early: draws from other things than models have no row to stop at."""
    return BLOCKS * drafting.longest


class PrecomputedStep(NamedTuple):
    """A step that was made early: where from, where to, log G (nats), and what was drafted in
    it."""

    before: ProgramState
    after: ProgramState
    log_G: float
    counts: DraftCounts


class EarlySteps:
    """A particle some steps on, in the step that it has begun at `before`. made: the steps behind
    it, by their streams' keys. is_blocked: whether it waits for a row that is not at hand.
    allowance: how many further steps it may make."""

    def __init__(
        self, begin: BeginStep, rounds: Rounds, rng: StepRng, before: ProgramState, allowance: int
    ) -> None:
        self.begin, self.rounds = begin, rounds
        self.rng, self.before, self.allowance = rng, before, allowance
        self.step = begin(rng, before)
        self.made: dict[bytes, PrecomputedStep] = {}
        self.is_blocked = False

    def advance(self) -> Request | None:
        """Makes steps by the rows at hand, up to a request to a draft; None at its end."""
        self.is_blocked = False
        while self.allowance > 0:
            particle = self.step.particle
            try:
                request = self.step.advance()
            except (Fault, CallError):
                self.allowance = 0  # the particle will meet it, and say so
                return None
            if request is None:
                self._end_step()
            elif not self.rounds.take_cached(particle, request):
                self.is_blocked = True
                particle.rows = {}
                return None
            elif request.drafts:
                return Request([], request.drafts, masks=request.masks)
        return None

    def _end_step(self) -> None:
        particle = self.step.particle
        after = particle.state()
        self.made[self.rng.key] = PrecomputedStep(
            self.before, after, particle.log_G, self.step.counts
        )
        self.allowance = self.allowance - 1 if after.status is Status.RUNNING else 0
        self.before, self.rng = after, self.rng.later(1)
        particle.release()
        self.step = self.begin(self.rng, after)


class Drafter:
    """A copy of a particle that goes on from where this waits, by the draft's rows. requested: the
    contexts whose rows it asked for, by model."""

    def __init__(self, waiting: ParticleStep, drafting: Drafting) -> None:
        particle = waiting.particle.fork()
        particle.draws, particle.draft_block = waiting.particle.draws, waiting.particle.draft_block
        self.step = ParticleStep(particle, waiting.settings, waiting.cache, by_draft=True)
        self.drafting = drafting
        self.requested: list[tuple[str, Context]] = []
        self.allowance = most_steps(drafting)
        self._query: DraftQuery | None = None

    def advance(self) -> Request | None:
        """Runs to its next request to a draft; None at its end: of its block, or of what a draft
        can say."""
        particle = self.step.particle
        if self._query is not None:
            row = particle.rows.pop(self._query)
            if row is None:
                return None
            particle.rows[self._query.node] = row
            self._query = None
        while particle.status is Status.RUNNING and self.allowance > 0:
            try:
                request = self.step.advance()
            except (Fault, CallError):
                return None
            if request is None:
                self._begin_step(particle)
                continue
            self.requested += [*request.rows, *request.forced]
            if not self._supply_observed(particle, request):
                return self._ask_draft(particle, request)
        return None

    def _begin_step(self, particle: RunningParticle) -> None:
        assert isinstance(particle.rng, StepRng)
        particle.rng = particle.rng.later(1)
        particle.draws, particle.boundary = 0, False
        self.allowance -= 1

    def _supply_observed(self, particle: RunningParticle, request: Request) -> bool:
        """Rows of zeros for what is observed: it changes the weight, and a drafter has none."""
        op = particle.op
        if isinstance(op, WatchedOp):
            op = op.op
        if not isinstance(op, ObserveOp) or len(request.rows) > OBSERVED:
            return False
        for model, node in request.rows:
            particle.rows[node] = np.zeros(particle.engines[model].model.vocabulary.size)
        return True

    def _ask_draft(self, particle: RunningParticle, request: Request) -> Request | None:
        """Asks for the first row that is missing, where it is within the particle's block."""
        model, node = request.rows[0]
        of, block = self.drafting.of.get(model), particle.draft_block
        c = next((c for c in particle.contexts if c.node is node and c.model == model), None)
        if of is None or block is None or c is None or not steps_in_block(particle, c, of):
            return None
        self._query = DraftQuery(node, block.base)
        return Request([], [(model, self._query)], masks=request.masks)


class Precompute:
    """The steps of a run that were made early, by their streams' keys, and where early steps
    stand."""

    def __init__(self, drafting: Drafting, rounds: Rounds, begin: BeginStep) -> None:
        self.drafting, self.rounds, self.begin = drafting, rounds, begin
        self.made: dict[bytes, PrecomputedStep] = {}
        self.early: dict[bytes, EarlySteps] = {}

    def take(self, rng: Rng, before: ProgramState) -> PrecomputedStep | None:
        """The step of a particle, if it was made early."""
        made = self.made.pop(rng.key, None) if isinstance(rng, StepRng) else None
        if made is None or made.before is not before:
            return None
        self.drafting.counts.add(made.counts)
        return made

    def contexts_wanted(
        self, waiting: Iterable[ParticleStep], arrived: Iterable[tuple[Rng, ProgramState]]
    ) -> dict[str, dict[Context, None]]:
        """The contexts, by model, whose rows particles will ask for beyond those that they wait
        for.

        waiting: particles that wait for rows in this step. arrived: the streams in this step, and
        the states, of those that are through with it.
        """
        made, early = self.made, self.early
        self.made, self.early = {}, {}
        ahead = [
            runner
            for rng, x in arrived
            if isinstance(rng, StepRng) and (runner := self._early_steps(rng, x, made, early))
        ]
        self._run(ahead)
        for runner in ahead:
            self.made.update(runner.made)
            runner.made = {}
            if runner.allowance > 0:
                self.early[runner.rng.key] = runner
        blocked = [runner.step for runner in ahead if runner.is_blocked]
        drafters = [
            Drafter(step, self.drafting)
            for step in (*waiting, *blocked)
            if isinstance(step.particle.rng, StepRng)
        ]
        self.drafting.counts.rounds += len(drafters)
        self._run(drafters)
        wanted: dict[str, dict[Context, None]] = {}
        for drafter in drafters:
            for name, node in drafter.requested:
                wanted.setdefault(name, {})[node] = None
            drafter.step.particle.release()
        for runner in (*early.values(), *ahead):
            if self.early.get(runner.rng.key) is not runner:
                runner.step.particle.release()
        self.drafting.pin(node for nodes in wanted.values() for node in nodes)
        return wanted

    def end(self) -> None:
        """Nobody goes on: lets go of everything."""
        for runner in self.early.values():
            runner.step.particle.release()
        self.made, self.early = {}, {}
        self.drafting.end()

    def _early_steps(
        self,
        rng: StepRng,
        x: ProgramState,
        made: dict[bytes, PrecomputedStep],
        early: dict[bytes, EarlySteps],
    ) -> EarlySteps | None:
        """The early steps of a particle that is at x after the step of a stream; what was made
        before is kept."""
        allowance, rng = most_steps(self.drafting), rng.later(1)
        while (step := made.get(rng.key)) is not None and step.before is x:
            self.made[rng.key] = step
            x, rng, allowance = step.after, rng.later(1), allowance - 1
        if x.status is not Status.RUNNING or allowance <= 0:
            return None
        runner = early.get(rng.key)
        if runner is None or runner.before is not x:
            return EarlySteps(self.begin, self.rounds, rng, x, allowance)
        runner.allowance = allowance
        return runner

    def _run(self, runners: Sequence[EarlySteps | Drafter]) -> None:
        """Lets them run to their ends; what they ask drafts is answered for all together."""
        pending = list(runners)
        while pending:
            requests = [(r, request) for r in pending if (request := r.advance()) is not None]
            steps = [(runner.step, request) for runner, request in requests]
            self.rounds.prepare_masks(steps)
            self.rounds.answer_drafts(steps)
            pending = [runner for runner, _ in requests]
