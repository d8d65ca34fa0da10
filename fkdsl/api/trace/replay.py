"""A run read from its trace, without a model: the last population, and the path of any particle,
line by line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from fkdsl.api.request import StepsByIsland
from fkdsl.api.trace.file import Trace
from fkdsl.api.trace.header import method_call
from fkdsl.api.trace.rebuild import rebuild, recorded_places
from fkdsl.api.trace.recorded import Recorded
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Charge, Step
from fkdsl.inference.method import MethodCall
from fkdsl.machine.state import Alternatives, DrawnValue, ProgramState, Status
from fkdsl.models.vocabulary import decoded_text
from fkdsl.values.values import plain


@dataclass(frozen=True)
class Member:
    """A particle of a step. log_weight: nats. weight: its share of the weight of all particles that
    were listed with it."""

    island: int
    t: int
    index: int
    state: ProgramState
    log_weight: float
    weight: float


@dataclass(frozen=True)
class Event:
    """What a step did to one particle.

    index: its place in the step's population. ancestor: its place in the one before, None where it
    begins here. copied: whether resampling made it a copy of another particle. reweighted: whether
    resampling set the weight with which the step began. moved: whether it took the step; a finished
    or dead particle does not. alternatives: see ProgramState. log_weight: after the step, nats.
    text: the texts of its contexts after their prompts.
    """

    t: int
    index: int
    ancestor: int | None
    copied: bool
    reweighted: bool
    moved: bool
    drawn: tuple[DrawnValue, ...]
    charges: tuple[Charge, ...]
    alternatives: tuple[Alternatives | None, ...]
    log_weight: float
    state: ProgramState
    text: str


class Replay:
    """The steps of a trace, over what it has recorded of the models. Raises CallError for a damaged
    trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.call: MethodCall = method_call(trace)
        self.engines: Mapping[str, CachedTransformer] = Recorded(trace)
        self.places = recorded_places(trace)
        self.steps_by_island: StepsByIsland = rebuild(trace, self.engines, self.places)

    @property
    def finished(self) -> bool:
        return self.trace.end is not None

    @property
    def moves_paths(self) -> bool:
        """Whether ancestors do not tell a particle's past."""
        return self.call.moves_paths

    @cached_property
    def log_z(self) -> float | None:
        """log Z of the result; where there is none, of the last steps so far."""
        if self.steps_by_island and not self.result:
            lasts = [steps[-1].log_Z for steps in self.steps_by_island.values()]
            return log_sum_exp(lasts) - math.log(len(lasts))
        log_z: float | None = self.result.get("log_z")
        return log_z

    @property
    def result(self) -> Mapping[str, Any]:
        """The result in the last line; {} if the run has not ended, or died."""
        result: Mapping[str, Any] = (self.trace.end or {}).get("result", {})
        return result

    def where(self, span: Span) -> str:
        """`line 7`, or `words.fk:7` in a file that the program imports."""
        own = span.source is self.places.sources[0]
        return f"line {span.line}" if own else f"{Path(span.source.name).name}:{span.line}"

    def members(self, island: int | None = None, t: int | None = None) -> list[Member]:
        """The particles of one island (None: of all) after step t (None: the last), heaviest
        first."""
        steps = [self.step(i, t) for i in self.steps_by_island if island is None or i == island]
        if island is not None and not steps:
            known = ", ".join(map(str, self.steps_by_island)) or "none"
            raise CallError(f"{self.trace.path} has no island {island}", f"its islands: {known}")
        total = log_sum_exp([w for step in steps for w in step.log_weights])
        members = []
        for step in steps:
            for i, (p, w) in enumerate(zip(step.particles, step.log_weights, strict=True)):
                weight = math.exp(w - total) if w > -math.inf else 0.0
                members.append(Member(step.island, step.t, i, p.state, float(w), weight))
        return sorted(members, key=lambda m: -m.log_weight)

    def step(self, island: int, t: int | None) -> Step[ProgramState]:
        """Step t of an island, the last one for None. Raises CallError if there is none."""
        steps = self.steps_by_island[island]
        for step in steps:
            if step.t == t:
                return step
        if t is not None:
            raise CallError(
                f"{self.trace.path} has no step {t}",
                f"its steps are {steps[0].t} to {steps[-1].t}",
            )
        return steps[-1]

    def path(self, island: int, index: int, t: int | None = None) -> list[Event]:
        """What happened to a particle of step t (None: the last), from the beginning on. Where the
        method moves whole paths, its ancestors are not its past, and the path is that step alone.
        Raises CallError if there is no such particle."""
        last = self.step(island, t)
        if not 0 <= index < len(last.particles):
            n = len(last.particles)
            raise CallError(
                f"step {last.t} has no particle {index}",
                f"its particles are 0 to {n - 1}" if n else "",
            )
        steps = self.steps_by_island[island]
        at = next(i for i, step in enumerate(steps) if step is last)
        events = []
        while True:
            step, before = steps[at], steps[at - 1] if at > 0 and steps[at].t > 0 else None
            events.append(self._event(step, before, index))
            if before is None or self.moves_paths:
                return events[::-1]
            index, at = step.ancestors[index], at - 1

    def deaths(self) -> list[tuple[int, Span, int]]:
        """(step, line, particles that died there), in order."""
        counts: dict[tuple[int, Span], int] = {}
        for steps in self.steps_by_island.values():
            for at, step in enumerate(steps):
                before = steps[at - 1] if at > 0 and step.t > 0 else None
                for particle, a in zip(step.particles, step.ancestors, strict=True):
                    x = particle.state
                    if x.died is not None and (
                        before is None or before.particles[a].state is not x
                    ):
                        counts[step.t, x.died] = counts.get((step.t, x.died), 0) + 1
        ordered = sorted(counts.items(), key=lambda count: (count[0][0], count[0][1].start))
        return [(t, place, n) for (t, place), n in ordered]

    def _event(
        self, step: Step[ProgramState], before: Step[ProgramState] | None, index: int
    ) -> Event:
        particle, w = step.particles[index], float(step.log_weights[index])
        ancestor = step.ancestors[index] if before is not None else None
        parent = before.particles[ancestor] if before is not None and ancestor is not None else None
        moved = parent is None or parent.state is not particle.state
        x = particle.state
        return Event(
            step.t,
            index,
            ancestor,
            parent is not None and parent.lineage != particle.lineage,
            step.resampled and before is not None,
            moved,
            x.drawn if moved else (),
            x.charges if moved else (),
            x.alternatives if moved else (),
            w,
            x,
            self.text(x),
        )

    def text(self, x: ProgramState) -> str:
        """The texts of a running state's contexts after their prompts."""
        texts = [
            decoded_text(self.engines[c.model].raw(c.node)[c.skip :], c.done) for c in x.contexts
        ]
        return " | ".join(t for t in texts if t)


def outcome(x: ProgramState, text: str) -> dict[str, Any]:
    """The value, the place of death or the text so far of a particle, as JSON: {"value"}, {"died"}
    or {"text"}."""
    match x.status:
        case Status.RETURNED:
            return {"value": plain(x.value)}
        case Status.DEAD:
            return {"died": place(x.died)}
    return {"text": text}


def place(span: Span | None) -> dict[str, Any] | None:
    """A line as JSON."""
    if span is None:
        return None
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "source": excerpt(span),
    }


def excerpt(span: Span) -> str:
    """The first line of the text in a place."""
    return (span.text.strip().splitlines() or [""])[0]
