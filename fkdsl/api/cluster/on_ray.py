"""Workers that are actors on a Ray cluster: one for each GPU, or each machine that has none, or
each so many processor cores. An actor keeps its models loaded as long as this process lives, and
ends with it.

What Ray does here: it places the actors, carries the job to each machine once (its object store),
and the messages back as they come; it says when an actor has died. Another is then started in its
place, as long as its machine is there.

Whoever can reach a Ray cluster can run any code on it. That is Ray's own design: keep it in a
private network, or switch its tokens on (docs/scale.md).
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from fkdsl.api.cluster.ray_place import RayPlace
from fkdsl.api.cluster.worker import IslandWorker
from fkdsl.api.cluster.workers import Message
from fkdsl.base.errors import CallError, InternalError
from fkdsl.base.quick_dataclass import dataclass

CONTROL = "control"
"""The group of the method that ends another one."""
REACHED = 10.0
"""Seconds for the first machine of a cluster to answer."""
PLACED = 60.0
"""Seconds for the first worker's process to start: not one does where other work has all cores."""
MOST_FAILURES = 3
"""Actors that may die in a place before they are ready."""
BETWEEN_STARTS = 1.0
"""Seconds between two looks at what machines there are, while a worker is missing."""


class _Actor:
    """What runs in the actor's process. Its two groups of threads: tasks, and the word to stop."""

    def __init__(self) -> None:
        self._worker = IslandWorker()

    def make_ready(self, job: bytes) -> bytes:
        return self._worker.make_ready(job)

    def run(self, task: bytes) -> Iterator[bytes]:
        yield from self._worker.run(task)

    def stop(self) -> None:
        self._worker.stop()


@dataclass
class _Slot:
    """A place for one worker: a node, and what it takes of it. name: of the worker that is there
    now. actor: None while there is none. pending: the answer that its actor owes: an ObjectRef for
    make_ready, a generator of them for a task. started: the answer that says its process runs.
    failures: actors that have died here one after the other before they were ready."""

    node: str
    host: str
    cpus: float
    gpus: float
    name: str = ""
    actor: Any = None
    pending: Any = None
    started: Any = None
    failures: int = 0


