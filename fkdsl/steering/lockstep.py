"""Particles in lock step: a step of all those that draw a token in which nothing is tried, in
columns over the population.

Most steps of most programs are alike: each particle draws a token from its context by one of a few
masks, and runs on through a condition or two to its next draw. ParticleStep makes such a step with
some 300 Python calls. Here what particles have in common is found once (`DrawKind`, for each draw,
values that its conditions read, and position of the text so far in their automaton), what arrays
can do is done by arrays over the population, and the ops up to the next draw are run once for all
members that they read the same of (machine/columns.py). For those whose ops are not shared, one
`Runner` runs on for one member after the other. In neither's state is anything made anew that has
not changed.

    members = lockstep.members(going)               # the others go alone, by a ParticleStep each
    ...                                             # their rows are asked for with all others
    ends = lockstep.step(members, rows)

A member's state, weight and charges are those that its ParticleStep comes to, to the last bit: the
streams are keyed, so a step may be made either way, or begun here and made again there. So a member
goes alone after all of which nothing is left to draw, whose row has no sums, or whose way to its
next draw asks a model or fails.

In a run that records or blames, drafts, forgets masses, guesses or chooses its own steps, everybody
goes alone; so do draws that look ahead, from other distributions than one context, and of texts
that a schema or a grammar guides, or a constraint on what ends them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import cast

import numpy as np

from fkdsl.base.deadline import check
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng, StepRng, Undrawn, first_uniforms
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.machine.columns import Columns, SharedOps
from fkdsl.machine.interpreter import run_to_draw
from fkdsl.machine.memory import NODE, STEPS
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import ActiveFrame, Executable, RunningParticle
from fkdsl.machine.runner import Runner
from fkdsl.machine.state import (
    ContextState,
    DrawnValue,
    Frame,
    ProgramState,
    frame_of,
    running_state,
)
from fkdsl.proposals.draw_kinds import DrawKind, KindsOfDraw, NoKind, Weight
from fkdsl.proposals.lookahead import LookaheadCache
from fkdsl.proposals.open_draw import OpenDraw, Request
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.token_draws import Chosen, DrawnFrom, choose_tokens
from fkdsl.steering.members import Members, ModelOfDraws
from fkdsl.steering.particle_step import ParticleStep
from fkdsl.values.faults import Fault, Limits, NeedRows
from fkdsl.values.values import ContextRef

new_context = tuple.__new__
"""Makes a ContextState of its fields, in half the time."""
Moved = tuple[ProgramState, float]
"""A state, and log G on the way there."""
End = Moved | Runner | None
"""What becomes of a member: the end of its step; a particle on its way there, which asks a model;
None where it is to go alone from the beginning."""


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
        self._ops = SharedOps(code, limits)
        self.is_on = (
            settings.drafting is None
            and not settings.local
            and not settings.blames
            and not code.has_checkpoints
            and limits.instructions > 0
            and limits.draws > 0
        )

    # ---------------------------------------------------------------- members

    def members(self, going: Sequence[tuple[Rng, ProgramState]]) -> Members:
        """Those of some particles, each a stream and a state, that go in lock step."""
        alike: dict[KindsOfDraw, tuple[list[int], list[ContextRef], list[ContextState]]] = {}
        draws, models, memory = self._draws, self._models, self.limits.memory // STEPS - NODE
        for i, (rng, x) in enumerate(going):
            if type(rng) is not StepRng or x.guesses:
                continue
            frame = x.frames[-1]
            draw = draws.get((frame.function, frame.pc)) or self._draw_at(frame)
            if draw.source is None or type(ref := frame.slots[draw.source]) is not ContextRef:
                continue
            c = x.contexts[ref.index]
            if c.done or c.pending is not None or c.guess is not None:
                continue
            longest = (models.get(c.model) or self._model(c.model)).longest
            if longest is not None and c.node.length >= longest:
                continue
            if x.unmeasured > memory:  # it is measured on its way
                continue
            if (column := alike.get(draw)) is None:
                column = alike[draw] = [], [], []
            column[0].append(i)
            column[1].append(ref)
            column[2].append(c)
        members = Members()
        for draw, (index, refs, contexts) in alike.items():
            kinds = self._kinds(draw, index, going, refs, contexts)
            members.add(draw, index, refs, contexts, kinds)
        if len(alike) > 1:
            members.sort()
        members.rngs = [cast(StepRng, going[i][0]) for i in members.index]
        members.states = [going[i][1] for i in members.index]
        return members

    def _kinds(
        self,
        draw: KindsOfDraw,
        index: Sequence[int],
        going: Sequence[tuple[Rng, ProgramState]],
        refs: Sequence[ContextRef],
        contexts: Sequence[ContextState],
    ) -> list[DrawKind | NoKind]:
        """The kinds of the draws of some particles, by their numbers; what is not known is
        learned."""
        slots = [going[i][1].frames[-1].slots for i in index]
        kinds = draw.known_of(slots, contexts)
        for n, kind in enumerate(kinds):
            if kind == "unknown":
                kinds[n] = draw.known(slots[n], contexts[n])  # another one may have taught it
                if kinds[n] == "unknown":
                    self._learn(draw, *going[index[n]], refs[n])
                    kinds[n] = draw.known(slots[n], contexts[n])
        return kinds

    def _model(self, name: str) -> ModelOfDraws:
        model = self._models[name] = ModelOfDraws(self.engines[name])
        return model

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

    def step(self, members: Members, rows: Mapping[str, Mapping[Context, Floats]]) -> list[End]:
        """Where each member comes to. rows: (V,) of their contexts, by model."""
        contexts = members.contexts
        drawn_from = DrawnFrom(members.kinds, contexts, [rows[c.model][c.node] for c in contexts])
        chosen = choose_tokens(drawn_from, self.engines, self._uniforms(members))
        ends: list[End] = [None] * len(members)
        if len(chosen) > 1:
            self._move_together(members, chosen, ends)
        runner = Runner(self.code, self.engines, members.rngs[0], self.limits)
        try:
            for n, choice in enumerate(chosen):
                if choice is None or ends[n] is not None:
                    continue
                check()
                end = ends[n] = self._move(runner, members, n, *choice)
                if end is runner:
                    runner = Runner(self.code, self.engines, members.rngs[n], self.limits)
        except BaseException:
            for begun in ends:
                if isinstance(begun, Runner):
                    begun.release()
            raise
        finally:
            runner.release()
        return ends

    def _uniforms(self, members: Members) -> Floats:
        """(n,) the first number of the stream of each member's draw."""
        sites: dict[int, list[int]] = {}
        for n, draw in enumerate(members.draws):
            sites.setdefault(draw.op.site, []).append(n)
        uniforms = np.empty(len(members))
        for site, ns in sites.items():
            uniforms[ns] = first_uniforms([members.rngs[n] for n in ns], site, 0)
        return uniforms

    # --------------------------------------------------------------- together

    def _move_together(
        self, members: Members, chosen: Sequence[Chosen | None], ends: list[End]
    ) -> None:
        """Sets the ends of those that run on together."""
        groups: dict[Hashable, list[int]] = {}
        for n, (draw, kind, ref, c) in enumerate(
            zip(members.draws, members.kinds, members.refs, members.contexts, strict=True)
        ):
            if chosen[n] is not None:
                groups.setdefault((draw, kind.passed, ref.index, c.model), []).append(n)
        for ns in groups.values():
            frame = members.states[ns[0]].frames[-1]
            pc = frame.pc + 1 + members.kinds[ns[0]].passed
            if len(ns) > 1 and self._ops.leads_on(frame.function, pc):
                self._move_columns(members, chosen, ns, frame.function, pc, ends)

    def _move_columns(
        self,
        members: Members,
        chosen: Sequence[Chosen | None],
        ns: list[int],
        function: str,
        pc: int,
        ends: list[End],
    ) -> None:
        """`_move_together` of members alike in function, draw and model. pc: behind the draw and
        what it has decided."""
        draw, j, before = members.draws[ns[0]], members.refs[ns[0]].index, members.contexts
        model, target = self._models[before[ns[0]].model], members.draws[ns[0]].op.target
        choices = [cast(Chosen, chosen[n]) for n in ns]
        ids = [i for i, _ in choices]
        tokens = [model.tokens.get(i) or model.token(i) for i in ids]
        states = [members.states[n] for n in ns]
        slots = [x.frames[-1].slots for x in states]
        old = [before[n] for n in ns]
        nodes, ending = model.children([c.node for c in old], ids), model.ends
        after = [
            new_context(ContextState, (c[0], node, c[2], c[3], i in ending, None, None))
            for c, node, i in zip(old, nodes, ids, strict=True)
        ]
        columns = Columns(
            [*range(len(ns))],
            pc,
            slots,
            [x.contexts for x in states],
            after,
            j,
            {target: tokens},
            [weight[0] for _, weight in choices],
            [weight[1] for _, weight in choices],
            self.limits.instructions,
        )
        lines = self._lines(draw, states)
        for there in self._ops.run(function, columns):
            slots_then = there.slots_now()
            for n, now, log_G, charges in zip(
                there.at, slots_then, there.log_G, there.charges, strict=True
            ):
                if now is None:
                    continue
                x = states[n]
                below, top = x.frames[:-1], x.frames[-1]
                table = x.contexts
                ends[ns[n]] = (
                    running_state(
                        (*below, frame_of(function, there.pc, now, top.target)),
                        (after[n],) if len(table) == 1 else (*table[:j], after[n], *table[j + 1 :]),
                        x.twist,
                        x.evidence,
                        charges,
                        (DrawnValue(lines[n], tokens[n]),),
                        x.unmeasured + NODE,
                    ),
                    log_G,
                )

    def _lines(self, draw: KindsOfDraw, states: Sequence[ProgramState]) -> list[Span]:
        """The lines that are drawing (`drawing_line`)."""
        if draw.of_program:
            return [draw.op.span] * len(states)
        lines: dict[tuple[tuple[str, int], ...], Span] = {}
        out = []
        for x in states:
            at = tuple([(f.function, f.pc) for f in x.frames])
            if at not in lines:
                particle = RunningParticle(self.code, self.engines, Undrawn(), self.limits)
                particle.resume(x)
                lines[at] = particle.drawing_line()
                particle.release()
            out.append(lines[at])
        return out

    # ----------------------------------------------------- one after the other

    def _move(self, runner: Runner, members: Members, n: int, i: int, weight: Weight) -> End:
        """Where a member comes to with token i. runner: which runs on in its place."""
        x, draw, c = members.states[n], members.draws[n], members.contexts[n]
        model, op, frame = self._models[c.model], draw.op, x.frames[-1]
        slots, contexts = list(frame.slots), list(x.contexts)
        slots[op.target] = token = model.token(i)
        try:
            node = model.child(c.node, i)
        except CallError:  # longer than the model reads: the particle that goes alone says so
            return None
        after = ContextState(c.model, node, c.start, c.skip, i in model.ends)
        contexts[members.refs[n].index] = after
        top = ActiveFrame(frame.function, frame.pc, slots, frame.target, runner)
        runner.take_up(members.rngs[n], x, contexts, top)
        line = op.span if draw.of_program else runner.drawing_line()
        runner.past_draw(DrawnValue(line, token), members.kinds[n].passed, *weight)
        try:
            run_to_draw(runner)
        except NeedRows:
            return runner
        except Fault:  # the particle that goes alone says what is wrong
            return None
        return runner.state_after(x), runner.log_G


def in_order(
    members: Members, waiting: Sequence[tuple[int, ParticleStep, Request]]
) -> list[tuple[str, Context]]:
    """The (model, context) pairs whose rows are wanted, in the order of the population. waiting:
    the particles that go alone, by their numbers."""
    if not waiting:
        return [(c.model, c.node) for c in members.contexts]
    if not members:
        return []
    wanted = {i: [(c.model, c.node)] for i, c in zip(members.index, members.contexts, strict=True)}
    wanted |= {i: [*request.rows, *request.forced] for i, _, request in waiting}
    return [pair for i in sorted(wanted) for pair in wanted[i]]
