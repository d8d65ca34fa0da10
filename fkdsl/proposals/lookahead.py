"""One-step look-ahead: whether the particle lives through what stands between an outcome of its
draw and its next draw.

A *fork* is a copy of the particle that takes the outcome and runs on: to the next draw, to a
question to a model, or to its death. One that lives is what the particle becomes, so nothing is run
twice.

A *check in place* needs no fork. Conditions that stand right behind the draw, and look at nothing
but values and the text of contexts, are asked of the particle itself as if it had taken the token;
then it is put back. Where one fails, the outcome dies, as its fork would. Where nothing else on the
way to the next draw can weigh (ir.passes.fuse), the check is exhaustive, and nothing is forked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, cast

from fkdsl.base.spans import Span
from fkdsl.base.value_keys import state_key
from fkdsl.engine.cached_transformer import Context
from fkdsl.machine.interpreter import run_to_next_draw
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import Compute, RunningParticle
from fkdsl.machine.proposal_plan import ProposalPlan
from fkdsl.machine.state import ContextState, Status
from fkdsl.proposals.outcomes import Outcomes, TokenOutcomes, token_of
from fkdsl.values.faults import Fault
from fkdsl.values.operators import truth

Forks = dict[int, RunningParticle | Span]
"""By outcome: the fork that took it, or where it died."""


class StateAtDraw:
    """The state of a particle that stands at a draw. Its key is computed when it is first compared
    with another's: most particles are the only ones at their contexts."""

    __slots__ = ("_below", "_key", "_others", "_slots", "_top")

    def __init__(self, particle: RunningParticle) -> None:
        *self._below, top = particle.frames  # frames that wait do not change
        self._top, self._slots = (top.function, top.pc, top.target), tuple(top.slots)
        guesses = tuple(sorted(particle.guesses.items())) if particle.guesses else ()
        self._others = (particle.twist, guesses, particle.evidence)
        self._key: Hashable = None

    def key(self) -> Hashable:
        """Equal for equal states at the same contexts."""
        if self._key is None:
            twist, *others = self._others
            self._key = (
                *[(f.function, f.pc, f.target, state_key(tuple(f.slots))) for f in self._below],
                (*self._top, state_key(self._slots)),
                twist.log_weight if twist is not None else 0.0,
                *others,
            )
        return self._key


class StatesAtContexts:
    """The states at the same contexts, each with its forks. A state gets its key when another one
    is looked for."""

    __slots__ = ("_by_key", "_without_key")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Forks] = {}
        self._without_key: list[tuple[StateAtDraw, Forks]] = []

    def add(self, state: StateAtDraw, forks: Forks) -> None:
        self._without_key.append((state, forks))

    def find(self, state: StateAtDraw) -> Forks | None:
        """The forks of an equal state, None if there is none."""
        self._by_key.update((other.key(), forks) for other, forks in self._without_key)
        self._without_key.clear()
        return self._by_key.get(state.key())


class LookaheadCache:
    """Forks of the last steps, by the state that they are of: particles in equal states share
    them."""

    def __init__(self) -> None:
        self._steps: deque[dict[Hashable, StatesAtContexts]] = deque([{}])

    def of(self, particle: RunningParticle) -> Forks:
        """The forks of a particle that stands at a draw, to be added to."""
        contexts, state = tuple(particle.contexts), StateAtDraw(particle)
        for step in self._steps:
            states = step.get(contexts)
            if states is not None and (forks := states.find(state)) is not None:
                return forks
        made: Forks = {}
        self._steps[-1].setdefault(contexts, StatesAtContexts()).add(state, made)
        return made

    def new_step(self, kept: int = 1) -> None:
        """Begins a step; keeps the forks of so many steps, this one among them."""
        self._steps.append({})
        while len(self._steps) > kept:
            self._steps.popleft()


