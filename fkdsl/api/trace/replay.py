"""A run as its trace tells it, without a model: the last population, and the path of any particle,
line by line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fkdsl.api.trace.file import Trace
from fkdsl.api.trace.header import method_call
from fkdsl.api.trace.rebuild import Courses, Recorded, rebuild, recorded_places
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Charge, Step
from fkdsl.inference.method import MethodCall
from fkdsl.machine.state import Draw, ProgramState, Status
from fkdsl.models.vocabulary import decoded_text
from fkdsl.values.values import plain


@dataclass(frozen=True)
class Member:
    """A particle of a step. weight: its share of all islands' weight at their last steps, or of its
    own step's."""

    island: int
    t: int
    index: int
    state: ProgramState
    log_weight: float
    weight: float


@dataclass(frozen=True)
class Event:
    """What a step did to one particle.

    index, ancestor: where it stands in its step and stood in the one before (None: it begins here).
    copied: whether resampling put a copy of another particle in its place, reweighted: whether it
    gave the weight that the step began with. moved: whether it took the step; a finished or dead
    one waits. log_weight: after the step, in nats. text: those of its contexts after their prompts.
    """

    t: int
    index: int
    ancestor: int | None
    copied: bool
    reweighted: bool
    moved: bool
    drawn: tuple[Draw, ...]
    charges: tuple[Charge, ...]
    log_weight: float
    state: ProgramState
    text: str


class Replay:
    """The steps of a trace, over what it has recorded of the models. Raises CallError for one that
    is damaged."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.call: MethodCall = method_call(trace)
        self.engines: Mapping[str, CachedTransformer] = Recorded(trace)
        self.places = recorded_places(trace)
        self.courses: Courses = rebuild(trace, self.engines, self.places)

    @property
    def finished(self) -> bool:
        return self.trace.end is not None

    @property
    def moves_paths(self) -> bool:
        """Whether ancestors do not tell a particle's past."""
        return self.call.moves_paths

    @cached_property
    def log_z(self) -> float | None:
        """The result's; so far, where there is none, of each island's last step."""
        if self.courses and not self.result:
            lasts = [course[-1].log_Z for course in self.courses.values()]
            return log_sum_exp(lasts) - math.log(len(lasts))
        found: float | None = self.result.get("log_z")
        return found

    @property
    def result(self) -> Mapping[str, Any]:
        """What the run came to; {} if it has not ended, or died."""
        found: Mapping[str, Any] = (self.trace.end or {}).get("result", {})
        return found

    def where(self, span: Span) -> str:
        """`line 7`, or `words.fk:7` in a file that the program imports."""
        own = span.source is self.places.sources[0]
        return f"line {span.line}" if own else f"{Path(span.source.name).name}:{span.line}"

    def members(self, island: int | None = None, t: int | None = None) -> list[Member]:
        """The particles after step t (the last one) of an island (of all), heaviest first."""
        steps = [self.step(i, t) for i in self.courses if island is None or i == island]
        if island is not None and not steps:
            known = ", ".join(map(str, self.courses)) or "none"
            raise CallError(f"{self.trace.path} has no island {island}", f"its islands: {known}")
        total = log_sum_exp([w for step in steps for w in step.log_weights])
        found = [
            Member(
                step.island,
                step.t,
                i,
                p.state,
                float(w),
                math.exp(w - total) if w > -math.inf else 0.0,
            )
            for step in steps
            for i, (p, w) in enumerate(zip(step.particles, step.log_weights, strict=True))
        ]
        return sorted(found, key=lambda m: -m.log_weight)

    def step(self, island: int, t: int | None) -> Step[ProgramState]:
        """A step of an island by its number, the last one for None."""
        course = self.courses[island]
        for step in course:
            if step.t == t:
                return step
        if t is not None:
            raise CallError(
                f"{self.trace.path} has no step {t}",
                f"its steps are {course[0].t} to {course[-1].t}",
            )
        return course[-1]

    def path(self, island: int, index: int, t: int | None = None) -> list[Event]:
        """What happened to a particle of step t (the last one), from the beginning on; in that step
        alone where moves put other paths in the place of those that the trace has."""
        last = self.step(island, t)
        if not 0 <= index < len(last.particles):
            n = len(last.particles)
            raise CallError(
                f"step {last.t} has no particle {index}",
                f"its particles are 0 to {n - 1}" if n else "",
            )
        course = self.courses[island]
        at = next(i for i, step in enumerate(course) if step is last)
        found = []
        while True:
            step, before = course[at], course[at - 1] if at > 0 and course[at].t > 0 else None
            found.append(self._event(step, before, index))
            if before is None or self.moves_paths:
                return found[::-1]
            index, at = step.ancestors[index], at - 1

    def deaths(self) -> list[tuple[int, Span, int]]:
        """(step, line, particles that died there), in order."""
        counts: dict[tuple[int, Span], int] = {}
        for course in self.courses.values():
            for at, step in enumerate(course):
                before = course[at - 1] if at > 0 and step.t > 0 else None
                for particle, a in zip(step.particles, step.ancestors, strict=True):
                    x = particle.state
                    if x.died is not None and (
                        before is None or before.particles[a].state is not x
                    ):
                        counts[step.t, x.died] = counts.get((step.t, x.died), 0) + 1
        return [
            (t, place, n)
            for (t, place), n in sorted(counts.items(), key=lambda c: (c[0][0], c[0][1].start))
        ]

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
            w,
            x,
            self.text(x),
        )

    def text(self, x: ProgramState) -> str:
        """The texts of a running state's contexts."""
        texts = [
            decoded_text(self.engines[c.model].raw(c.node)[c.skip :], c.done) for c in x.contexts
        ]
        return " | ".join(t for t in texts if t)


def outcome(x: ProgramState, text: str) -> dict[str, Any]:
    """How a particle stands, as JSON: {"value"}, {"died"} or {"text"}."""
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
    """The first line of what stands in a place."""
    return (span.text.strip().splitlines() or [""])[0]
