"""A run's islands, computed by workers: tasks go out, steps come in, and each island's steps are
those that this process would have computed (fkdsl.inference.island_runner).

A worker that is lost costs the time of its island: the task goes to another worker, which draws the
same, and the steps that were given already are left out. A task that loses its worker again and
again ends the run, since it is then likely to be the reason. No other error is tried again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress

from fkdsl.api.cluster.islands import LOOK, Attempt, RemoteIslands
from fkdsl.api.cluster.messages import error_from_json
from fkdsl.base.deadline import DeadlinePassed, current
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.errors import FkdslError, InferenceFailed
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.island_runner import IslandSteps, IslandTask
from fkdsl.machine.state import ProgramState

GRACE = 0.5
"""Seconds that workers have to send their last steps when the time is over."""
MOST_LOSSES = 3
"""Workers that one task may lose."""
OUT_OF_MEMORY = (
    "it may have run out of memory: fewer particles, or fewer workers a machine, as by --on ray"
)


@dataclass(frozen=True)
class RemoteRunner:
    """An IslandRunner: the islands of one seed, of so many, by the workers of a run."""

    remote: RemoteIslands
    seed: int
    islands: int

    def run(self, tasks: Sequence[IslandTask[ProgramState]]) -> IslandSteps[ProgramState]:
        todo = []
        for task in tasks:
            if task.start is not None and not task.start.unfinished:
                yield task.island, None
            else:
                todo.append(task)
        if todo:
            self.remote.begin()
            yield from _Tasks(self, todo).run()


class _Tasks:
    """Some tasks on their way. given: by island, how many of its steps have been given. failed: the
    errors of islands."""

    def __init__(self, runner: RemoteRunner, tasks: Sequence[IslandTask[ProgramState]]) -> None:
        self.runner, self.remote, self.workers = runner, runner.remote, runner.remote.workers
        self.todo = deque(tasks)
        self.running: dict[str, Attempt] = {}
        self.given, self.losses = Counter[int](), Counter[int]()
        self.failed: dict[int, FkdslError] = {}

    def run(self) -> IslandSteps[ProgramState]:
        """As IslandRunner.run."""
        try:
            while self.todo or self.running:
                self._raise_first()
                check_deadline()
                self.remote.verify_alive()
                self._submit()
                for worker, raw in self.workers.messages(LOOK):
                    yield from self._take(worker, raw)
            self._raise_first()
        except DeadlinePassed:
            yield from self._last_steps()
            raise
        finally:
            if self.running:
                self.workers.stop()

    def _submit(self) -> None:
        """Hands out tasks for as long as there are free workers."""
        for worker in self.remote.free[: len(self.todo)]:
            task = self.todo.popleft()
            self.running[worker] = self.remote.submit(
                worker, task, self.runner.seed, self.runner.islands
            )

    def _take(self, worker: str, raw: bytes | None) -> IslandSteps[ProgramState]:
        """Takes a message of a worker, None where it is lost. Raises DeadlinePassed where the
        worker found that time is over."""
        attempt = self.running.get(worker)
        data = self.remote.take(worker, raw)
        if attempt is None or (raw is not None and data.get("task") != attempt.number):
            return
        island = attempt.task.island
        if raw is None or {"over", "error", "ended"} & data.keys():
            del self.running[worker]
        if raw is None:
            self._count_loss(island, worker)
            self.todo.appendleft(attempt.task)
        elif "ended" in data:
            raise DeadlinePassed(current().why)
        elif "error" in data:
            self.failed[island] = error_from_json(data["error"], self.remote.places, worker)
            self.todo = deque(task for task in self.todo if task.island < island)
        else:
            for step in self.remote.steps(attempt, data):
                attempt.count += 1
                if attempt.count > self.given[island]:
                    self.given[island] += 1
                    yield island, step
            if "over" in data:
                yield island, None

    def _last_steps(self) -> IslandSteps[ProgramState]:
        """What workers send when their time is over: the steps up to then."""
        end = time.monotonic() + GRACE
        self.workers.stop()
        while self.running and time.monotonic() < end:
            for worker, raw in self.workers.messages(LOOK):
                with suppress(DeadlinePassed):
                    yield from self._take(worker, raw)

    def _raise_first(self) -> None:
        """Raises the error of the first island that failed, which is the one that a single process
        comes to: once the islands before it have ended."""
        first = min(self.failed, default=None)
        others = [*self.todo, *(attempt.task for attempt in self.running.values())]
        if first is not None and not any(task.island < first for task in others):
            raise self.failed[first]

    def _count_loss(self, island: int, worker: str) -> None:
        self.losses[island] += 1
        if self.losses[island] > MOST_LOSSES:
            raise InferenceFailed(
                f"island {island} has lost its worker {self.losses[island]} times, the last of "
                f"them {worker}",
                OUT_OF_MEMORY,
            )
