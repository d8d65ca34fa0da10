"""A particle while it runs: the mutable counterpart of a ProgramState, for the length of one step.

It runs op by op until it reaches the end of its step, returns, dies, or needs rows of
log-probabilities that the engine has not been asked for yet (`NeedRows`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from fkdsl.base.deadline import current
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng
from fkdsl.base.spans import NOWHERE, PRELUDE, Span
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.inference.interface import Charge
from fkdsl.machine.memory import NODE, Memory, charge, no_memory
from fkdsl.machine.ops import DrawOp, Executable
from fkdsl.machine.state import UNSET, Block, ContextState, Draw, Frame, ProgramState, Status
from fkdsl.models.vocabulary import Vocabulary, decoded_text
from fkdsl.proposals.propose import Guides, Narrowed
from fkdsl.proposals.refusals import shared
from fkdsl.proposals.speculative import Owed, Tally
from fkdsl.values.faults import INSTRUCTIONS_PER_LOOK, LIMITS, Fault, Limits, NeedRows
from fkdsl.values.marks import Mark, mark_id
from fkdsl.values.token_distributions import (
    CONTEXT_FREE,
    TokenDistribution,
    combine,
    contexts_in,
    following,
    leaves,
    map_contexts,
    nothing,
)
from fkdsl.values.values import ContextRef, Token, show

HEAVIEST = 1e300
"""Nats that a line may weigh at most, so that no sum of them is beyond a float."""


@dataclass(slots=True)
class ActiveFrame:
    """A Frame with slots that can be assigned, and its particle for expressions that need it."""

    function: str
    pc: int
    slots: list[Any]
    target: int
    particle: Running
    depth: int = 0


class Running:
    """One particle in one step. `log_G` is what its condition, factor and observe lines have added,
    in nats."""

    def __init__(
        self,
        code: Executable,
        engines: Mapping[str, CachedTransformer],
        rng: Rng,
        limits: Limits = LIMITS,
        guides: Guides | None = None,
    ) -> None:
        self.code, self.engines, self.rng, self.limits = code, engines, rng, limits
        self.guides = guides if guides is not None else Guides()
        self.frames: list[ActiveFrame] = []
        self.contexts: list[ContextState] = []
        self.rows: dict[Hashable, Any] = {}
        self.narrowed: Narrowed | None = None
        self.log_G = 0.0
        self.boundary = False
        self.draws = 0
        self.fuel = limits.instructions
        self.deadline = current()
        self.memory = Memory()
        self.status = Status.RUNNING
        self.value: Any = None
        self.died: Span | None = None
        self.charges: list[Charge] = []
        self.ahead = False  # a twin that runs ahead of its particle (ahead.py)
        self.block: Block | None = None
        self.tally: Tally | None = (
            None  # of the tokens that it has drawn from drafted models in this step
        )
        self.resumed: ProgramState | None = None  # the state that it still is in
        self.owed: list[Owed] = []
        self.refused = NOWHERE  # the condition that a predicate of tokens last found false, where a run asks for blame
        self.drew: list[Draw] = []

    # ------------------------------------------------------------- in and out

    def resume(self, state: ProgramState) -> None:
        """Takes up where a state stands."""
        self.frames = [
            ActiveFrame(f.function, f.pc, list(f.slots), f.target, self) for f in state.frames
        ]
        self.contexts = list(state.contexts)
        self.block = state.block
        self.memory = Memory(state.unmeasured)
        self.resumed = state

    def state(self) -> ProgramState:
        """What it has come to, as a value; contexts that no variable reaches are gone from it."""
        if self.status is not Status.RUNNING:
            return ProgramState(
                self.status,
                value=self.value,
                died=self.died,
                charges=tuple(self.charges),
                drawn=tuple(self.drew),
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
        move = {old: new for new, old in enumerate(reached)}
        stay = all(old == new for old, new in move.items())
        frames = tuple(
            [
                Frame(
                    f.function,
                    f.pc,
                    tuple(f.slots if stay else [map_contexts(v, move) for v in f.slots]),
                    f.target,
                )
                for f in self.frames
            ]
        )
        contexts = tuple([self.contexts[i] for i in reached])
        return ProgramState(
            Status.RUNNING, frames, contexts, charges=tuple(self.charges), drawn=tuple(self.drew), block=self.block,
            unmeasured=self.memory.now - self.memory.measured,
        )  # fmt: skip

    def let_go(self) -> None:
        """The end of its use. Its frames hold it: with that, what it holds is gone at once,
        contexts above all, and not when Python next looks for cycles, which it then does seldom."""
        self.frames = []

    # ---------------------------------------------------------------- running

    def go(self) -> None:
        """Runs to the end of the step. Raises NeedRows, with the particle at the beginning of the
        op that needs them, and Fault with the op's place."""
        memory = self.memory
        while self.status is Status.RUNNING:
            frame = self.frames[-1]
            op = self.code.functions[frame.function].ops[frame.pc]
            if self.boundary and isinstance(op, DrawOp):
                break
            self.burn(1, op.span)
            memory.op = memory.now
            before = list(self.contexts)
            try:
                op.run(self, frame)
            except NeedRows as need:
                self.contexts = before
                if any(isinstance(key, Context) for _, key in need.wanted):
                    need.wanted.extend((o.model, o.node) for o in self.owed)
                raise
            except (Fault, MemoryError) as error:
                fault = error if isinstance(error, Fault) else no_memory()
                fault.span = fault.span or op.span
                raise fault from None
            self.resumed = self.narrowed = None
            if self.rows:
                self.pay()
                self.rows = {}
        if self.owed:
            self.settle_up()

    def users_place(self, span: Span) -> Span:
        """Where the user's own text calls what stands at a span: a line of the prelude is no line
        of theirs."""
        for frame in reversed(self.frames[:-1]):
            if span.source.name != PRELUDE:
                break
            span = (
                self.code.functions[frame.function].ops[frame.pc - 1].span
            )  # the call, which pc has passed
        return span

    def settle_up(self) -> None:
        """The end of a block whose tokens are still to be weighed."""
        wanted = [(o.model, o.node) for o in self.owed]
        if self.status is Status.RUNNING:
            # The block's last context begins the next one: its row comes with those that the block
            # is verified by.
            last = self.owed[-1]
            wanted.append((last.model, self.engines[last.model].extend(last.node, (last.token,))))
        if self.status is not Status.DEAD:
            self.need(wanted)
        self.pay()
        self.rows = {}

    def pay(self) -> None:
        """Weighs p / q of the owed tokens whose rows are at hand."""
        left = []
        for owed in self.owed:
            row = self.rows.get(owed.node)
            if row is None:
                left.append(owed)
            elif self.status is not Status.DEAD:
                self.weigh(float(row[owed.token]) - owed.log_q, owed.place)
        self.owed = left if self.status is not Status.DEAD else []

    def try_out(self) -> None:
        """Runs on after an outcome has been taken: to the next draw, to a question for a model, to
        the end, or to a mistake, which is left for whoever draws this outcome to meet."""
        with contextlib.suppress(NeedRows, Fault):
            while self.status is Status.RUNNING:
                frame = self.frames[-1]
                op = self.code.functions[frame.function].ops[frame.pc]
                if isinstance(op, DrawOp):
                    return
                self.burn(1, op.span)
                self.memory.op = self.memory.now
                before = list(self.contexts)
                try:
                    op.run(self, frame)
                except (NeedRows, Fault):
                    self.contexts = before
                    raise

    def burn(self, n: int, span: Span = NOWHERE) -> None:
        """Counts n instructions against the bound. Raises DeadlinePassed if the run is to end."""
        self.fuel -= n
        if not self.fuel % INSTRUCTIONS_PER_LOOK:
            self.deadline.check()
        if self.fuel < 0:
            raise Fault(
                "FK405",
                f"no draw in {self.limits.instructions:,} instructions: this loop does not seem to end",
                "make sure that something in the loop changes its test, or draw with `~` in it",
                None if span is NOWHERE else span,
                "still running here",
            )

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
            self.frames[-1].slots[done.target] = value
        else:
            self.status, self.value = Status.RETURNED, value

    def weigh(
        self, log_potential: float, span: Span, shares: Mapping[Span, float] | None = None
    ) -> None:
        """log G += log_potential; at -inf the particle dies here. shares: as in `shared`."""
        if math.isnan(log_potential) or log_potential > HEAVIEST:
            most = f"a factor, or the log density of what is observed, is at most {HEAVIEST:g} nats"
            raise Fault("FK410", f"a weight of {log_potential} nats", most)
        if log_potential != 0.0:
            self.log_G += log_potential
            self.charges.extend(shared(log_potential, span, shares))
        if log_potential == -math.inf:
            self.status, self.died = Status.DEAD, span

    # --------------------------------------------------------------- contexts

    def vocabulary(self, ref: ContextRef) -> Vocabulary:
        return self.engines[self.contexts[ref.index].model].model.vocabulary

    def add_context(self, context: ContextState) -> ContextRef:
        self.memory.now += NODE
        self.contexts.append(context)
        return ContextRef(len(self.contexts) - 1)

    def start(self, model: str, ids: tuple[int, ...]) -> ContextRef:
        """A new context after a prompt of the given tokens."""
        engine = self.engines[model]
        charge(self, NODE * len(ids))
        node = engine.extend(engine.root, ids)
        return self.add_context(ContextState(model, node, len(ids), len(engine.raw(node))))

    def append_text(self, ref: ContextRef, value: Any) -> None:
        """`lm += value`: fixed text, no weight. A finished context goes on after it."""
        ids = self.ids_of(ref, value)
        self.extend(ref, ids)
        if ids and not (isinstance(value, Token) and value.end):
            self.contexts[ref.index] = self.contexts[ref.index]._replace(done=False)

    def extend(self, ref: ContextRef, ids: tuple[int, ...]) -> None:
        c = self.contexts[ref.index]
        ends = self.vocabulary(ref).ends
        charge(self, NODE * len(ids))
        node = self.engines[c.model].extend(c.node, ids)
        done = c.done or not ends.isdisjoint(ids)
        pending = None if ids else c.pending
        self.contexts[ref.index] = ContextState(c.model, node, c.start, c.skip, done, pending)

    def ids_of(self, ref: ContextRef, value: Any) -> tuple[int, ...]:
        """The tokens that a text, a token or a mark is in a context's vocabulary; a token of that
        vocabulary is itself."""
        vocabulary = self.vocabulary(ref)
        if isinstance(value, Token):
            if value.end:
                return (min(vocabulary.ends),) if vocabulary.ends else ()
            if 0 <= value.id < vocabulary.size and vocabulary.text((value.id,)) == value.text:
                return (value.id,)
            value = value.text
        if isinstance(value, Mark):
            return (mark_id(vocabulary, value.name),)
        if not isinstance(value, str):
            raise Fault("FK408", f"expected text, found {show(value)!r}", "write str(x)")
        return self.engines[self.contexts[ref.index].model].model.encode(value)

    # ------------------------------------------------------------------- rows

    def path(self, c: ContextState, ids: tuple[int, ...]) -> list[Floats]:
        """Rows (V,) after the context and after each of `ids` but the last: len(ids) of them. A
        finished context gives every token probability 0."""
        engine = self.engines[c.model]
        if c.done:
            return [nothing(engine.model.vocabulary)] * len(ids)
        nodes = [engine.extend(c.node, ids[:k]) for k in range(len(ids))]
        self.need([(c.model, node) for node in nodes])
        rows = [self.rows[node] for node in nodes]
        if rows:
            rows[0] = following(rows[0], c.pending, engine.model.vocabulary)
        return rows

    def need(self, wanted: list[tuple[str, Context]]) -> None:
        """Makes sure of the rows: of all that are missing at once, raises NeedRows for them."""
        missing: list[tuple[str, Context]] = [
            (model, node) for model, node in wanted if node not in self.rows
        ]
        if missing:
            raise NeedRows(missing)

    def question(self) -> tuple[str, Context] | None:
        """The row that the draw it stands at is sure to ask for first, and alone; None where that
        takes running."""
        frame = self.frames[-1]
        op = self.code.functions[frame.function].ops[frame.pc]
        if (
            not isinstance(op, DrawOp)
            or op.source is None
            or (op.plan is not None and op.plan.completion is not None)
        ):
            return None
        d = frame.slots[op.source]
        if self.boundary or not isinstance(d, ContextRef) or self.guides.drafting is not None:
            return None
        c = self.contexts[d.index]
        return None if c.done or c.pending is not None else (c.model, c.node)

    def next_rows(self, d: TokenDistribution) -> tuple[tuple[ContextRef, ...], Floats]:
        """The contexts of an expression and its row (V,)."""
        if (
            isinstance(d, ContextRef)
            and not (c := self.contexts[d.index]).done
            and c.pending is None
        ):
            self.need([(c.model, c.node)])
            return (d,), self.rows[c.node]
        refs = leaves(d)
        states = [self.contexts[r.index] for r in refs]
        for r, c in zip(refs, states, strict=True):
            if self.vocabulary(r).fingerprint != self.vocabulary(refs[0]).fingerprint:
                names = [self.engines[s.model].model.name for s in (states[0], c)]
                raise Fault(
                    "FK404",
                    f"contexts of different vocabularies cannot be combined: {names[0]} and {names[1]}",
                    "draw from one and `observe` the token on the other, or take both as models of bytes: `bytes(...)`",
                )
        self.need([(c.model, c.node) for c in states if not c.done])
        return refs, combine(
            d, {r: self.path(c, (0,))[0] for r, c in zip(refs, states, strict=True)}
        )

    def text(self, c: ContextState) -> str:
        """The text after the prompt; of a finished context, an unfinished last character is
        U+FFFD."""
        return decoded_text(self.engines[c.model].raw(c.node)[c.skip :], final=c.done)

    # -------------------------------------------------------- drawing, weighing

    def stream(self, site: int) -> Rng:
        """The stream of the next draw, keyed by site and count, so that an op which runs again
        draws the same."""
        if self.draws >= self.limits.draws:
            raise Fault(
                "FK405",
                f"{self.limits.draws:,} draws without a checkpoint",
                "put one inside the loop",
            )
        return self.rng.split(site, self.draws)

    def drawn(self, frame: ActiveFrame, target: int, value: Any) -> None:
        """target := what was drawn: the draw is done."""
        self.drew.append(Draw(self.drawing_line(), value))
        frame.slots[target] = value
        frame.pc += 1
        self.draws += 1
        self.fuel = self.limits.instructions
        self.boundary = not self.code.has_checkpoints

    def drawing_line(self) -> Span:
        """The line that is drawing; of a draw within `text` or `word`, the line that calls them."""
        here = NOWHERE
        for below, frame in enumerate(reversed(self.frames)):
            # A frame that waits for a call stands behind it already.
            here = self.code.functions[frame.function].ops[frame.pc - (below > 0)].span
            if not here.source.name.startswith("<prelude"):
                break
        return here

    def fork(self) -> Running:
        """A copy that goes its own way, to try what an outcome leads to; all that it weighs, draws
        and makes is new."""
        twin = Running(self.code, self.engines, self.rng, self.limits, self.guides)
        twin.become(self)
        twin.log_G, twin.draws, twin.charges, twin.drew, twin.memory = 0.0, 0, [], [], Memory()
        return twin

    def become(self, trial: Running) -> None:
        """Goes on where a trial stands; what the trial has weighed and drawn is added. The trial
        may be that of another particle in the same state."""
        self.frames = [
            ActiveFrame(f.function, f.pc, list(f.slots), f.target, self, f.depth)
            for f in trial.frames
        ]
        self.contexts = list(trial.contexts)
        self.log_G += trial.log_G
        self.charges.extend(trial.charges)
        self.drew.extend(trial.drew)
        self.draws += trial.draws
        self.memory.now += trial.memory.now
        self.memory.op += (
            trial.memory.now
        )  # what the trial has made is in the variables, which are measured
        self.boundary, self.fuel = trial.boundary, trial.fuel
        self.status, self.value, self.died = trial.status, trial.value, trial.died
