"""Running ahead: which rows will a particle ask for, if its draft is right?

A twin of the particle goes on with the draft's rows in the place of the model's, by the streams that the particle will
draw from: past conditions, masks and ends of steps, to the end of its block. Where the twin's draws are kept, the
particle finds its rows at hand. What a twin does changes nothing but what is computed when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fkdsl.base.random import Foreseen
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.constraint import Constraint
from fkdsl.engine.drafts import Question
from fkdsl.program.code import ObserveOp, WatchedOp
from fkdsl.program.drafting import Drafting, distance_in_block
from fkdsl.program.faults import Fault, NeedRows
from fkdsl.program.state import Status

if TYPE_CHECKING:
    from fkdsl.program.particle import Running

MOST = 64
"""Rows of one observation that are asked for ahead at most."""


class Twin:
    """A particle's twin. found: the contexts whose rows the particle will ask for, by model. question: what it waits
    for; None once it has ended."""

    def __init__(self, particle: Running, drafting: Drafting) -> None:
        self.drafting = drafting
        self.running = particle.fork()
        self.running.ahead = True
        self.running.draws, self.running.block = particle.draws, particle.block
        self.found: list[tuple[str, Context]] = []
        self.question: tuple[str, Question] | None = None
        self.texts: list[tuple[Constraint, tuple[int, ...]]] = []

    def go(self) -> None:
        """Runs to the next question for the draft, or to the end."""
        self.question, running = None, self.running
        while running.status is Status.RUNNING:
            try:
                running.go()
            except Fault:
                return
            except NeedRows as need:
                self.texts = need.texts
                if not self._supplied(need):
                    return
                continue
            if running.status is Status.RUNNING:
                assert isinstance(running.rng, Foreseen)
                running.rng = running.rng.later(1)
                running.draws, running.boundary = 0, False

    def _supplied(self, need: NeedRows) -> bool:
        """Whether the twin can go on at once; if not it waits for its question, or has ended."""
        self.found.extend(need.wanted)
        frame = self.running.frames[-1]
        op = self.running.code.functions[frame.function].ops[frame.pc]
        if isinstance(op, ObserveOp) or (isinstance(op, WatchedOp) and isinstance(op.op, ObserveOp)):
            # What is observed changes the weight, and the weight is none of the twin's.
            for model, node in need.wanted[:MOST]:
                self.running.rows[node] = np.zeros(self.running.engines[model].model.vocabulary.size)
            return len(need.wanted) <= MOST
        model, node = need.wanted[0]
        of, block = self.drafting.of.get(model), self.running.block
        c = next((c for c in self.running.contexts if c.node is node and c.model == model), None)
        if of is None or block is None or c is None or distance_in_block(self.running, c, of) is None:
            return False
        self.question = (model, Question(node, block.base))
        return False


def wanted_ahead(particles: Sequence[Running], drafting: Drafting) -> dict[str, dict[Context, None]]:
    """The contexts whose rows the particles will ask for after those that they wait for, by model."""
    twins = [Twin(particle, drafting) for particle in particles if isinstance(particle.rng, Foreseen)]
    for twin in twins:
        twin.go()
    waiting = [twin for twin in twins if twin.question is not None]
    while waiting:
        asked: dict[str, list[tuple[Twin, Question]]] = {}
        texts: dict[Constraint, list[tuple[int, ...]]] = {}
        for twin in waiting:
            assert twin.question is not None
            asked.setdefault(twin.question[0], []).append((twin, twin.question[1]))
            for constraint, ids in twin.texts:
                texts.setdefault(constraint, []).append(ids)
        for constraint, lists in texts.items():
            constraint.prepare(lists)
        for model, items in asked.items():
            for (twin, question), row in zip(items, drafting.log_probs(model, [q for _, q in items]), strict=True):
                if row is None:
                    twin.question = None
                else:
                    twin.running.rows[question.node] = row
        for twin in waiting:
            if twin.question is not None:
                twin.go()
        waiting = [twin for twin in waiting if twin.question is not None]
    found: dict[str, dict[Context, None]] = {}
    for twin in twins:
        for model, node in twin.found:
            found.setdefault(model, {})[node] = None
    if drafting.held:
        drafting.held[-1].extend(node for nodes in found.values() for node in nodes)
    return found
