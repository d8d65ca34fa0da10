"""A particle that runs on for one particle after the other, from behind its draw to the next one.

runner = Runner(code, engines, rng, limits)
runner.take_up(rng, state, contexts, frame)     # where the next one stands
runner.past_draw(drawn, passed, log_w, charges)
run_to_draw(runner)
runner.state_after(state)                       # nothing is made anew that has not changed
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_not
from typing import cast

from fkdsl.base.random import Rng
from fkdsl.inference.interface import Charge
from fkdsl.machine.memory import NODE, Memory
from fkdsl.machine.particle import ActiveFrame, RunningParticle
from fkdsl.machine.state import (
    ContextState,
    DrawnValue,
    Frame,
    ProgramState,
    Status,
    running_state,
)
from fkdsl.values.token_distributions import CONTEXT_FREE


class Runner(RunningParticle):
    """A RunningParticle for many steps, of states without guesses."""

    def take_up(
        self, rng: Rng, x: ProgramState, contexts: list[ContextState], top: ActiveFrame
    ) -> None:
        """Stands where a state stands, its contexts and its frame on top replaced, with nothing
        drawn or weighed yet, whatever it did before."""
        below = x.frames[:-1]
        self.frames = [top] if not below else cast(list[ActiveFrame], [*below, top])
        self.contexts, self.rng, self.log_G, self.draws = contexts, rng, 0.0, 0
        self.status, self.value, self.died = Status.RUNNING, None, None
        self.twist, self.evidence, self.memory = x.twist, x.evidence, Memory(x.unmeasured)
        self.charges, self.drawn_values = [], []

    def past_draw(
        self, drawn: DrawnValue, passed: int, log_w: float, charges: Sequence[Charge]
    ) -> None:
        """Stands behind its step's first draw, of a token that its contexts and slots have already.
        passed: conditions behind the draw that need not be asked; log_w: the draw's weight, nats,
        and to what it is charged."""
        self.frames[-1].pc += 1 + passed
        self.drawn_values.append(drawn)
        self.memory.now += NODE
        self.log_G = log_w
        self.charges.extend(charges)
        self.draws, self.boundary, self.fuel = 1, True, self.limits.instructions

    def state_after(self, x: ProgramState) -> ProgramState:
        """`state`, of a particle whose step began at x: nothing is looked through that is as it was
        there."""
        below = len(x.frames) - 1
        if (
            self.status is not Status.RUNNING
            or len(self.frames) != below + 1
            or len(self.contexts) != len(x.contexts)
            or any(map(is_not, self.frames[:below], x.frames))
            or self.guesses
            or self.alternatives
        ):
            return self.state()
        top, before = self.frames[below], x.frames[below]
        if top.function != before.function:
            return self.state()
        for now, was in zip(top.slots, before.slots, strict=True):
            if now is not was and not (type(now) in CONTEXT_FREE and type(was) in CONTEXT_FREE):
                return self.state()
        frame = Frame(top.function, top.pc, tuple(top.slots), top.target)
        return running_state(
            (*x.frames[:below], frame),
            tuple(self.contexts),
            self.twist,
            self.evidence,
            tuple(self.charges),
            tuple(self.drawn_values),
            self.memory.now - self.memory.measured,
        )
