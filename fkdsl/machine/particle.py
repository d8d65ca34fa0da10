"""A particle while it runs, the mutable counterpart of a ProgramState; and the code that it runs.

    particle = RunningParticle(code, engines, rng)
    particle.resume(state)          # or particle.enter(code.entry, arguments, 0)
    interpreter.advance(particle)   # to its next draw, or to the end of its step
    particle.state()                # what it has come to, as a value

Code is ops over a frame's slots. An op is a transaction: it changes its particle only when all that
it asks for is at hand. If a row of log-probabilities is missing, the expression that asks for it
raises `NeedRows`; the particle's contexts are put back to what they were before the op, the row is
fetched, and the op runs again. Expressions are pure and draws are keyed, so an op that runs twice
gives what it gives once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fkdsl.base.deadline import PIECE, check, current
from fkdsl.base.random import Rng
from fkdsl.base.spans import NOWHERE, PRELUDE, Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Charge
from fkdsl.machine.charges import Masses, split_charge
from fkdsl.machine.contexts import ContextTable
from fkdsl.machine.memory import STEPS, Memory, measure
from fkdsl.machine.state import (
    UNSET,
    Alternatives,
    ContextState,
    DraftBlock,
    DrawnValue,
    Frame,
    Guess,
    ProgramState,
    Status,
    Twist,
)
from fkdsl.values.documents import Document
from fkdsl.values.faults import INSTRUCTIONS_PER_LOOK, LIMITS, Fault, Limits
from fkdsl.values.token_distributions import CONTEXT_FREE, contexts_in, map_contexts

HEAVIEST = 1e300
"""Nats that a line may weigh at most, so that no sum of them is beyond a float."""

# ----------------------------------------------------------------------- code


@dataclass(slots=True)
class ActiveFrame:
    """A Frame with slots that can be assigned, and its particle for expressions that need it. Only
    the frame on top of a particle is assigned to; those below wait for its value."""

    function: str
    pc: int
    slots: list[Any]
    target: int
    particle: RunningParticle
    depth: int = 0


Compute = Callable[[ActiveFrame], Any]
"""An expression: the frame's value of it. Pure but for contexts that it makes."""


@dataclass(frozen=True)
class Op:
    """One instruction; `run` does it and leaves the frame's pc at the next."""

    span: Span

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Code:
    """A function's ops. slots: names, the parameters first."""

    name: str
    parameters: int
    slots: tuple[str, ...]
    ops: tuple[Op, ...]
    span: Span


@dataclass(frozen=True)
class Executable:
    """A program ready to run. has_checkpoints: whether it chooses its own steps. log_bound: no
    potential's log is above it, in nats: 0, or inf where a line may weigh more than 1."""

    entry: str
    functions: Mapping[str, Code]
    has_checkpoints: bool
    log_bound: float = math.inf


# ------------------------------------------------------------------- particle


