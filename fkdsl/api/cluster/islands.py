"""A run's islands, computed by workers: tasks go out, steps come in, and each island's steps are
those that this process would have computed (fkdsl.inference.island_runner).

    remote = RemoteIslands(request, workers)
    run(model, ..., runner=remote.runner)            # fkdsl.inference.run

A worker that is lost costs the time of its island: the task goes to another worker, which draws the
same, and the steps that were given already are left out. A task that loses its worker again and
again ends the run, since it is then likely to be the reason. No other error is tried again.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from fkdsl.api.cluster.engines import RemoteEngines
from fkdsl.api.cluster.job import job_of
from fkdsl.api.cluster.messages import error_from_json, step_from_json, step_to_json, written
from fkdsl.api.cluster.workers import Workers
from fkdsl.api.drafts import DraftFacts
from fkdsl.api.lookahead import LookaheadFacts
from fkdsl.api.request import RunRequest
from fkdsl.api.trace.lines import StepWriter
from fkdsl.api.trace.record import sources_of
from fkdsl.base.deadline import DeadlinePassed, current
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.errors import CallError, InferenceFailed
from fkdsl.inference.interface import Step
from fkdsl.inference.island_runner import IslandRunner, IslandSteps, IslandTask
from fkdsl.machine.places import Places
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.drafting import DraftCounts

LOOK = 0.1
"""Seconds after which the run looks at its deadline again."""
FIRST = 900.0
"""Seconds for the first worker to load its models."""
MOST_LOSSES = 3
"""Workers that one task may lose."""
OUT_OF_MEMORY = (
    "it may have run out of memory: fewer particles, or fewer workers a machine, as by --on ray"
)

NUMBERS = count(1)
"""Of the tasks of this process: workers go on from run to run."""


@dataclass
class _Attempt:
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

    def add(self, data: Mapping[str, Any]) -> None:
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
    """The workers of one run. lost: workers that were lost. told: the notes of the program's
    learned twist."""

    request: RunRequest
    workers: Workers
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
        while self._marks is None:
            self._verify_alive()
            if time.monotonic() > end:
                raise InferenceFailed(
                    f"no worker of the cluster was ready after {FIRST:g} s",
                    "see what its machines do: ray status",
                )
            for worker, raw in self.workers.messages(LOOK):
                self._take_other(worker, raw)

    def _verify_alive(self) -> None:
        if not self.workers.count:
            raise InferenceFailed(
                f"every worker of the cluster is lost ({self.lost} in this run)",
                "see what its machines say: ray status; or leave --on out",
            )

    def _take_other(self, worker: str, raw: bytes | None) -> Mapping[str, Any]:
        """Takes a message that is of no task in progress; gives what it says."""
        if raw is None:
            self._forget(worker)
            return {}
        data: Mapping[str, Any] = json.loads(raw)
        if "ready" in data:
            self._take_ready(worker, data)
        elif "task" not in data and "error" in data:
            raise error_from_json(data["error"], self.places, worker)
        elif {"over", "ended", "error"} & data.keys() and self._busy.get(worker) == data["task"]:
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

    # ------------------------------------------------------------ tasks

    def runner(self, seed: int, islands: int) -> IslandRunner[ProgramState]:
        """What computes the islands of a seed, of so many."""
        return _Runner(self, seed, islands)

    def run(
        self, seed: int, islands: int, tasks: Sequence[IslandTask[ProgramState]]
    ) -> IslandSteps[ProgramState]:
        """As IslandRunner.run."""
        todo: deque[IslandTask[ProgramState]] = deque()
        for task in tasks:
            if task.start is not None and not task.start.unfinished:
                yield task.island, None
            else:
                todo.append(task)
        if todo:
            self.begin()
        running: dict[str, _Attempt] = {}
        given, losses = Counter[int](), Counter[int]()
        try:
            while todo or running:
                check_deadline()
                self._verify_alive()
                for worker in sorted(self._ready - self._busy.keys())[: len(todo)]:
                    running[worker] = self._submit(worker, todo.popleft(), seed, islands)
                for worker, raw in self.workers.messages(LOOK):
                    attempt = running.get(worker)
                    data = self._take_other(worker, raw)
                    if raw is None and attempt is not None:
                        del running[worker]
                        self._count_loss(attempt.task.island, worker, losses)
                        todo.appendleft(attempt.task)
                    elif attempt is not None and data.get("task") == attempt.number:
                        yield from self._taken(attempt, data, given, worker)
                        if "over" in data:
                            del running[worker]
                            yield attempt.task.island, None
        finally:
            if running:
                self.workers.stop()

    def _submit(
        self, worker: str, task: IslandTask[ProgramState], seed: int, islands: int
    ) -> _Attempt:
        number = next(NUMBERS)
        left = current().left
        start = None
        if task.start is not None:
            start = step_to_json(task.start, StepWriter(self.engines, self.places))
        self._busy[worker] = number
        self.workers.submit(
            worker,
            written(
                {
                    "task": number,
                    "seed": seed,
                    "islands": islands,
                    "island": task.island,
                    "start": start,
                    "until": task.until,
                    "seconds": left if left < 1e9 else None,
                }
            ),
        )
        return _Attempt(task, number, task.start)

    def _taken(
        self, attempt: _Attempt, data: Mapping[str, Any], given: Counter[int], worker: str
    ) -> IslandSteps[ProgramState]:
        """Gives the steps of a message that were not given before. Raises what it says."""
        if "error" in data:
            raise error_from_json(data["error"], self.places, worker)
        if "ended" in data:
            raise DeadlinePassed(current().why)
        island = attempt.task.island
        self.engines.spend(attempt.number, data["calls"], data["tokens"])
        for step in data["steps"]:
            self.engines.learn(step["line"])
            attempt.last = step_from_json(step, attempt.last, self.engines, self.places)
            attempt.count += 1
            if attempt.count > given[island]:
                given[island] += 1
                yield island, attempt.last
        if "over" in data:
            self.facts.add(data["over"])
            self.engines.add(data["over"])

    def _count_loss(self, island: int, worker: str, losses: Counter[int]) -> None:
        losses[island] += 1
        if losses[island] > MOST_LOSSES:
            raise InferenceFailed(
                f"island {island} has lost its worker {losses[island]} times, the last of them "
                f"{worker}",
                OUT_OF_MEMORY,
            )


@dataclass(frozen=True)
class _Runner:
    """The islands of one seed."""

    remote: RemoteIslands
    seed: int
    islands: int

    def run(self, tasks: Sequence[IslandTask[ProgramState]]) -> IslandSteps[ProgramState]:
        yield from self.remote.run(self.seed, self.islands, tasks)


def _difference(one: Any, other: Any) -> str:
    """Where two marks differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return f"{other} there, {one} elsewhere"
    key = next(key for key in {**one, **other} if one.get(key) != other.get(key))
    return f"its {key} is {other.get(key)} there, {one.get(key)} elsewhere"