class RayWorkers:
    """Workers on a Ray cluster (fkdsl.api.cluster.workers.Workers)."""

    def __init__(self, place: RayPlace) -> None:
        self.place = place
        self._slots: list[_Slot] = []
        self._job: Any = None
        self._numbers = itertools.count(1)
        self._looked = 0.0
        self._waits_since: float | None = None  # for the first process to start

    def start(self, job: bytes) -> None:
        ray = _ray()
        if not ray.is_initialized():
            self._connect(ray)
        elif _connected and self.place.address not in (None, *_connected):
            raise CallError(
                f"this process computes on {_connected[-1]} already, and it can on one cluster "
                "alone",
                "use that one, or another process",
            )
        self._job = ray.put(job)
        # Actors of a session of Ray that has ended are on nodes that this one has not.
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        self._slots = [slot for slot in self._slots if slot.node in alive]
        self._fill()
        if not self._slots:
            raise CallError(
                "no machine of the Ray cluster has a processor core or a GPU to give",
                "see its machines: ray status",
            )
        for slot in self._slots:
            if slot.actor is not None:
                slot.pending = slot.actor.make_ready.remote(self._job)
        self._waits_since = time.monotonic()

    def submit(self, worker: str, task: bytes) -> None:
        slot = next(slot for slot in self._slots if slot.name == worker)
        slot.pending = slot.actor.run.options(num_returns="streaming").remote(task)

    def messages(self, seconds: float) -> Sequence[Message]:
        ray = _ray()
        pending = {id(slot.pending): slot for slot in self._slots if slot.pending is not None}
        if not pending:
            time.sleep(seconds)
            self._refill()
            return []
        waiting = [slot.pending for slot in pending.values()]
        ready, _ = ray.wait(waiting, num_returns=1, timeout=seconds)
        if len(waiting) > 1:  # and whatever else has come meanwhile
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        found = [message for ref in ready for message in self._next(ray, pending[id(ref)])]
        self._verify_placed(ray)
        self._refill()
        return found

    @property
    def count(self) -> int:
        return sum(slot.actor is not None for slot in self._slots)

    def stop(self) -> None:
        for slot in self._slots:
            if slot.actor is not None and slot.pending is not None:
                slot.actor.stop.options(concurrency_group=CONTROL).remote()

    def close(self) -> None:
        """Ends the workers; `start` makes others."""
        for slot in self._slots:
            if slot.actor is not None:
                with suppress(Exception):  # its session of Ray may have ended, and it with that
                    _ray().kill(slot.actor)
        self._slots = []

    # ------------------------------------------------------------ the cluster

    def _verify_placed(self, ray: Any) -> None:
        """Raises CallError where no worker's process has started for a while."""
        if self._waits_since is None:
            return
        waiting = [slot.started for slot in self._slots if slot.started is not None]
        if not waiting or ray.wait(waiting, num_returns=1, timeout=0)[0]:
            self._waits_since = None
        elif time.monotonic() - self._waits_since > PLACED:
            self.close()
            raise CallError(
                f"no worker has started on the Ray cluster in {PLACED:g} s: other work has its "
                "cores",
                "see what has them: ray status; or ask for fewer: --on ray,cpus=1",
            )

    def _connect(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        address = self.place.address or os.environ.get("RAY_ADDRESS")
        _keep_off_stdout()
        if address:
            _verify_reachable(address)
        _connected[:] = [address or "this machine"]
        try:
            ray.init(address=address or "auto", **quiet)
            return
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            if address:
                raise _unreachable(address, error) from None
        ray.init(address="local", include_dashboard=False, **quiet)  # this machine alone

    def _places(self, ray: Any) -> list[_Slot]:
        """The slots that the machines of the cluster have."""
        slots = []
        for node in ray.nodes():
            if not node["Alive"]:
                continue
            has = node["Resources"]
            cpus, gpus = float(has.get("CPU", 0.0)), int(has.get("GPU", 0))
            node_id, host = node["NodeID"], node["NodeManagerAddress"]
            if self.place.cpus is not None:
                workers, each = int(cpus // self.place.cpus), (float(self.place.cpus), 0.0)
            elif gpus:
                workers, each = gpus, (max(0.0, min(1.0, cpus / gpus)), 1.0)
            else:
                workers, each = int(cpus >= 1.0), (cpus, 0.0)
            slots += [_Slot(node_id, host, *each) for _ in range(workers)]
        return slots

    def _fill(self) -> None:
        """Starts an actor in every slot that has none, on machines that are there now."""
        ray = _ray()
        places = self._places(ray)
        alive = {slot.node for slot in places}
        self._slots = [slot for slot in self._slots if slot.node in alive or slot.actor is not None]
        for node in alive:
            there = [slot for slot in self._slots if slot.node == node]
            of_node = [slot for slot in places if slot.node == node]
            self._slots += of_node[len(there) :]
        for slot in self._slots:
            if slot.actor is None and slot.failures < MOST_FAILURES:
                self._make(ray, slot)

    def _refill(self) -> None:
        """Looks now and then for machines and slots without a worker."""
        now = time.monotonic()
        if now - self._looked > BETWEEN_STARTS and any(s.actor is None for s in self._slots):
            self._looked = now
            before = {id(slot.actor) for slot in self._slots}
            self._fill()
            for slot in self._slots:
                if id(slot.actor) not in before and self._job is not None:
                    slot.pending = slot.actor.make_ready.remote(self._job)

    def _make(self, ray: Any, slot: _Slot) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # The other methods run one at a time.
        actor = ray.remote(concurrency_groups={CONTROL: 1})(_Actor).options(
            num_cpus=slot.cpus,
            num_gpus=slot.gpus,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(slot.node, soft=False),
        )
        slot.name = f"worker {next(self._numbers)} at {slot.host}"
        slot.actor = actor.remote()
        slot.started = slot.actor.__ray_ready__.remote()

    def _next(self, ray: Any, slot: _Slot) -> list[Message]:
        """The message that a slot's answer has ready."""
        from ray.exceptions import RayError, RayTaskError

        name, answer = slot.name, slot.pending
        try:
            if isinstance(answer, ray.ObjectRef):
                slot.pending = None
                ready = Message(name, ray.get(answer))
                slot.failures = 0
                return [ready]
            return [Message(name, ray.get(next(answer)))]
        except StopIteration:
            slot.pending = None
            return []
        except RayTaskError as error:  # a bug of ours: a worker sends its errors as messages
            raise InternalError(f"{name}: {_last_line(error)}") from error
        except RayError as error:  # the actor, its process or its machine has gone
            if isinstance(answer, ray.ObjectRef):
                slot.failures += 1
            slot.actor = slot.pending = slot.started = None
            if all(slot.failures >= MOST_FAILURES for slot in self._slots):
                raise CallError(
                    f"no worker lives until it is ready: {_last_line(error)}",
                    "is the same version of fkdsl installed on every machine?",
                ) from None
            return [Message(name, None)]


_connected: list[str] = []
"""The cluster that this process is connected to, where it is by us."""


def _ray() -> Any:
    import ray

    return ray


def _keep_off_stdout() -> None:
    """Ray prints what its machines report, such as a worker's death, on stdout, where the answer
    goes, whatever `log_to_driver` says (2.60). It has a switch for it, which is its own."""
    with suppress(ImportError):
        import ray._private.worker as own

        own._worker_logs_enabled = False


def _verify_reachable(address: str) -> None:
    """Raises CallError where nobody listens at an address: Ray itself tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from None


def _unreachable(address: str, error: Exception) -> CallError:
    return CallError(
        f"no Ray cluster answers at {address}: {_last_line(error)}",
        "start one: ray start --head; then --on ray=ADDRESS, as it prints it",
    )


def _last_line(error: Exception) -> str:
    """What an error says in the end, where Ray has the traceback before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