class Lookahead:
    """Whether each outcome of a draw lives; each is looked at once for this draw, and run at most
    once for all particles in the same state. died: where those died that were asked about."""

    def __init__(
        self,
        particle: RunningParticle,
        op: DrawOp,
        outcomes: Outcomes,
        plan: ProposalPlan[Compute],
        cache: LookaheadCache,
        in_place: bool = True,
    ) -> None:
        """in_place: whether conditions may be checked in place; their time is then nobody's."""
        self.particle, self.op, self.outcomes, self.cache = particle, op, outcomes, cache
        self.died: dict[int, Span] = {}
        self.lived: set[int] = set()
        # Tokens at which an in-place check met with a mistake of the program's.
        self.mistaken: set[int] = set()
        self.inline, self.exhaustive = 0, False
        self.check: Callable[[int], Span | None] | None = None
        if in_place and plan.inline_conditions and isinstance(outcomes, TokenOutcomes):
            self.inline, self.exhaustive = plan.inline_conditions, plan.exhaustive
            self.check = in_place_check(particle, op, outcomes, self.inline, self.mistaken)
        self._forks: Forks | None = None
        self._line: Span | None = None  # that draws

    @property
    def forks(self) -> Forks:
        """Those of all particles in this state at this draw."""
        if self._forks is None:
            self._forks = self.cache.of(self.particle)
        return self._forks

    def is_viable(self, i: int) -> bool:
        """Whether the particle lives on with outcome i."""
        if i in self.lived:
            return True
        if i in self.died:
            return False
        place = self.check(self.outcomes.token(i)) if self.check is not None else None
        if place is None and not self.exhaustive:
            fork = self.fork_of(i)
            place = fork if isinstance(fork, Span) else None
        if place is not None:
            self.died[i] = place
            return False
        self.lived.add(i)
        return True

    def fork_of(self, i: int) -> RunningParticle | Span:
        """The particle at its next draw after outcome i, or where it died on the way."""
        result = self.forks.get(i)
        if result is None:
            fork = self.particle.fork()
            try:
                if self._line is None:
                    self._line = fork.drawing_line()
                value = self.outcomes.take(fork, i)
                fork.assign_drawn(fork.frames[-1], self.op.target, value, self._line)
                run_to_next_draw(fork)
            finally:
                fork.rest()
            result = fork.died or self.op.span if fork.status is Status.DEAD else fork
            self.forks[i] = result
        return result

    def take(self, i: int) -> None:
        """Moves the particle past outcome i, which lives: to where its fork stands, or, where it
        was checked in place, behind the draw and the conditions that hold."""
        if self.exhaustive:
            frame = self.particle.frames[-1]
            value = self.outcomes.take(self.particle, i)
            self.particle.assign_drawn(frame, self.op.target, value)
            if self.outcomes.token(i) not in self.mistaken:
                frame.pc += self.inline
            return
        fork = self.fork_of(i)
        assert not isinstance(fork, Span)
        self.particle.adopt(fork)


class ContextAfter:
    """As much of a Context as a condition may look at, of one that is in no tree."""

    __slots__ = ("length", "raw")

    def __init__(self, length: int, raw: bytes) -> None:
        self.length, self.raw = length, raw


def in_place_check(
    particle: RunningParticle, op: DrawOp, outcomes: TokenOutcomes, n: int, mistaken: set[int]
) -> Callable[[int], Span | None]:
    """Of a token: the first of the n conditions right behind the draw that fails with it, None if
    all hold. What faults is left for whoever draws the token to meet, as in a fork, and noted in
    `mistaken`."""
    frame = particle.frames[-1]
    conditions: Any = particle.code.functions[frame.function].ops[frame.pc + 1 : frame.pc + 1 + n]
    vocabulary, slots, target = outcomes.vocabulary, frame.slots, op.target
    # A table of its own, written to for the length of a question.
    contexts = particle.contexts = particle.contexts.copy()
    drawn = [(r.index, contexts[r.index]) for r in outcomes.refs]
    raws = [particle.engines[c.model].raw(c.node) for _, c in drawn]
    before, fuel = slots[target], particle.fuel

    def check(token: int) -> Span | None:
        added, end = vocabulary.tokens[token], token in vocabulary.ends
        for (index, c), raw in zip(drawn, raws, strict=True):
            node = cast(Context, ContextAfter(c.node.length + 1, raw + added))
            contexts[index] = ContextState(c.model, node, c.start, c.skip, c.done or end)
        slots[target] = token_of(vocabulary, token)
        particle.fuel = particle.limits.instructions
        try:
            for condition in conditions:
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
            for index, c in drawn:
                contexts[index] = c

    return check
