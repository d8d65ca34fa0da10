"""A steering program as a Feynman-Kac model: (s0, {M_t}, {G_t}) by running its code over cached
language models.

s0 is the state at the first `~`. One step runs every particle from its draw to the next one (or
from one checkpoint to the draw after the next); G_t is the product of the conditions, factors and
observations on the way.

Model calls are made in rounds: each particle runs as far as it can, what it needs is collected over
the population, and one batched forward for each language model answers all of it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import numpy as np

from fkdsl.base.deadline import check
from fkdsl.base.errors import ProgramError
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.engine.constraints.constraint import Constraint
from fkdsl.engine.drafts import DraftQuery
from fkdsl.inference.interface import Charge
from fkdsl.machine.interpreter import Running
from fkdsl.machine.ops import Executable
from fkdsl.machine.state import ProgramState, Status
from fkdsl.models.vocabulary import decoded_text
from fkdsl.proposals.propose import Guides, Narrowed, narrowed
from fkdsl.proposals.speculative import Drafting
from fkdsl.steering.precompute import Ahead
from fkdsl.values.faults import LIMITS, Fault, Limits, NeedRows
from fkdsl.values.values import Token, show


class SteeringModel:
    """A program with its arguments over its language models: a FeynmanKac[ProgramState].

    engines: by declared model name, '' for the default; a Mapping that may load on first use.
    guides: how guided draws choose; they change the variance of Z_hat and nothing else (unless they
    forget mass, which is `local`).
    """

    def __init__(
        self,
        code: Executable,
        engines: Mapping[str, CachedTransformer],
        arguments: Sequence[Any] = (),
        limits: Limits = LIMITS,
        guides: Guides | None = None,
    ) -> None:
        self.code, self.engines, self.arguments, self.limits = (
            code,
            engines,
            tuple(arguments),
            limits,
        )
        self.guides = guides if guides is not None else Guides()
        drafting = self.guides.drafting
        self._weighs = drafting is not None and any(of.weighs for of in drafting.of.values())
        self._ahead = Ahead(drafting) if drafting is not None and not self._weighs else None

    # ----------------------------------------------------- FeynmanKac protocol

    def initial(self, rngs: Sequence[Rng]) -> tuple[list[ProgramState], Floats]:
        """s0 and log G_0, the same for every particle: nothing is drawn before the first `~`."""
        if not rngs:
            return [], np.zeros(0)
        first = Running(self.code, self.engines, rngs[0], self.limits, self.guides)
        first.boundary = True
        first.enter(self.code.entry, list(self.arguments), 0)
        ((state, log_G),) = self._run([first], "before the first draw")
        return [state] * len(rngs), np.full(len(rngs), log_G)

    def step(
        self, rngs: Sequence[Rng], xp: Sequence[ProgramState]
    ) -> tuple[list[ProgramState], Floats]:
        """x_t ~ M_t(. | xp) and log G_t(xp, x), each (n,)."""
        self.guides.new_step()
        made = [
            self._ahead.take(rng, x) if self._ahead is not None else None
            for rng, x in zip(rngs, xp, strict=True)
        ]
        running = [self.running(r, x) for r, x, m in zip(rngs, xp, made, strict=True) if m is None]
        arrived = [(rng, m.after) for rng, m in zip(rngs, made, strict=True) if m is not None]
        moved = iter(self._run(running, "", arrived))
        steps = [(m.after, m.log_G) if m is not None else next(moved) for m in made]
        if self._ahead is not None and not any(x.status is Status.RUNNING for x, _ in steps):
            self._ahead.end()
        return [x for x, _ in steps], np.array([g for _, g in steps], dtype=np.float64)

    def running(self, rng: Rng, x: ProgramState) -> Running:
        """A particle at the beginning of a step."""
        particle = Running(self.code, self.engines, rng, self.limits, self.guides)
        particle.resume(x)
        return particle

    def finished(self, x: ProgramState) -> bool:
        return x.status is Status.RETURNED

    def value(self, x: ProgramState) -> Any:
        return x.value

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
            f"{name}={show(value)}"
            for name, value in zip(
                self.code.functions[self.code.entry].slots, x.frames[0].slots, strict=True
            )
            if not name.startswith(".") and isinstance(value, bool | int | float | str | tuple)
        ]
        return ", ".join(variables) or "(start)"

    def text_at_death(self, before: ProgramState, dead: ProgramState) -> str:
        """The texts of the particle's contexts before the step, and what it drew in it."""
        texts = [
            decoded_text(self.engines[c.model].raw(c.node)[c.skip :], c.done)
            for c in before.contexts
        ]
        drawn = "".join(
            d.value.text if isinstance(d.value, Token) else show(d.value) for d in dead.drawn
        )
        return " | ".join(t for t in texts if t) + drawn

    def log_bound(self, x: ProgramState) -> float:
        """0 for a program none of whose lines can weigh more than 1, inf for others, and where a
        draft is weighed."""
        return math.inf if self._weighs else self.code.log_bound

    def charges(self, x: ProgramState) -> Sequence[Charge]:
        """What each line added to log G in the step that led to x."""
        return x.charges

    # ----------------------------------------------------------------- rounds

    def _run(
        self,
        particles: Sequence[Running],
        when: str,
        arrived: Sequence[tuple[Rng, ProgramState]] = (),
    ) -> list[tuple[ProgramState, float]]:
        """Runs every particle to the end of its step, in rounds of batched model calls: its state
        and log G there. arrived: those of the population that are there already."""
        clock = self.guides.clock
        ended: dict[int, tuple[Rng, ProgramState]] = {}
        pending = beginning = list(enumerate(particles))
        while pending:
            check()
            blocked: list[tuple[int, Running]] = []
            wanted: dict[str, dict[Context, list[Running]]] = {}
            asked: dict[str, dict[DraftQuery, list[Running]]] = {}
            texts: dict[Constraint, list[tuple[int, ...]]] = {}
            for i, particle in pending:
                question = particle.question() if pending is beginning else None
                if question is not None:
                    blocked.append((i, particle))
                    wanted.setdefault(question[0], {}).setdefault(question[1], []).append(particle)
                    continue
                try:
                    particle.go()
                except NeedRows as need:
                    blocked.append((i, particle))
                    for model, key in (*need.wanted, *need.forced):
                        if isinstance(key, DraftQuery):
                            asked.setdefault(model, {}).setdefault(key, []).append(particle)
                        else:
                            wanted.setdefault(model, {}).setdefault(key, []).append(particle)
                    for constraint, ids in need.texts:
                        texts.setdefault(constraint, []).append(ids)
                except Fault as fault:
                    where = (
                        f"in particle {i} of the {len(particles)} that are running"
                        if len(particles) > 1
                        else when
                    )
                    place = self.code.functions[self.code.entry].span
                    fault.span = particle.users_place(fault.span or place)
                    raise ProgramError([fault.diagnostic(place, where)]) from None
                else:
                    ended[i] = (particle.rng, particle.state())
            if self.guides.drafting is not None:
                self._answer(self.guides.drafting, asked)
                wanted = self._due(
                    self.guides.drafting, blocked, wanted, [*arrived, *ended.values()]
                )
            for model, askers in wanted.items():
                nodes = list(askers)
                with nullcontext() if clock is None else clock.model():
                    rows = self.engines[model].log_probs(nodes)
                for node, row in zip(nodes, rows, strict=True):
                    for particle in askers[node]:
                        particle.rows[node] = row
                if pending is beginning:
                    self._narrow(
                        model,
                        [
                            p
                            for p in dict.fromkeys(chain(*askers.values()))
                            if p.question() is not None
                        ],
                    )
            for constraint, lists in texts.items():
                with nullcontext() if clock is None else clock.line(clock.owners[constraint]):
                    constraint.prepare(lists)
            pending = blocked
        for particle in particles:
            if self.guides.drafting is not None:
                self.guides.drafting.tally.add(particle.tally)
            particle.let_go()
        return [(ended[i][1], particle.log_G) for i, particle in enumerate(particles)]

    def _narrow(self, model: str, particles: Sequence[Running]) -> None:
        """What masks leave of the rows that draws will ask for, for the whole population at once: a
        row is long, and going through one between two particles would drive all else out of the
        processor's caches."""
        found: dict[tuple[int, int], list[Narrowed]] = {}
        for particle in particles:
            particle.narrowed = n = narrowed(particle)
            if n is not None:
                found.setdefault((id(n.row), id(n.mask)), []).append(n)
        firsts = [of[0] for of in found.values()]
        sums = self.engines[model].masked_block_sums(
            [n.row for n in firsts], [n.mask for n in firsts]
        )
        for of, their in zip(found.values(), sums, strict=True):
            for n in of:
                n.sums = their

    def _answer(
        self, drafting: Drafting, asked: Mapping[str, Mapping[DraftQuery, Sequence[Running]]]
    ) -> None:
        """What particles ask of drafts."""
        for model, askers in asked.items():
            for question, row in zip(askers, drafting.log_probs(model, list(askers)), strict=True):
                for particle in askers[question]:
                    particle.rows[question] = row

    def _due(
        self,
        drafting: Drafting,
        blocked: Sequence[tuple[int, Running]],
        wanted: dict[str, dict[Context, list[Running]]],
        arrived: Sequence[tuple[Rng, ProgramState]],
    ) -> dict[str, dict[Context, list[Running]]]:
        """The rows to ask for now: those at hand, while some particle can go on by them; else all
        that are wanted, and those that the population will ask for if its drafts are right."""
        missing = {
            (model, node)
            for model, nodes in wanted.items()
            for node in nodes
            if model in drafting.of and self.engines[model].cached(node) is None
        }
        if not missing:
            return wanted
        held_up = {id(p) for model, node in missing for p in wanted[model][node]}
        if any(id(p) not in held_up for _, p in blocked):
            return {
                model: {
                    node: askers for node, askers in nodes.items() if (model, node) not in missing
                }
                for model, nodes in wanted.items()
            }
        waiting = [p for _, p in blocked if any((c.model, c.node) in missing for c in p.contexts)]
        if self._ahead is None:
            drafting.tally.rounds += len(waiting)
        else:
            for model, more in self._ahead.wanted(self, waiting, arrived).items():
                for node in more:
                    wanted.setdefault(model, {}).setdefault(node, [])
        for model in drafting.of.keys() & wanted.keys():
            engine = self.engines[model]
            engine.repeated = drafting.of[model].block + 1
            if engine.meter is not None:
                engine.meter.decode_length = 2 * engine.repeated
            engine.keep_rows(2 * len(wanted[model]))
        return wanted
