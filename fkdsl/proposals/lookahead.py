"""What each outcome of a draw leads to: whether the particle lives through what stands before the
next draw.

A *trial* is a copy of the particle that takes the outcome and runs on: to the next draw, to a
question to a model, or to its death. One that lives is what the particle becomes, so nothing is
computed twice.

A *glance* is what a trial comes to without a copy. Conditions that stand right behind the draw and
look at nothing but values and the text of contexts are asked of the particle itself, as if it had
taken the token; then it is put back. Where they fail the outcome dies, as its trial would. Where
nothing else on the way to the next draw can weigh (ir.passes.fuse), they tell all, and there are no
trials.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import Context
from fkdsl.machine.state import ContextState, Status
from fkdsl.proposals.outcomes import Outcomes, TokenOutcomes, token_of
from fkdsl.values.faults import Fault
from fkdsl.values.operators import truth

if TYPE_CHECKING:
    from fkdsl.machine.interpreter import Running
    from fkdsl.machine.ops import Compute, DrawOp
    from fkdsl.machine.proposal_plan import ProposalPlan


class Glimpse:
    """As much of a Context as a condition may look at, of one that nobody holds."""

    __slots__ = ("length", "raw")

    def __init__(self, length: int, raw: bytes) -> None:
        self.length, self.raw = length, raw


class Trials:
    """Whether each outcome of a draw lives, looked at once for this draw, and tried at most once
    for all particles in the same state. died: where those died that this draw has asked about."""

    def __init__(
        self, particle: Running, op: DrawOp, found: Outcomes, plan: ProposalPlan[Compute]
    ) -> None:
        self.particle, self.op, self.found = particle, op, found
        self.died: dict[int, Span] = {}
        self.lived: set[int] = set()
        self.mistaken: set[int] = (
            set()
        )  # tokens at which a glance met with a mistake of the program's
        self.glances, self.tells_all, self.glance = 0, False, None
        if (
            plan.inline_conditions
            and isinstance(found, TokenOutcomes)
            and particle.guides.clock is None
        ):
            self.glances, self.tells_all = plan.inline_conditions, plan.exhaustive
            self.glance = glance_of(particle, op, found, self.glances, self.mistaken)
        self._tried: dict[int, Running | Span] | None = None

    @property
    def tried(self) -> dict[int, Running | Span]:
        """The trials of all particles in this state, which holds the place of the draw too."""
        if self._tried is None:
            key = (self.particle.resumed or self.particle.state()).key()
            self._tried = self.particle.guides.tried(key)
        return self._tried

    def lives(self, i: int) -> bool:
        if i in self.lived:
            return True
        if i in self.died:
            return False
        place = self.glance(self.found.token(i)) if self.glance is not None else None
        if place is None and not self.tells_all:
            trial = self.of(i)
            place = trial if isinstance(trial, Span) else None
        if place is not None:
            self.died[i] = place
            return False
        self.lived.add(i)
        return True

    def of(self, i: int) -> Running | Span:
        """The particle as it is after outcome i has run to the trial's end, or where it died."""
        trial = self.tried.get(i)
        if trial is None:
            twin = self.particle.fork()
            twin.drawn(twin.frames[-1], self.op.target, self.found.take(twin, i))
            twin.try_out()
            trial = twin
            if twin.status is Status.DEAD:
                trial = twin.died or self.op.span
                twin.let_go()
            self.tried[i] = trial
        return trial

    def take(self, i: int) -> None:
        """The particle after outcome i, which lives: at the end of its trial, or, where it was only
        glanced at, behind the draw and the conditions that hold."""
        if self.tells_all:
            frame = self.particle.frames[-1]
            self.particle.drawn(frame, self.op.target, self.found.take(self.particle, i))
            if self.found.token(i) not in self.mistaken:
                frame.pc += self.glances
            return
        alive = self.of(i)
        assert not isinstance(alive, Span)
        self.particle.become(alive)


def glance_of(
    particle: Running, op: DrawOp, found: TokenOutcomes, glances: int, mistaken: set[int]
) -> Callable[[int], Span | None]:
    """Of a token: the first of so many conditions right behind the draw that fails with it, None if
    all hold. What faults is left for whoever draws the token to meet, as in a trial, and noted."""
    frame = particle.frames[-1]
    ops: Any = particle.code.functions[frame.function].ops[frame.pc + 1 : frame.pc + 1 + glances]
    vocabulary, slots, contexts, target = (
        found.vocabulary,
        frame.slots,
        particle.contexts,
        op.target,
    )
    here = [(r.index, contexts[r.index]) for r in found.refs]
    raws = [particle.engines[c.model].raw(c.node) for _, c in here]
    before, fuel = slots[target], particle.fuel

    def glance(token: int) -> Span | None:
        added, end = vocabulary.tokens[token], token in vocabulary.ends
        for (index, c), raw in zip(here, raws, strict=True):
            node = cast(Context, Glimpse(c.node.length + 1, raw + added))
            contexts[index] = ContextState(c.model, node, c.start, c.skip, c.done or end)
        slots[target] = token_of(vocabulary, token)
        particle.fuel = particle.limits.instructions
        try:
            for condition in ops:
                try:
                    if not truth(condition.test(frame)):
                        return cast(Span, condition.span)
                except Fault:
                    mistaken.add(token)
                    if not condition.early:
                        return None
            return None
        finally:
            slots[target], particle.fuel = before, fuel
            for index, c in here:
                contexts[index] = c

    return glance
