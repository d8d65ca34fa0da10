"""A steering program as a Feynman-Kac model: (s0, {M_t}, {G_t}) by running its code over cached
language models.

s0 is the state at the first `~`. One step runs every particle from its draw to the next one (or
from one checkpoint to the draw after the next); G_t is the product of the conditions, factors and
observations on the way.

A step of the population goes in rounds: each particle advances as far as it can, and what they all
need is served at once (rounds.py), until every particle has passed its boundary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from fkdsl.base.deadline import check
from fkdsl.base.errors import ProgramError
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng, Undrawn
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.inference.interface import Charge, Fan
from fkdsl.machine.particle import Executable, RunningParticle
from fkdsl.machine.runner import Runner
from fkdsl.machine.state import ProgramState, Status
from fkdsl.models.vocabulary import decoded_text
from fkdsl.proposals.lookahead import LookaheadCache
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.steering.fans import ListingStep, TakingStep
from fkdsl.steering.lockstep import Lockstep, Moved, in_order
from fkdsl.steering.members import Members
from fkdsl.steering.particle_step import Guesser, ParticleStep
from fkdsl.steering.precompute import Precompute
from fkdsl.steering.rounds import Precomputed, Rounds
from fkdsl.values.documents import Document
from fkdsl.values.faults import LIMITS, Fault, Limits
from fkdsl.values.values import Token, show, show_beginning

NOBODY = Members()
"""No particles in lock step."""
Ended = Callable[..., None]
"""Is told of the number of a particle that has come to its step's end, and, of one that went in
lock step, where that is."""


class SteeringModel:
    """A program with its arguments over its language models: a FeynmanKac[ProgramState].

    engines: by declared model name, '' for the default; a Mapping that may load on first use.
    proposals: how draws are made; they change the variance of Z_hat and nothing else (unless they
    are `local`). guessers: who guess at the end of each step what is to come; their guesses change
    the variance alone too. They do not go with drafts. s0: the state before the first draw, once
    there is one: as long as it is kept, the program's prompts are kept in the cache.
    """

    def __init__(
        self,
        code: Executable,
        engines: Mapping[str, CachedTransformer],
        arguments: Sequence[Any] = (),
        limits: Limits = LIMITS,
        proposals: ProposalSettings | None = None,
        guessers: Sequence[Guesser] = (),
    ) -> None:
        self.guessers = tuple(guessers)
        self.code, self.engines, self.limits = code, engines, limits
        self.arguments = tuple(arguments)
        self.proposals = proposals if proposals is not None else ProposalSettings()
        self._lookaheads = LookaheadCache()
        self.s0: ProgramState | None = None
        self._rounds = Rounds(engines, self.proposals)
        self._lockstep = Lockstep(code, engines, limits, self.proposals)
        drafting = self.proposals.drafting
        self._weighs_drafts = drafting is not None and drafting.weighs
        self._precompute = (
            Precompute(drafting, self._rounds, self.begin_step)
            if drafting is not None and not self._weighs_drafts
            else None
        )

    # ----------------------------------------------------- FeynmanKac protocol

    def initial(self, rngs: Sequence[Rng]) -> tuple[list[ProgramState], Floats]:
        """s0 and log G_0, the same for every particle: nothing is drawn before the first `~`."""
        if not rngs:
            return [], np.zeros(0)
        self._rounds.population = len(rngs)
        first = RunningParticle(self.code, self.engines, rngs[0], self.limits)
        first.boundary = True
        first.enter(self.code.entry, list(self.arguments), 0)
        step = ParticleStep(first, self.proposals, self._lookaheads)
        state, log_G = self._run({0: step}, [], "before the first draw")[0]
        # The next island finds the prompts cached, and reads the rows that this one read.
        self.s0 = state
        for context in state.contexts:
            self.engines[context.model].keep_row(context.node)
        return [state] * len(rngs), np.full(len(rngs), log_G)

    def step(
        self, rngs: Sequence[Rng], xp: Sequence[ProgramState]
    ) -> tuple[list[ProgramState], Floats]:
        """x_t ~ M_t(. | xp) and log G_t(xp, x), each (n,)."""
        drafting, precompute = self.proposals.drafting, self._precompute
        self._lookaheads.new_step(1 if drafting is None else len(drafting.pinned) + 1)
        if drafting is not None:
            drafting.new_step()
        early = [
            precompute.take(rng, x) if precompute is not None else None
            for rng, x in zip(rngs, xp, strict=True)
        ]
        going = [(rng, x) for rng, x, e in zip(rngs, xp, early, strict=True) if e is None]
        members = NOBODY
        if self._lockstep.is_on and not self.guessers:
            members = self._lockstep.members(going)
        together = set(members.index)
        alone = {
            i: self.begin_step(rng, x) for i, (rng, x) in enumerate(going) if i not in together
        }
        arrived = [(rng, e.after) for rng, e in zip(rngs, early, strict=True) if e is not None]
        ends = self._run(alone, arrived, "", members)
        moved = map(ends.__getitem__, range(len(going)))
        moves = [(e.after, e.log_G) if e is not None else next(moved) for e in early]
        if precompute is not None and not any(x.status is Status.RUNNING for x, _ in moves):
            precompute.end()
        return [x for x, _ in moves], np.array([g for _, g in moves], dtype=np.float64)

    def fans(self, xp: Sequence[ProgramState]) -> list[Fan[ProgramState] | None]:
        """What the next draw of each state may give (`ListsOutcomes`)."""
        self._lookaheads.new_step(1)
        steps: list[ListingStep] = []
        for x in xp:
            particle = self._begin(Undrawn(), x)
            steps.append(ListingStep(x, particle, self.proposals, self._lookaheads))
        try:
            self._advance(dict(enumerate(steps)), "")
            return [step.fan for step in steps]
        finally:
            self._rounds.end_step()
            for step in steps:
                step.particle.release()

    def take(
        self, rngs: Sequence[Rng], chosen: Sequence[tuple[Fan[ProgramState], int]]
    ) -> tuple[list[ProgramState], Floats]:
        """The rest of the step after these outcomes (`ListsOutcomes`)."""
        steps: list[ParticleStep] = []
        for rng, (fan, i) in zip(rngs, chosen, strict=True):
            particle = self._begin(rng, fan.x)
            own = self.proposals, self._lookaheads, fan.made, i, self.guessers
            steps.append(TakingStep(particle, *own))
        return _in_columns(self._run(dict(enumerate(steps)), [], ""))

    def run_to_end(self, steps: Sequence[ParticleStep]) -> tuple[list[ProgramState], Floats]:
        """(the state, log G) of each of these steps, made together."""
        self._lookaheads.new_step(1)
        return _in_columns(self._run(dict(enumerate(steps)), [], ""))

    def begin_step(self, rng: Rng, x: ProgramState) -> ParticleStep:
        """A particle at the beginning of a step."""
        particle = self._begin(rng, x)
        return ParticleStep(particle, self.proposals, self._lookaheads, guessers=self.guessers)

    def _begin(self, rng: Rng, x: ProgramState) -> RunningParticle:
        particle = RunningParticle(self.code, self.engines, rng, self.limits)
        particle.resume(x)
        return particle

    def finished(self, x: ProgramState) -> bool:
        return x.status is Status.RETURNED

    def value(self, x: ProgramState) -> Any:
        return x.value

    def evidence(self, x: ProgramState) -> Sequence[Document]:
        """The documents that were drawn on the way to a state."""
        return x.evidence

    def key(self, x: ProgramState) -> Hashable:
        return x.key()

    def describe(self, x: ProgramState) -> str:
        """The value of a returned state, the place where a dead one died, the text so far of a
        running one."""
        if x.status is Status.RETURNED:
            return show(x.value)
        if x.status is Status.DEAD:
            assert x.died is not None
            return f"line {x.died.line}: {x.died.text.strip().splitlines()[0]}"
        texts = [
            decoded_text(self.engines[c.model].raw(c.node)[c.skip :], c.done) for c in x.contexts
        ]
        if any(texts):
            return " | ".join(t for t in texts if t)
        variables = [
            f"{name}={show_beginning(value)}"
            for name, value in zip(
                self.code.functions[self.code.entry].slots, x.frames[0].slots, strict=True
            )
            if not name.startswith(".") and isinstance(value, bool | int | float | str | tuple)
        ]
        return ", ".join(variables) or "(start)"

    def text_at_death(self, before: ProgramState, dead: ProgramState) -> str:
        """The texts of the particle's contexts before the step, and the texts that it drew in
        it."""
        texts = [
            decoded_text(self.engines[c.model].raw(c.node)[c.skip :], c.done)
            for c in before.contexts
        ]
        drawn = "".join(str(d.value) for d in dead.drawn if isinstance(d.value, Token | str))
        return " | ".join(t for t in texts if t) + drawn

    def log_bound(self, x: ProgramState) -> float:
        """0 for a program none of whose lines can weigh more than 1, less the guesses that are to
        be taken back; inf for others, and where a draft is weighed or texts look ahead to their
        end."""
        if self._weighs_drafts or self.proposals.lookahead is not None:
            return math.inf
        held = sum(guess.log_weight for guess in x.guesses) if x is not None else 0.0
        return self.code.log_bound - held

    def charges(self, x: ProgramState) -> Sequence[Charge]:
        """What each line added to log G in the step that led to x."""
        return x.charges

    # ----------------------------------------------------------------- rounds

    def _run(
        self,
        alone: dict[int, ParticleStep],
        arrived: list[tuple[Rng, ProgramState]],
        when: str,
        members: Members = NOBODY,
    ) -> dict[int, Moved]:
        """Runs every particle to the end of its step, in rounds: its state and log G there, by its
        number.

        alone: those that do not go in lock step, by their numbers; such members as cannot are
        added. arrived: those of the population that are there already; the others are added. when:
        for mistakes of a program that has no population yet.
        """
        try:
            ends = self._ends(alone, members, arrived, when)
            if self.proposals.drafting is not None:
                for step in alone.values():
                    self.proposals.drafting.counts.add(step.counts)
            return ends
        finally:  # also of a step that a mistake, a deadline or Ctrl-C ends
            self._rounds.end_step()
            for step in alone.values():
                step.particle.release()

    def _ends(
        self,
        alone: dict[int, ParticleStep],
        members: Members,
        arrived: list[tuple[Rng, ProgramState]],
        when: str,
    ) -> dict[int, Moved]:
        """`_run`, without its end."""
        ends: dict[int, Moved] = {}

        def end(i: int, moved: Moved | None = None) -> None:
            if moved is None:
                particle = alone[i].particle
                moved = particle.state(), particle.log_G
                arrived.append((particle.rng, moved[0]))
            ends[i] = moved

        self._advance(alone, when, end, lambda: self._precomputed(arrived), members)
        return ends

    def _advance(
        self,
        alone: dict[int, ParticleStep],
        when: str,
        ended: Ended = lambda i, moved=None: None,
        precomputed: Callable[[], Precomputed | None] = lambda: None,
        members: Members = NOBODY,
    ) -> None:
        """Advances steps in rounds until none requests anything; `ended` is told of each as it
        comes to its end, and of a member where that is. alone: by the numbers of the particles;
        members that do not get to their end in lock step are added."""
        pending, n = list(alone.items()), len(alone) + len(members)
        while pending or members:
            waiting = []
            for i, step in pending:
                check()  # for each: a state of many parts takes a while to be written and compared
                try:
                    request = step.advance()
                except Fault as fault:
                    raise self._mistake(fault, step.particle, i, n, when) from None
                if request is None:
                    ended(i)
                else:
                    waiting.append((i, step, request))
            requests = [(step, request) for _, step, request in waiting]
            rows = self._rounds.serve(requests, precomputed(), in_order(members, waiting))
            pending = [(i, step) for i, step, _ in waiting]
            if members:
                pending += self._in_lockstep(members, rows, alone, ended)
                pending.sort(key=lambda step: step[0])
                members = NOBODY

    def _in_lockstep(
        self,
        members: Members,
        rows: Mapping[str, Mapping[Context, Floats]],
        alone: dict[int, ParticleStep],
        ended: Ended,
    ) -> list[tuple[int, ParticleStep]]:
        """Tells of the ends of members' steps; the members that are to go on alone."""
        left = []
        for n, (i, end) in enumerate(
            zip(members.index, self._lockstep.step(members, rows), strict=True)
        ):
            if type(end) is tuple:
                ended(i, end)
                continue
            if end is None:
                step = self.begin_step(members.rngs[n], members.states[n])
                c = members.contexts[n]
                step.particle.rows[c.node] = rows[c.model][c.node]
            else:
                assert isinstance(end, Runner)
                step = ParticleStep(end, self.proposals, self._lookaheads)
            alone[i] = step
            left.append((i, step))
        return left

    def _precomputed(self, arrived: Sequence[tuple[Rng, ProgramState]]) -> Precomputed | None:
        """What to compute with the rows that particles wait for."""
        precompute = self._precompute
        if precompute is None:
            return None
        return lambda waiting: precompute.contexts_wanted(waiting, arrived)

    def _mistake(
        self, fault: Fault, particle: RunningParticle, i: int, n: int, when: str
    ) -> ProgramError:
        """The program's mistake, met by particle i of n."""
        where = f"in particle {i} of the {n} that are running" if n > 1 else when
        place = self.code.functions[self.code.entry].span
        fault.span = particle.users_place(fault.span or place)
        return ProgramError([fault.diagnostic(place, where)])


def _in_columns(moves: Mapping[int, Moved]) -> tuple[list[ProgramState], Floats]:
    """(the states, log G (n,) in nats) of particles 0 to n - 1."""
    ends = [moves[i] for i in range(len(moves))]
    return [x for x, _ in ends], np.array([g for _, g in ends], dtype=np.float64)
