"""Steps from the lines of a trace: over the program's own models, for a run that goes on from them;
or over what the trace has recorded of the models, where nothing more is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fkdsl.api.request import StepsByIsland
from fkdsl.api.trace.attachments import learn_attachments
from fkdsl.api.trace.file import Trace
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import effective_sample_size, log_sum_exp
from fkdsl.base.spans import Source
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Particle, Step
from fkdsl.machine.particle import Executable
from fkdsl.machine.places import Places
from fkdsl.machine.state import ProgramState, Status
from fkdsl.machine.state_json import log_weight_from_json, state_from_json
from fkdsl.models.attachments import Attachment
from fkdsl.values.values import ContextRef

UNFIT = (
    LookupError,
    TypeError,
    ValueError,
    AssertionError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What the reading of a damaged state raises."""


def rebuild(
    trace: Trace,
    engines: Mapping[str, CachedTransformer],
    places: Places,
    code: Executable | None = None,
) -> StepsByIsland:
    """The steps of a trace as the method yielded them: the same states, and the same weights to the
    last bit. code: the program's, whose functions the states' frames must fit."""
    steps_by_island: dict[int, list[Step[ProgramState]]] = {}
    known: dict[int, Attachment] = {}
    for number, line in enumerate(trace.steps, 2):
        try:
            steps = steps_by_island.setdefault(line["island"], [])
            step = read_step(line, steps[-1] if steps else None, engines, places, known)
            if code is not None:
                for particle in step.particles:
                    verify_state(particle.state, code)
            steps.append(step)
        except UNFIT as error:
            if isinstance(error, CallError):
                raise
            message = f"line {number} of {trace.path} is no step that follows the ones before it"
            raise CallError(
                message, f"keep what is before: head -n {number - 1} {trace.path}"
            ) from None
    return dict(sorted(steps_by_island.items()))


def read_step(
    line: Mapping[str, Any],
    last: Step[ProgramState] | None,
    engines: Mapping[str, CachedTransformer],
    places: Places,
    known: dict[int, Attachment],
) -> Step[ProgramState]:
    """The step of a line. last: the island's step before it, None for its first line. known: the
    attachments that lines have told of, to which this one's are added. Raises one of UNFIT for a
    line that does not follow it."""
    learn_attachments(known, line)
    if last is not None and line["t"] not in (0, last.t, last.t + 1):
        raise ValueError("a step is missing")
    before = parents(line["t"], last)
    particles: list[Particle[ProgramState]] = []
    ancestors: list[int] = []
    for i, data in enumerate(line["particles"]):
        a = data.get("ancestor", i)
        if before and not 0 <= a < len(before):
            raise ValueError("no such ancestor")
        parent = before[a] if before else None
        state: Any = data.get("state")
        if isinstance(state, int):
            x = particles[state].state
        elif state is not None:
            x = state_from_json(state, engines, places, parent.state if parent else None, known)
        else:
            assert parent is not None
            x = parent.state
        lineage = bytes.fromhex(data["lineage"]) if "lineage" in data else None
        if lineage is None:
            assert parent is not None
            lineage = parent.lineage
        particles.append(Particle(x, lineage))
        ancestors.append(a)
    lw = np.array(
        [log_weight_from_json(p["log_weight"]) for p in line["particles"]], dtype=np.float64
    )
    unfinished = sum(
        w > -np.inf and p.state.status is Status.RUNNING for p, w in zip(particles, lw, strict=True)
    )
    return Step(
        line["t"],
        tuple(particles),
        lw,
        tuple(ancestors),
        line["resampled"],
        effective_sample_size(lw),
        log_sum_exp(lw),
        unfinished,
        int((lw > -np.inf).sum()),
        line["island"],
    )


def verify_state(x: ProgramState, code: Executable) -> None:
    """Raises ValueError unless a state's frames are of the program's functions and each context
    that they refer to is in its table."""
    for f in x.frames:
        function = code.functions[f.function]
        if not 0 <= f.pc < len(function.ops) or len(f.slots) != len(function.slots):
            raise ValueError("a frame that the function cannot have")
        if any(isinstance(v, ContextRef) and v.index >= len(x.contexts) for v in f.slots):
            raise ValueError("a context that is not there")


def parents(t: int, last: Step[ProgramState] | None) -> Sequence[Particle[ProgramState]]:
    """The particles that the ancestors of step t index: those of the step before, none for a new
    population."""
    return last.particles if last is not None and t > 0 else ()


def is_complete(steps_by_island: StepsByIsland, islands: int) -> bool:
    """Whether every island has come to its end, so that there is nothing more to compute."""
    return len(steps_by_island) == islands and all(
        steps[-1].unfinished == 0 for steps in steps_by_island.values()
    )


def recorded_places(trace: Trace) -> Places:
    """The places of the program's files, whose texts the trace holds."""
    return Places(Source(s["name"], s["text"]) for s in trace.header["sources"])
