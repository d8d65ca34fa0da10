"""The workers of a run: which are ready, with the same models, and which are busy; and what they
say for the run's notes. tasks.py hands out the islands."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import field
from itertools import count
from typing import Any

from fkdsl.api.cluster.engines import RemoteEngines
from fkdsl.api.cluster.job import job_of
from fkdsl.api.cluster.messages import error_from_json, step_from_json, step_to_json, written
from fkdsl.api.cluster.workers import Workers
from fkdsl.api.drafts import DraftFacts
from fkdsl.api.lookahead import LookaheadDecision, LookaheadFacts
from fkdsl.api.request import RunRequest
from fkdsl.api.trace.lines import StepWriter
from fkdsl.api.trace.record import sources_of
from fkdsl.base.deadline import DeadlinePassed, current
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.errors import CallError, InferenceFailed
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.interface import Step
from fkdsl.inference.island_runner import IslandTask
from fkdsl.machine.places import Places
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.drafting import DraftCounts

LOOK = 0.1
"""Seconds after which the run looks at its deadline again."""
FIRST = 900.0
"""Seconds for the first worker to load its models."""
ENDS = {"over", "ended", "error", "decision"}
"""What the last message of a task has."""
NUMBERS = count(1)
"""Of the tasks of this process: workers go on from run to run."""


@dataclass
class Attempt:
    """A task in the hands of a worker. last: the last step that has come. count: how many have."""

    task: IslandTask[ProgramState]
    number: int
    last: Step[ProgramState] | None
    count: int = 0


@dataclass
class _Facts:
    """What the tasks that are over say for the notes of the run."""

    drafts: DraftFacts | None = None
    lookahead: LookaheadFacts | None = None
    late: dict[str, None] = field(default_factory=dict)

    def add(self, data: Mapping[str, Any]) -> None:
        self.late |= dict.fromkeys(data.get("late", ()))
        if (drafts := data["drafts"]) is not None:
            counts = DraftCounts(**drafts["counts"])
            if self.drafts is not None:
                counts.add(self.drafts.counts)
            self.drafts = DraftFacts(counts, tuple(drafts["names"]), drafts["weighs"])
        if (ahead := data["lookahead"]) is not None:
            before = self.lookahead
            ahead["left_out"] = tuple(ahead["left_out"])
            if before is not None:
                ahead["draws"] += before.draws
                ahead["tilted"] += before.tilted
                ahead["drift"] = max(before.drift, ahead["drift"])
                ahead["left_out"] = tuple(dict.fromkeys([*before.left_out, *ahead["left_out"]]))
            self.lookahead = LookaheadFacts(**ahead)


@dataclass
class RemoteIslands:
    """The workers of one run. decision: how it looks ahead, where that was to be decided. lost:
    workers that were lost. told: the notes of the program's learned twist."""

    request: RunRequest
    workers: Workers
    decision: LookaheadDecision | None = None
    lost: int = 0
    told: tuple[str, ...] = ()
    facts: _Facts = field(default_factory=_Facts)

    def __post_init__(self) -> None:
        engines = self.request.engines
        assert isinstance(engines, RemoteEngines)
        self.engines = engines
        self.engines.begin = self.begin
        self._marks: Mapping[str, Any] | None = None
        self._ready: set[str] = set()
        self._busy: dict[str, int] = {}
        self._places: Places | None = None

    # ------------------------------------------------------------ before the first task

    def begin(self) -> None:
        """Has the workers load the models, and waits for the first. The others are compared with it
        as they come. Raises what stands in a worker's way."""
        if self._marks is not None:
            return
        self.workers.start(job_of(self.request))
        end = time.monotonic() + FIRST
        with self.engines.progress("waiting for the first worker", None):
            while self._marks is None:
                self.verify_alive()
                if time.monotonic() > end:
                    raise InferenceFailed(
                        f"no worker of the cluster was ready after {FIRST:g} s",
                        "see what its machines do: ray status",
                    )
                for worker, raw in self.workers.messages(LOOK):
                    self.take(worker, raw)

    def verify_alive(self) -> None:
        """Raises InferenceFailed where no worker is left."""
        if not self.workers.count:
            raise InferenceFailed(
                f"every worker of the cluster is lost ({self.lost} in this run)",
                "see what its machines say: ray status; or leave --on out",
            )

    def take(self, worker: str, raw: bytes | None) -> Mapping[str, Any]:
        """Takes what a message says of its worker; gives the whole of it."""
        if raw is None:
            self._forget(worker)
            return {}
        data: Mapping[str, Any] = json.loads(raw)
        if "ready" in data:
            self._take_ready(worker, data)
        elif "task" not in data and "error" in data:
            raise error_from_json(data["error"], self.places, worker)
        elif {"over", "ended", "error", "decision"} & data.keys() and self._busy.get(
            worker
        ) == data["task"]:
            del self._busy[worker]
        return data

    def _take_ready(self, worker: str, data: Mapping[str, Any]) -> None:
        marks = data["ready"] | {"surrogates": data["surrogates"]}
        if self._marks is None:
            self._marks, self.told = marks, tuple(data["told"])
            self.engines.know(data)
        elif marks != self._marks:
            name = next(name for name in marks if marks[name] != self._marks.get(name))
            what = "surrogates" if name == "surrogates" else f"model `{marks[name]['name']}`"
            raise CallError(
                f"{worker} has another {what} than the other machines: "
                f"{_difference(self._marks.get(name), marks[name])}",
                "put the same files on every machine",
            )
        self._ready.add(worker)

    def _forget(self, worker: str) -> None:
        if worker in self._ready:
            self.lost += 1
        self._ready.discard(worker)
        self._busy.pop(worker, None)

    @property
    def places(self) -> Places:
        """Those of the program's files."""
        if self._places is None:
            program = self.request.program
            code = program.feynman_kac(engines=self.engines).code
            self._places = Places.of(code, sources_of(program))
        return self._places

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the machines."""
        if not self.lost:
            return ()
        workers = "1 worker was" if self.lost == 1 else f"{self.lost} workers were"
        return (f"{workers} lost on the way; what they had begun was computed again, with the "
                "same draws",)  # fmt: skip

    # ------------------------------------------------------------ look-ahead

    def decide(self, seed: int, particles: int) -> LookaheadDecision:
        """How the run looks ahead, as one of the workers finds. particles: of the run. Raises what
        stands in its way."""
        asked: dict[str, int] = {}
        while True:
            check_deadline()
            self.verify_alive()
            if not asked and self.free:
                number, left = next(NUMBERS), current().left
                task = {"task": number, "pilot": {"seed": seed, "particles": particles}}
                seconds = left if left < math.inf else None
                asked[self.free[0]] = number
                self._busy[self.free[0]] = number
                self.workers.submit(next(iter(asked)), written(task | {"seconds": seconds}))
            for worker, raw in self.workers.messages(LOOK):
                data = self.take(worker, raw)
                if raw is None:
                    asked.pop(worker, None)
                if data.get("task") != asked.get(worker, -1):
                    continue
                if "ended" in data:
                    raise DeadlinePassed(current().why)
                if "error" in data:
                    raise error_from_json(data["error"], self.places, worker)
                self.engines.spend(data["task"], data["calls"], data["tokens"])
                return LookaheadDecision(**data["decision"])

    # ------------------------------------------------------------ tasks

    @property
    def free(self) -> list[str]:
        """The workers that wait for a task."""
        return sorted(self._ready - self._busy.keys())

    def submit(
        self, worker: str, task: IslandTask[ProgramState], seed: int, islands: int
    ) -> Attempt:
        """Hands a task to a worker, with the time that is left for it."""
        number, left, start = next(NUMBERS), current().left, None
        if task.start is not None:
            start = step_to_json(task.start, StepWriter(self.engines, self.places))
        self._busy[worker] = number
        message = {
            "task": number, "seed": seed, "islands": islands, "island": task.island,
            "start": start, "until": task.until, "seconds": left if left < math.inf else None,
            "lookahead": self.decision.json() if self.decision is not None else None,
        }  # fmt: skip
        self.workers.submit(worker, written(message))
        return Attempt(task, number, task.start)

    def steps(self, attempt: Attempt, data: Mapping[str, Any]) -> Iterator[Step[ProgramState]]:
        """The steps of a message of a task; enters what it says that the task has cost."""
        self.engines.spend(attempt.number, data["calls"], data["tokens"])
        for step in data["steps"]:
            self.engines.learn(step["line"])
            attempt.last = step_from_json(
                step, attempt.last, self.engines, self.places, self.engines.attachments
            )
            yield attempt.last
        if "over" in data:
            self.facts.add(data["over"])
            self.engines.add(data["over"])


def _difference(one: Any, other: Any) -> str:
    """Where two marks differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return f"{other} there, {one} elsewhere"
    key = next(key for key in {**one, **other} if one.get(key) != other.get(key))
    return f"its {key} is {other.get(key)} there, {one.get(key)} elsewhere"
