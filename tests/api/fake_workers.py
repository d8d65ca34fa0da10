"""Workers in this process, which a test can lose, slow down or change."""

import contextvars
import random
from collections import deque

from fkdsl.api.cluster.worker import IslandWorker
from fkdsl.api.cluster.workers import Message


class FakeWorkers:
    """`Workers` of so many IslandWorkers. Their messages come in an order that the seed says.

    losses: (number of the worker, messages of a task after which it is lost); a new worker then
    comes in its place, if `replaces`.
    """

    def __init__(self, count, seed=0, losses=(), replaces=True):
        self.rng = random.Random(seed)
        self.losses, self.replaces = dict(losses), replaces
        self.made, self.job = 0, None
        self.alive, self.streams, self.ready = {}, {}, deque()
        self.tasks, self.stops = [], 0
        for _ in range(count):
            self.add()

    def add(self):
        self.made += 1
        self.alive[f"worker {self.made}"] = IslandWorker()
        if self.job is not None:
            self.ready.append(f"worker {self.made}")

    def start(self, job):
        self.job = job
        self.ready.extend(self.alive)

    def submit(self, worker, task):
        assert worker not in self.streams, "one task at a time"
        self.tasks.append(worker)
        number = int(worker.split()[1])
        # A worker has a deadline of its own, as in a process of its own.
        context = contextvars.Context()
        self.streams[worker] = [self.alive[worker].run(task), self.losses.get(number), context]

    def messages(self, seconds):
        if self.ready:
            worker = self.ready.popleft()
            return [Message(worker, self.alive[worker].make_ready(self.job))]
        if not self.streams:
            return []
        worker = self.rng.choice(sorted(self.streams))
        stream, left, context = self.streams[worker]
        if left == 0:
            context.run(stream.close)
            del self.streams[worker], self.alive[worker]
            if self.replaces:
                self.add()
            return [Message(worker, None)]
        if left is not None:
            self.streams[worker][1] -= 1
        data = context.run(next, stream)
        if any(last in data for last in (b'"over"', b'"ended"', b'"error"', b'"decision"')):
            assert context.run(next, stream, None) is None
            del self.streams[worker]
        return [Message(worker, data)]

    @property
    def count(self):
        return len(self.alive)

    def stop(self):
        self.stops += 1
        for worker, (stream, _, context) in self.streams.items():
            self.alive[worker].stop()
            context.run(list, stream)
        self.streams.clear()

    def close(self):
        self.alive.clear()
