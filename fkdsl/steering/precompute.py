"""Running ahead: what will particles draw, and which rows will they ask for, if they live and their
drafts are right?

Draws are functions of a particle's stream and of rows. So where rows are at hand, steps can be made
before their time: a *scout* takes a particle's later steps, by the streams that the particle will
draw from, up to the first row that is missing. From there a *twin* of it goes on with the draft's
rows in the place of the model's, past conditions, masks and ends of steps, to the end of its block;
the rows that it asked about are computed in the forward that some particle waits for. So a forward
serves the whole population, wherever its particles' blocks begin.

A particle that comes to a step which its scout has made takes what it made. What scouts and twins
do changes nothing but what is computed when: resampling may give a particle another state or
another lineage, and then nothing was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fkdsl.base.errors import CallError
from fkdsl.base.random import Foreseen
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.constraint import Constraint
from fkdsl.engine.drafts import DraftQuery
from fkdsl.machine.interpreter import Running
from fkdsl.machine.ops import ObserveOp, WatchedOp
from fkdsl.machine.state import ProgramState, Status
from fkdsl.proposals.speculative import Drafting, Tally, distance_in_block
from fkdsl.values.faults import Fault, NeedRows

if TYPE_CHECKING:
    from fkdsl.steering.feynman_kac import SteeringModel

MOST = 64
"""Rows of one observation that are asked for ahead at most."""
LEAD = 4
"""Blocks' worth of steps that a scout may be ahead of its particle, and a twin of where it set
out."""


def lead_of(drafting: Drafting) -> int:
    """Steps that may be made ahead: draws from other things than models have no row to stop at."""
    return LEAD * max(of.block for of in drafting.of.values())


class Made(NamedTuple):
    """A step that a scout has made: where from, where to, log G (nats), and what was drafted in
    it."""

    before: ProgramState
    after: ProgramState
    log_G: float
    tally: Tally | None


class Asking:
    """One that runs until it asks for something. questions: for drafts; texts: masks that it will
    ask for."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.questions: list[tuple[str, DraftQuery]] = []
        self.texts: list[tuple[Constraint, tuple[int, ...]]] = []

    def go(self) -> None:
        """Runs to its next questions, or, if it then has none, to its end."""
        raise NotImplementedError

    def answer(self, rows: Sequence[object]) -> None:
        """Takes the answers to its questions, and goes on."""
        raise NotImplementedError


class Scout(Asking):
    """A particle some steps on, in the step that its running has begun at `before`. made: the steps
    behind it, by their streams' keys. blocked: whether it waits for a row that is not at hand."""

    def __init__(
        self, model: SteeringModel, rng: Foreseen, before: ProgramState, lead: int
    ) -> None:
        super().__init__(model.running(rng, before))
        self.model, self.rng, self.before, self.lead = model, rng, before, lead
        self.made: dict[bytes, Made] = {}
        self.blocked = False

    def go(self) -> None:
        self.blocked = False
        while self.lead > 0:
            try:
                self.running.go()
            except (Fault, CallError):
                self.lead = 0  # the particle will meet it, and say so
            except NeedRows as need:
                self.texts = need.texts
                self.questions = [(m, key) for m, key in need.wanted if isinstance(key, DraftQuery)]
                for model, node in need.wanted:
                    if not isinstance(node, DraftQuery):
                        row = self.running.engines[model].cached(node)
                        self.blocked = self.blocked or row is None
                        self.running.rows[node] = row
                if self.blocked:
                    self.running.rows, self.questions = {}, []
                if self.blocked or self.questions:
                    return
            else:
                self._made()

    def _made(self) -> None:
        after = self.running.state()
        self.made[self.rng.key] = Made(self.before, after, self.running.log_G, self.running.tally)
        self.lead = self.lead - 1 if after.status is Status.RUNNING else 0
        self.before, self.rng = after, self.rng.later(1)
        self.running.let_go()
        self.running = self.model.running(self.rng, after)

    def answer(self, rows: Sequence[object]) -> None:
        for (_, question), row in zip(self.questions, rows, strict=True):
            self.running.rows[question] = row
        self.questions = []
        self.go()


