"""Particles in lock step: a step of all those that draw a token in which nothing is tried, in
columns over the population.

Most steps of most programs are alike: each particle draws a token from its context by one of a few
masks, and runs on through a condition or two to its next draw. ParticleStep makes such a step with
some 300 Python calls. Here what particles have in common is found once (`DrawKind`, for each draw,
values that its conditions read, and position of the text so far in their automaton), what arrays
can do is done by arrays over the population, and one `Runner` runs on for one member after the
other, in whose state nothing is made anew that has not changed.

    member = lockstep.member(i, rng, state)         # None: it goes alone, by a ParticleStep
    ...                                             # its row is asked for with all others
    ends = lockstep.step(members, rows)

A member's state, weight and charges are those that its ParticleStep comes to, to the last bit: the
streams are keyed, so a step may be made either way, or begun here and made again there. So a member
goes alone after all of which nothing is left to draw, whose row has no sums, or whose way to its
next draw asks a model or fails.

In a run that records or blames, drafts, forgets masses, guesses or chooses its own steps, everybody
goes alone; so do draws that look ahead, from other distributions than one context, and of texts
that a constraint guides to their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fkdsl.base.deadline import check
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng, StepRng, first_uniforms
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.machine.interpreter import run_to_draw
from fkdsl.machine.memory import NODE, STEPS
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import ActiveFrame, Executable, RunningParticle
from fkdsl.machine.runner import Runner
from fkdsl.machine.state import ContextState, DrawnValue, Frame, ProgramState
from fkdsl.proposals.lookahead import LookaheadCache
from fkdsl.proposals.open_draw import OpenDraw, Request
from fkdsl.proposals.outcomes import token_of
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.token_draws import DrawKind, DrawnFrom, KindsOfDraw, Weight, choose_tokens
from fkdsl.steering.particle_step import ParticleStep
from fkdsl.values.faults import Fault, Limits, NeedRows
from fkdsl.values.values import ContextRef, Token

EACH = 32
"""Particles between two looks at the deadline."""
Moved = tuple[ProgramState, float]
"""A state, and log G on the way there."""
End = Moved | Runner | None
"""What becomes of a member: the end of its step; a particle on its way there, which asks a model;
None where it is to go alone from the beginning."""


class Member:
    """A particle that goes in lock step: number `index` of the population, at a state, about to
    make one of the draws `draw`, of `kind`, from the context `ref`."""

    __slots__ = ("context", "draw", "index", "kind", "ref", "rng", "state")

    def __init__(
        self,
        index: int,
        rng: StepRng,
        state: ProgramState,
        draw: KindsOfDraw,
        ref: ContextRef,
        context: ContextState,
        kind: DrawKind,
    ) -> None:
        self.index, self.rng, self.state, self.draw = index, rng, state, draw
        self.ref, self.context, self.kind = ref, context, kind


class ModelOfDraws:
    """What draws from contexts of a model need of it. tokens: as programs see them, of those that
    have been drawn."""

    __slots__ = ("_vocabulary", "child", "ends", "longest", "tokens")

    def __init__(self, engine: CachedTransformer) -> None:
        self._vocabulary, self.child = engine.model.vocabulary, engine.tree.child
        self.ends, self.longest = self._vocabulary.ends, engine.model.max_length
        self.tokens: dict[int, Token] = {}

    def token(self, i: int) -> Token:
        token = self.tokens.get(i)
        if token is None:
            token = self.tokens[i] = token_of(self._vocabulary, i)
        return token


class Lockstep:
    """A program's particles in lock step, over language models."""

    def __init__(
        self,
        code: Executable,
        engines: Mapping[str, CachedTransformer],
        limits: Limits,
        settings: ProposalSettings,
    ) -> None:
        self.code, self.engines, self.limits, self.settings = code, engines, limits, settings
        self._cache = LookaheadCache()
        self._draws: dict[tuple[str, int], KindsOfDraw] = {}
        self._models: dict[str, ModelOfDraws] = {}
        self.is_on = (
            settings.drafting is None
            and not settings.local
            and not settings.blames
            and not code.has_checkpoints
            and limits.instructions > 0
            and limits.draws > 0
        )

    # ---------------------------------------------------------------- members

    def member(self, index: int, rng: Rng, x: ProgramState) -> Member | None:
        """The particle as one that goes in lock step; None for one that goes alone."""
        if type(rng) is not StepRng or x.guesses:
            return None
        frame = x.frames[-1]
        draw = self._draws.get((frame.function, frame.pc)) or self._draw_at(frame)
        if draw.source is None or type(ref := frame.slots[draw.source]) is not ContextRef:
            return None
        c = x.contexts[ref.index]
        if c.done or c.pending is not None or c.guess is not None:
            return None
        model = self._models.get(c.model)
        if model is None:
            model = self._models[c.model] = ModelOfDraws(self.engines[c.model])
        if model.longest is not None and c.node.length >= model.longest:
            return None
        if (x.unmeasured + NODE) * STEPS > self.limits.memory:  # it is measured on its way
            return None
        kind = draw.known(frame.slots, c)
        if kind == "unknown":
            self._learn(draw, rng, x, ref)
            kind = draw.known(frame.slots, c)
        return Member(index, rng, x, draw, ref, c, kind) if isinstance(kind, DrawKind) else None

    def _draw_at(self, frame: Frame) -> KindsOfDraw:
        op = self.code.functions[frame.function].ops[frame.pc]
        assert isinstance(op, DrawOp)
        draw = KindsOfDraw(op, self.settings.lookahead is not None)
        self._draws[frame.function, frame.pc] = draw
        return draw

    def _learn(self, draw: KindsOfDraw, rng: Rng, x: ProgramState, ref: ContextRef) -> None:
        """Has the draw that a particle stands at opened, for its kind; what fails is left for the
        one that goes alone to say."""
        particle = RunningParticle(self.code, self.engines, rng, self.limits)
        particle.resume(x)
        try:
            opened = OpenDraw(particle, draw.op, ref, self.settings, self._cache)
            draw.learn(x.frames[-1].slots, opened)
        except (Fault, MemoryError):
            pass
        finally:
            particle.release()

    # ------------------------------------------------------------------- step

    def step(
        self, members: Sequence[Member], rows: Mapping[str, Mapping[Context, Floats]]
    ) -> list[End]:
        """Where each member comes to. rows: (V,) of their contexts, by model."""
        contexts = [member.context for member in members]
        drawn_from = DrawnFrom(
            [member.kind for member in members], contexts, [rows[c.model][c.node] for c in contexts]
        )
        chosen = choose_tokens(drawn_from, self.engines, self._uniforms(members))
        runner = Runner(self.code, self.engines, members[0].rng, self.limits)
        ends: list[End] = []
        try:
            for n, (member, choice) in enumerate(zip(members, chosen, strict=True)):
                if not n % EACH:
                    check()
                end = None if choice is None else self._move(runner, member, *choice)
                ends.append(end)
                if end is runner:
                    runner = Runner(self.code, self.engines, member.rng, self.limits)
        except BaseException:
            for begun in ends:
                if isinstance(begun, Runner):
                    begun.release()
            raise
        finally:
            runner.release()
        return ends

    def _uniforms(self, members: Sequence[Member]) -> Floats:
        """(n,) the first number of the stream of each member's draw."""
        sites: dict[int, list[int]] = {}
        for n, member in enumerate(members):
            sites.setdefault(member.draw.op.site, []).append(n)
        uniforms = np.empty(len(members))
        for site, ns in sites.items():
            uniforms[ns] = first_uniforms([members[n].rng for n in ns], site, 0)
        return uniforms

    def _move(self, runner: Runner, member: Member, i: int, weight: Weight) -> End:
        """Where a member comes to with token i. runner: which runs on in its place."""
        x, draw, c = member.state, member.draw, member.context
        model, op, frame = self._models[c.model], draw.op, x.frames[-1]
        slots, contexts = list(frame.slots), list(x.contexts)
        slots[op.target] = token = model.token(i)
        after = ContextState(c.model, model.child(c.node, i), c.start, c.skip, i in model.ends)
        contexts[member.ref.index] = after
        top = ActiveFrame(frame.function, frame.pc, slots, frame.target, runner)
        runner.take_up(member.rng, x, contexts, top)
        line = op.span if draw.of_program else runner.drawing_line()
        runner.past_draw(DrawnValue(line, token), member.kind.passed, *weight)
        try:
            run_to_draw(runner)
        except NeedRows:
            return runner
        except Fault:  # the particle that goes alone says what is wrong
            return None
        return runner.state_after(x), runner.log_G


def in_order(
    members: Sequence[Member], waiting: Sequence[tuple[int, ParticleStep, Request]]
) -> list[tuple[str, Context]]:
    """The (model, context) pairs whose rows are wanted, in the order of the population. waiting:
    the particles that go alone, by their numbers."""
    if not waiting:
        return [(member.context.model, member.context.node) for member in members]
    if not members:
        return []
    wanted = {m.index: [(m.context.model, m.context.node)] for m in members}
    wanted |= {i: [*request.rows, *request.forced] for i, _, request in waiting}
    return [pair for i in sorted(wanted) for pair in wanted[i]]