class RunningParticle(ContextTable):
    """One particle in one step.

    frames: outermost first; the one on top is an ActiveFrame of its own; those that wait below it
    may be another particle's too, or a state's, and are copied when they come to the top. rng: the
    stream of its step. log_G: what its lines have added, nats. boundary: whether its next draw is
    the next step's. draws: how many it has made in this step. fuel: instructions that it may still
    run before a draw. draft_block, alternatives: see ProgramState. refused: the condition that a
    predicate of tokens last found false.
    """

    log_G = 0.0
    boundary = False
    draws = 0
    status = Status.RUNNING
    value: Any = None
    died: Span | None = None
    draft_block: DraftBlock | None = None
    twist: Twist | None = None
    evidence: tuple[Document, ...] = ()
    refused = NOWHERE

    def __init__(
        self,
        code: Executable,
        engines: Mapping[str, CachedTransformer],
        rng: Rng,
        limits: Limits = LIMITS,
    ) -> None:
        self.code, self.engines, self.rng, self.limits = code, engines, rng, limits
        self.frames: list[ActiveFrame] = []
        self.contexts: list[ContextState] = []
        self.rows: dict[Hashable, Any] = {}
        self.fuel = limits.instructions
        self.deadline = current()
        self.memory = Memory()
        self.charges: list[Charge] = []
        self.drawn_values: list[DrawnValue] = []
        self.alternatives: list[Alternatives | None] = []
        self.guesses: dict[str, float] = {}

    # ------------------------------------------------------------- in and out

    def resume(self, state: ProgramState) -> None:
        """Takes up where a state stands."""
        self.frames = cast(list[ActiveFrame], list(state.frames))
        self._take_top()
        self.contexts = list(state.contexts)
        self.draft_block = state.draft_block
        self.twist = state.twist
        self.guesses = dict(state.guesses)
        self.evidence = state.evidence
        self.memory = Memory(state.unmeasured)

    def state(self) -> ProgramState:
        """What it has come to, as a value; contexts that no variable reaches are gone from it."""
        charges, drawn = tuple(self.charges), tuple(self.drawn_values)
        alternatives = tuple(self.alternatives)
        if self.status is not Status.RUNNING:
            return ProgramState(
                self.status,
                value=self.value,
                died=self.died,
                evidence=self.evidence,
                charges=charges,
                drawn=drawn,
                alternatives=alternatives,
            )
        reached = dict.fromkeys(
            [
                i
                for f in self.frames
                for v in f.slots
                if type(v) not in CONTEXT_FREE
                for i in contexts_in(v)
            ]
        )
        stay = [*reached] == [*range(len(reached))]
        if stay:
            below = cast(list[Frame | ActiveFrame], self.frames)
            frames = [
                f if isinstance(f, Frame) else Frame(f.function, f.pc, tuple(f.slots), f.target)
                for f in below
            ]
        else:
            move = {old: new for new, old in enumerate(reached)}
            frames = [
                Frame(f.function, f.pc, tuple([map_contexts(v, move) for v in f.slots]), f.target)
                for f in self.frames
            ]
        return ProgramState(
            Status.RUNNING,
            tuple(frames),
            tuple([self.contexts[i] for i in reached]),
            twist=self.twist,
            guesses=(
                tuple([Guess(*held) for held in sorted(self.guesses.items())])
                if self.guesses
                else ()
            ),
            evidence=self.evidence,
            charges=charges,
            drawn=drawn,
            alternatives=alternatives,
            draft_block=self.draft_block,
            unmeasured=self.memory.now - self.memory.measured,
        )

    def fork(self) -> RunningParticle:
        """A copy that goes its own way; what it weighs, draws and makes counts from zero."""
        copy = RunningParticle.__new__(RunningParticle)
        copy.__dict__.update(self.__dict__)
        copy._share_frames(self)
        copy.log_G, copy.draws, copy.rows, copy.draft_block = 0.0, 0, {}, None
        copy.charges, copy.drawn_values, copy.alternatives = [], [], []
        copy.guesses, copy.memory = self.guesses.copy(), Memory()
        return copy

    def adopt(self, fork: RunningParticle) -> None:
        """Goes on where a fork stands; what the fork has weighed and drawn is added. It may be the
        fork of another particle in the same state."""
        self._share_frames(fork)
        self.contexts = fork.contexts
        self.log_G += fork.log_G
        self.charges.extend(fork.charges)
        self.drawn_values.extend(fork.drawn_values)
        self.draws += fork.draws
        self.memory.now += fork.memory.now
        # What the fork has made is in variables by now, and is measured with them.
        self.memory.op += fork.memory.now
        self.boundary, self.fuel = fork.boundary, fork.fuel
        self.twist, self.guesses = fork.twist, dict(fork.guesses)
        self.evidence = fork.evidence
        self.status, self.value, self.died = fork.status, fork.value, fork.died

    def _share_frames(self, other: RunningParticle) -> None:
        """The frames of another particle, and its top one as an own one."""
        self.frames = other.frames.copy()
        for frame in self.frames[:-1]:
            if type(frame) is ActiveFrame:
                frame.particle = None  # type: ignore[assignment]  # it waits for both
        self._take_top()

    def _take_top(self) -> None:
        """Makes the frame on top one of its own."""
        if not self.frames:
            return
        top: Any = self.frames[-1]
        if type(top) is Frame or top.particle is not self:
            self.frames[-1] = ActiveFrame(top.function, top.pc, list(top.slots), top.target, self)

    def rest(self) -> None:
        """Its frames no longer refer to it, so that it is gone once nobody does. Whoever goes on
        from where it stands adopts it."""
        for frame in self.frames:
            if type(frame) is ActiveFrame:
                frame.particle = None  # type: ignore[assignment]

    def release(self) -> None:
        """The end of its use. Its frames refer to it: without them all that it holds is gone at
        once, contexts above all, and not when Python next looks for cycles, which is seldom."""
        self.frames = []

    # ------------------------------------------------------ frames and bounds

    @property
    def op(self) -> Op:
        """The op that it stands at."""
        frame = self.frames[-1]
        return self.code.functions[frame.function].ops[frame.pc]

    def enter(self, function: str, args: list[Any], target: int) -> None:
        """Calls a function: a new frame on top."""
        if len(self.frames) >= self.limits.depth:
            raise Fault(
                "FK409",
                f"calls nested more than {self.limits.depth} deep",
                "give the recursion an end",
            )
        code = self.code.functions[function]
        slots = args + [UNSET] * (len(code.slots) - code.parameters)
        self.frames.append(ActiveFrame(function, 0, slots, target, self))

    def leave(self, value: Any) -> None:
        """Returns from the frame on top."""
        done = self.frames.pop()
        if self.frames:
            self._take_top()
            self.frames[-1].slots[done.target] = value
            return
        if self.twist is not None:
            self.weigh(-self.twist.log_weight, self.twist.place)
        for owner in sorted(self.guesses):
            self.guess(owner, 0.0)
        self.status, self.value = Status.RETURNED, value

    def burn(self, n: int, span: Span = NOWHERE) -> None:
        """Counts n instructions against the bound. Raises DeadlinePassed if the run is to end."""
        self.fuel -= n
        if not self.fuel % INSTRUCTIONS_PER_LOOK:
            self.deadline.check()
        if self.fuel < 0:
            raise Fault(
                "FK405",
                f"no draw in {self.limits.instructions:,} instructions: "
                "this loop does not seem to end",
                "make sure that something in the loop changes its test, or draw with `~` in it",
                None if span is NOWHERE else span,
                "still running here",
            )

    def charge(self, bytes: int) -> None:
        """Charges bytes. Raises Fault (FK415) if the particle holds more than its bound."""
        if bytes > PIECE:  # so much takes time, and the interpreter looks only now and then
            check()
        memory = self.memory
        memory.now += bytes
        if (memory.now - memory.measured) * STEPS > self.limits.memory:
            variables = [
                variable
                for frame in (*self.frames, *memory.frames)
                for variable in zip(
                    self.code.functions[frame.function].slots, frame.slots, strict=True
                )
            ]
            measure(memory, variables, [c.node for c in self.contexts], self.limits.memory)

    def run_own_python(self) -> None:
        """Is told that some Python of the program's is about to run, which may do anything."""

    # -------------------------------------------------------- drawing, weighing

    def weigh(self, log_potential: float, span: Span, masses: Masses | None = None) -> None:
        """log G += log_potential; at -inf the particle dies here. masses: as in `split_charge`."""
        if math.isnan(log_potential) or log_potential > HEAVIEST:
            most = f"a factor, or the log density of what is observed, is at most {HEAVIEST:g} nats"
            raise Fault("FK410", f"a weight of {log_potential} nats", most)
        if log_potential != 0.0:
            self.log_G += log_potential
            self.charges.extend(split_charge(log_potential, span, masses))
        if log_potential == -math.inf:
            self.status, self.died = Status.DEAD, span

    def guess(self, owner: str, log_weight: float) -> None:
        """Weighs by an owner's guess of what is to come (finite, nats) and takes the owner's last
        one back. All are taken back when the program returns, so the measure is that without."""
        before = self.guesses.pop(owner, 0.0)
        if log_weight != 0.0:
            self.guesses[owner] = log_weight
        self.weigh(log_weight - before, self.code.functions[self.code.entry].span)

    def stream(self, site: int) -> Rng:
        """The stream of the next draw, keyed by site and count, so that the draw is the same
        whenever it is made."""
        if self.draws >= self.limits.draws:
            raise Fault(
                "FK405",
                f"{self.limits.draws:,} draws without a checkpoint",
                "put one inside the loop",
            )
        return self.rng.split(site, self.draws)

    def assign_drawn(
        self, frame: ActiveFrame, target: int, value: Any, line: Span | None = None
    ) -> None:
        """target := what was drawn: the draw is done. line: the `drawing_line`, if it is known."""
        self.drawn_values.append(DrawnValue(line or self.drawing_line(), value))
        if isinstance(value, Document) and value not in self.evidence:
            self.evidence = (*self.evidence, value)
        frame.slots[target] = value
        frame.pc += 1
        self.draws += 1
        self.fuel = self.limits.instructions
        self.boundary = not self.code.has_checkpoints

    def drawing_line(self) -> Span:
        """The line that is drawing; of a draw within `text` or `word`, the line that calls them."""
        here = self.op.span
        if not here.source.is_prelude:
            return here
        for below, frame in enumerate(reversed(self.frames)):
            # A frame that waits for a call stands behind it already.
            here = self.code.functions[frame.function].ops[frame.pc - (below > 0)].span
            if not here.source.is_prelude:
                break
        return here

    def users_place(self, span: Span) -> Span:
        """Where the user's own text calls what stands at a span: a line of the prelude is no line
        of theirs."""
        for frame in reversed(self.frames[:-1]):
            if span.source.name != PRELUDE:
                break
            # The op before the pc, which has passed the call.
            span = self.code.functions[frame.function].ops[frame.pc - 1].span
        return span