class Twin(Asking):
    """One that goes on from where a particle or its scout waits, by the draft's rows. found: the
    contexts whose rows it asked about, by model."""

    def __init__(self, running: Running, drafting: Drafting) -> None:
        super().__init__(running.fork())
        self.drafting = drafting
        self.running.ahead = True
        self.running.draws, self.running.block = running.draws, running.block
        self.found: list[tuple[str, Context]] = []
        self.lead = lead_of(drafting)

    def go(self) -> None:
        running = self.running
        while running.status is Status.RUNNING and self.lead > 0:
            try:
                running.go()
            except (Fault, CallError):
                return
            except NeedRows as need:
                self.texts = need.texts
                if not self._supplied(need):
                    return
            else:
                assert isinstance(running.rng, Foreseen)
                running.rng = running.rng.later(1)
                running.draws, running.boundary = 0, False
                self.lead -= 1

    def _supplied(self, need: NeedRows) -> bool:
        """Whether the twin can go on at once; if not it has a question, or is at its end."""
        self.found += [*need.wanted, *need.forced]
        frame = self.running.frames[-1]
        op = self.running.code.functions[frame.function].ops[frame.pc]
        if isinstance(op, ObserveOp) or (
            isinstance(op, WatchedOp) and isinstance(op.op, ObserveOp)
        ):
            # What is observed changes the weight, and the weight is none of the twin's.
            for model, node in need.wanted[:MOST]:
                self.running.rows[node] = np.zeros(
                    self.running.engines[model].model.vocabulary.size
                )
            return len(need.wanted) <= MOST
        model, node = need.wanted[0]
        of, block = self.drafting.of.get(model), self.running.block
        c = next((c for c in self.running.contexts if c.node is node and c.model == model), None)
        if (
            of is not None
            and block is not None
            and c is not None
            and distance_in_block(self.running, c, of)
        ):
            self.questions = [(model, DraftQuery(node, block.base))]
        return False

    def answer(self, rows: Sequence[object]) -> None:
        ((_, question),), (row,) = self.questions, rows
        self.questions = []
        if row is not None:
            self.running.rows[question.node] = row
            self.go()


@dataclass
class Ahead:
    """What the scouts of a run have made, by the streams' keys, and where they stand."""

    drafting: Drafting
    made: dict[bytes, Made] = field(default_factory=dict)
    scouts: dict[bytes, Scout] = field(default_factory=dict)

    def take(self, rng: object, before: ProgramState) -> Made | None:
        """The step of a particle, if its scout has made it."""
        made = self.made.pop(rng.key, None) if isinstance(rng, Foreseen) else None
        if made is None or made.before is not before:
            return None
        self.drafting.tally.add(made.tally)
        return made

    def wanted(
        self,
        model: SteeringModel,
        waiting: Iterable[Running],
        arrived: Iterable[tuple[object, ProgramState]],
    ) -> dict[str, dict[Context, None]]:
        """The contexts, by model, whose rows particles will ask for beyond those that they wait
        for.

        waiting: particles that wait for rows in this step. arrived: the streams in this step, and
        the states, of those that are through with it.
        """
        before = (self.made, self.scouts)
        self.made, self.scouts = {}, {}
        scouts = [
            self._scout(model, rng, x, *before) for rng, x in arrived if isinstance(rng, Foreseen)
        ]
        found = [scout for scout in scouts if scout is not None]
        self._ask(found)
        for scout in found:
            self.made.update(scout.made)
            scout.made = {}
            if scout.lead > 0:
                self.scouts[scout.rng.key] = scout
        blocked = [scout.running for scout in found if scout.blocked]
        twins = [
            Twin(p, self.drafting) for p in (*waiting, *blocked) if isinstance(p.rng, Foreseen)
        ]
        self.drafting.tally.rounds += len(twins)
        self._ask(twins)
        wanted: dict[str, dict[Context, None]] = {}
        for twin in twins:
            for name, node in twin.found:
                wanted.setdefault(name, {})[node] = None
            twin.running.let_go()
        for scout in (*before[1].values(), *found):
            if self.scouts.get(scout.rng.key) is not scout:
                scout.running.let_go()
        self.drafting.hold(node for nodes in wanted.values() for node in nodes)
        return wanted

    def end(self) -> None:
        """Nobody goes on: lets go of everything."""
        for scout in self.scouts.values():
            scout.running.let_go()
        self.made, self.scouts = {}, {}
        self.drafting.held.clear()
        self.drafting.answers.clear()

    def _scout(
        self,
        model: SteeringModel,
        rng: Foreseen,
        x: ProgramState,
        made: dict[bytes, Made],
        scouts: dict[bytes, Scout],
    ) -> Scout | None:
        """The scout of a particle that is at x after the step of a stream; what it has made before
        is kept."""
        lead, rng = lead_of(self.drafting), rng.later(1)
        while (step := made.get(rng.key)) is not None and step.before is x:
            self.made[rng.key] = step
            x, rng, lead = step.after, rng.later(1), lead - 1
        if x.status is not Status.RUNNING or lead <= 0:
            return None
        scout = scouts.get(rng.key)
        if scout is None or scout.before is not x:
            return Scout(model, rng, x, lead)
        scout.lead = lead
        return scout

    def _ask(self, all: Sequence[Asking]) -> None:
        """Lets them run to their ends; what they ask is answered for all together."""
        for one in all:
            one.go()
        while asking := [one for one in all if one.questions]:
            texts: dict[Constraint, list[tuple[int, ...]]] = {}
            asked: dict[str, list[DraftQuery]] = {}
            for one in asking:
                for constraint, ids in one.texts:
                    texts.setdefault(constraint, []).append(ids)
                for model, question in one.questions:
                    asked.setdefault(model, []).append(question)
            for constraint, lists in texts.items():
                constraint.prepare(lists)
            rows = {
                (model, question): row
                for model, questions in asked.items()
                for question, row in zip(
                    questions, self.drafting.log_probs(model, questions), strict=True
                )
            }
            for one in asking:
                one.answer([rows[key] for key in one.questions])
