"""The ops: the instructions of a built program, each a small frozen value with what it does.

A `DrawOp` does nothing by itself: the interpreter stops at it (machine/interpreter.py), and the
draw is made by a proposal (fkdsl.proposals).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import field
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.engine.constraints.futures import SoFar
from fkdsl.inference.interface import Charge
from fkdsl.machine.clock import Clock
from fkdsl.machine.memory import OLD, SIZED, SMALL, charge_of
from fkdsl.machine.particle import ActiveFrame, Compute, Op, RunningParticle
from fkdsl.machine.proposal_plan import ProposalPlan
from fkdsl.machine.scoring import observe
from fkdsl.machine.state import Twist
from fkdsl.values.faults import Fault
from fkdsl.values.operators import add, truth
from fkdsl.values.values import ContextRef


@dataclass(frozen=True)
class SetOp(Op):
    target: int
    value: Compute

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        frame.slots[self.target] = self.value(frame)
        frame.pc += 1


@dataclass(frozen=True)
class UnpackOp(Op):
    targets: tuple[int, ...]
    value: Compute

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        unpack(frame, self.targets, self.value(frame))
        frame.pc += 1


def unpack(frame: ActiveFrame, targets: tuple[int, ...], value: Any) -> None:
    """The slots `targets` := value, taken apart if there are several."""
    if len(targets) == 1:
        frame.slots[targets[0]] = value
        return
    if not isinstance(value, tuple) or len(value) != len(targets):
        found = f"{len(value)} values" if isinstance(value, tuple) else "one value"
        raise Fault("FK408", f"{len(targets)} names for {found}")
    for target, item in zip(targets, value, strict=True):
        frame.slots[target] = item


@dataclass(frozen=True)
class EvaluateOp(Op):
    value: Compute

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        self.value(frame)
        frame.pc += 1


@dataclass(frozen=True)
class AppendOp(Op):
    target: int
    value: Compute

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        held, value = frame.slots[self.target], self.value(frame)
        if isinstance(held, ContextRef):
            particle.append_text(held, value)
        else:
            frame.slots[self.target] = longer = add(held, value)
            if type(longer) in SIZED and len(longer) > SMALL:
                particle.charge(charge_of(longer, OLD))
        frame.pc += 1


@dataclass(frozen=True)
class DrawOp(Op):
    """target ~ distribution. site: its number in the program, by which its stream is keyed. source:
    the slot that the distribution is read from, None where it is another expression.

    What proposals have computed for it so far: token_masks, those of the plan's predicate, by
    vocabulary and what the predicate reads; prefix_masks, those of its prefix constraint's
    automata, None where one of them is not small enough, by vocabulary and what the languages
    read; languages, those of its completion constraint, by what they read. language_reads: the
    slots that these read; varying: the conditions whose own languages read some.
    """

    target: int
    distribution: Compute
    site: int
    plan: ProposalPlan[Compute] | None = None
    source: int | None = None
    token_masks: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)
    language_reads: tuple[int, ...] = ()
    varying: tuple[Span, ...] = ()
    prefix_masks: dict[Hashable, SoFar | None] = field(
        default_factory=dict, compare=False, repr=False
    )
    languages: dict[tuple[int, ...], Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class ObserveOp(Op):
    value: Compute
    distribution: Compute
    weighs: bool = True

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        value = self.value(frame)
        log_potential = observe(particle, value, self.distribution(frame))
        if self.weighs:
            particle.weigh(log_potential, self.span)
        frame.pc += 1


@dataclass(frozen=True)
class ConditionOp(Op):
    test: Compute
    early: bool = False

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        try:
            holds = truth(self.test(frame))
        except Fault:
            if not self.early:
                raise
            holds = True
        particle.weigh(0.0 if holds else -float("inf"), self.span)
        frame.pc += 1


@dataclass(frozen=True)
class FactorOp(Op):
    value: Compute

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        particle.weigh(nats_of(self.value(frame), "factor"), self.span)
        frame.pc += 1


@dataclass(frozen=True)
class TwistOp(Op):
    value: Compute

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        nats = nats_of(self.value(frame), "twist")
        if not math.isfinite(nats):
            help = "a twist is a guess, so it is finite: bound it, such as max(-50.0, x)"
            raise Fault("FK410", f"a twist of {nats} nats", help)
        before = particle.twist.log_weight if particle.twist is not None else 0.0
        particle.weigh(nats - before, self.span)
        particle.twist = Twist(nats, self.span) if nats != 0.0 else None
        frame.pc += 1


def nats_of(value: Any, what: str) -> float:
    """The number of a factor or a twist. Raises Fault (FK408) for what is none."""
    if not isinstance(value, int | float):
        raise Fault("FK408", f"a {what} is a number of nats, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@dataclass(frozen=True)
class WatchedOp(Op):
    """A condition, factor or observe in a run that asks for blame: its time is measured, and a
    particle that comes past it is marked. whole: it is no check ahead of its time, which a particle
    may pass and still fail the line."""

    op: Op
    clock: Clock
    whole: bool

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        with self.clock.line(self.span):
            self.op.run(particle, frame)
        if self.whole and particle.died is None:
            particle.charges.append(Charge(self.span, 0.0))


@dataclass(frozen=True)
class CheckpointOp(Op):
    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        particle.boundary = True
        frame.pc += 1


@dataclass(frozen=True)
class CallOp(Op):
    target: int
    function: str
    args: tuple[Compute, ...]

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        args = [a(frame) for a in self.args]
        frame.pc += 1
        particle.enter(self.function, args, self.target)


@dataclass(frozen=True)
class ReturnOp(Op):
    value: Compute

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        particle.leave(self.value(frame))


@dataclass(frozen=True)
class JumpOp(Op):
    pc: int

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        frame.pc = self.pc


@dataclass(frozen=True)
class BranchOp(Op):
    test: Compute
    otherwise: int

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        frame.pc = frame.pc + 1 if truth(self.test(frame)) else self.otherwise


@dataclass(frozen=True)
class NextOp(Op):
    items: int
    counter: int
    targets: tuple[int, ...]
    done: int

    def run(self, particle: RunningParticle, frame: ActiveFrame) -> None:
        items, count = frame.slots[self.items], frame.slots[self.counter]
        if count >= len(items):
            frame.pc = self.done
            return
        unpack(frame, self.targets, items[count])
        frame.slots[self.counter] = count + 1
        frame.pc += 1
