"""The one loop that runs a particle's ops, from where it stands to its next draw.

    match interpreter.advance(particle):
        case Draw(op, distribution): ...    # it stands at a draw to be made in this step
        case Done(): ...                    # it has returned, died, or is at the next step's draw

A draw is a request: the loop stops at it, and whoever runs the particle finds the rows that it
needs, makes it (fkdsl.proposals) and advances again. So the interpreter knows no proposal and calls
no model. Only where an expression asks a model (`logprob`, `observe`) does it raise `NeedRows`,
with the particle at the beginning of the op; advance again once the rows are in `particle.rows`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.machine.memory import no_memory
from fkdsl.machine.ops import DrawOp, ReturnOp
from fkdsl.machine.particle import ActiveFrame, Code, RunningParticle
from fkdsl.machine.state import UNSET, Status
from fkdsl.values.faults import INSTRUCTIONS_PER_LOOK, LIMITS, Fault, NeedRows


class Draw(NamedTuple):
    """A draw that a particle stands at: its op, and the distribution that the op says."""

    op: DrawOp
    distribution: Any


@dataclass(frozen=True)
class Done:
    """The particle is through its step: it has returned, died, or stands at the next step's
    draw."""


DONE = Done()


def advance(particle: RunningParticle) -> Draw | Done:
    """Runs to the next draw of this step, or to the step's end.

    Raises NeedRows, with the particle at the beginning of the op that asks for them, and Fault with
    the op's place.
    """
    op = run_to_draw(particle)
    if op is None or particle.boundary:
        return DONE
    contexts = particle.contexts
    particle.burn(1, op.span)
    particle.memory.op = particle.memory.now
    try:
        return Draw(op, op.distribution(particle.frames[-1]))
    except NeedRows:
        particle.contexts = contexts
        raise
    except (Fault, MemoryError) as error:
        raise fault_at(error, op.span) from None


def run_to_draw(particle: RunningParticle) -> DrawOp | None:
    """Runs up to the next draw op, which it returns; None if the particle returns or dies before.
    Raises as `advance`."""
    functions, memory = particle.code.functions, particle.memory
    while particle.status is Status.RUNNING:
        frame = particle.frames[-1]
        op = functions[frame.function].ops[frame.pc]
        if type(op) is DrawOp:
            return op
        contexts = particle.contexts
        try:
            particle.fuel = fuel = particle.fuel - 1
            if fuel < 0 or not fuel % INSTRUCTIONS_PER_LOOK:
                particle.burn(0, op.span)
            memory.op = memory.now
            op.run(particle, frame)
        except NeedRows:
            particle.contexts = contexts
            raise
        except (Fault, MemoryError) as error:
            particle.contexts = contexts
            raise fault_at(error, op.span) from None
        if particle.rows:
            particle.rows = {}
    return None


def run_to_next_draw(fork: RunningParticle) -> None:
    """Runs a fork on after an outcome has been taken, to the next draw, to the end, or to where it
    cannot go on: a question for a model, or a mistake, which is left for whoever draws this outcome
    to meet."""
    try:
        run_to_draw(fork)
    except (NeedRows, Fault):  # much faster than contextlib.suppress
        return


def fault_at(error: Fault | MemoryError, span: Span) -> Fault:
    """The mistake, at a place if it has none yet."""
    fault = error if isinstance(error, Fault) else no_memory()
    fault.span = fault.span or span
    return fault


def call_pure(frame: ActiveFrame, function: str, args: list[Any]) -> Any:
    """The value of a pure function, run to its end within the op that calls it."""
    particle = frame.particle
    callee = particle.code.functions[function]
    slots = args + [UNSET] * (len(callee.slots) - callee.parameters)
    inner = ActiveFrame(function, 0, slots, 0, particle, frame.depth + 1)
    if inner.depth > LIMITS.depth:
        raise Fault(
            "FK409", f"calls nested more than {LIMITS.depth} deep", "give the recursion an end"
        )
    memory = particle.memory
    since, before = memory.now, memory.pending
    memory.outer += before
    memory.frames.append(inner)
    try:
        value = _run_to_return(particle, callee, inner)
    finally:
        memory.frames.pop()
        memory.outer -= before
        memory.op = since - before
    memory.drop(before, value)
    return value


def _run_to_return(particle: RunningParticle, callee: Code, inner: ActiveFrame) -> Any:
    while True:
        op = callee.ops[inner.pc]
        particle.burn(1, op.span)
        particle.memory.op = particle.memory.now
        try:
            if isinstance(op, ReturnOp):
                return op.value(inner)
            op.run(particle, inner)
        except Fault as fault:
            fault.span = fault.span or op.span
            raise
