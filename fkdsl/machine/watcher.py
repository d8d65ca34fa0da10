"""A particle that runs one op and writes down what the op reads, so that what it came to can be
taken for what it comes to wherever the same is there to read (columns.py).

    effect = watcher.watch(op, pc, slots, contexts)
    effect.reads            # {("slot", 3): 7, ("done", 0): False}, in order
    effect.writes           # what it comes to

Of a context only its length, its prompt's and `done` are written down. What reads more, asks a
model, charges memory, fails, kills or runs some Python of the program's LEAVES: that is for each
particle to do alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from fkdsl.inference.interface import Charge
from fkdsl.machine.particle import ActiveFrame, Op, RunningParticle
from fkdsl.machine.state import ContextState, Status
from fkdsl.values.faults import Fault, NeedRows

LEAVES = -1
"""The pc of an effect that is not shared: who comes to it goes alone."""


class Unshared(Exception):
    """An op reads or does something that no other particle's can be taken for."""


class WatchedSlots(list[Any]):
    """Slots that write down which of them are read before they are written, and what is written."""

    def begin(self, values: Sequence[Any], reads: dict[tuple[str, int], Any]) -> None:
        self[:] = values
        self.reads, self.written = reads, dict[int, Any]()

    def __getitem__(self, i: Any) -> Any:
        value = list.__getitem__(self, i)
        if type(i) is not int or i < 0:
            raise Unshared
        if i not in self.written:
            self.reads["slot", i] = value
        return value

    def __setitem__(self, i: Any, value: Any) -> None:
        list.__setitem__(self, i, value)
        if type(i) is int:
            self.written[i] = value

    def __iter__(self) -> NoReturn:
        raise Unshared


class WatchedContext:
    """A context of which nothing but its length, its prompt's and `done` may be read."""

    __slots__ = ("_c", "_j", "_reads")

    def __init__(self, c: ContextState, j: int, reads: dict[tuple[str, int], Any]) -> None:
        self._c, self._j, self._reads = c, j, reads

    @property
    def done(self) -> bool:
        self._reads["done", self._j] = self._c.done
        return self._c.done

    @property
    def start(self) -> int:
        self._reads["start", self._j] = self._c.start
        return self._c.start

    @property
    def node(self) -> WatchedContext:
        return self

    @property
    def length(self) -> int:
        """Of its node."""
        self._reads["length", self._j] = self._c.node.length
        return self._c.node.length

    def __getattr__(self, name: str) -> NoReturn:
        raise Unshared


class WatchedContexts:
    """A table of contexts that are watched."""

    def __init__(self, contexts: Sequence[ContextState], reads: dict[tuple[str, int], Any]) -> None:
        self._contexts, self._reads = contexts, reads

    def __getitem__(self, j: int) -> WatchedContext:
        return WatchedContext(self._contexts[j], j, self._reads)

    def __getattr__(self, name: str) -> NoReturn:
        raise Unshared

    def __iter__(self) -> NoReturn:
        raise Unshared


class NoEngines:
    """Stands where engines stand: who asks a model is not shared."""

    def __getitem__(self, name: str) -> NoReturn:
        raise Unshared

    def __getattr__(self, name: str) -> NoReturn:
        raise Unshared


class Watcher(RunningParticle):
    """A particle that runs one op, and knows what it reads."""

    def watch(self, op: Op, pc: int, slots: Sequence[Any], c: Sequence[ContextState]) -> Effect:
        """What the op comes to."""
        reads: dict[tuple[str, int], Any] = {}
        watched = WatchedSlots()
        watched.begin(slots, reads)
        self.contexts: Any = WatchedContexts(c, reads)
        frame = ActiveFrame("", pc, watched, 0, self)
        self.frames, self.log_G, self.charges = [frame], 0.0, []
        self.fuel, contexts, memory = self.limits.instructions, self.contexts, self.memory
        memory.op = before = memory.now
        try:
            op.run(self, frame)
        except (Unshared, Fault, NeedRows, MemoryError):
            frame.pc = LEAVES
        self.frames = []
        changed = self.contexts is not contexts or memory.now != before
        if changed or self.status is not Status.RUNNING:
            frame.pc, self.status = LEAVES, Status.RUNNING
        burnt = self.limits.instructions - self.fuel
        charges = tuple(self.charges)
        return Effect(frame.pc, tuple(watched.written.items()), self.log_G, charges, burnt, reads)

    def charge(self, bytes: int) -> NoReturn:
        raise Unshared

    def run_own_python(self) -> NoReturn:
        raise Unshared


class Effect:
    """What an op comes to. pc: where the frame stands then, or LEAVES; writes: slots and their
    values; log_G:
    what it weighs (nats), and its charges; burnt: the instructions of comprehensions; reads: what
    it has read, in order."""

    __slots__ = ("alike", "burnt", "charges", "log_G", "pc", "reads", "writes")

    def __init__(
        self,
        pc: int,
        writes: tuple[tuple[int, Any], ...],
        log_G: float,
        charges: tuple[Charge, ...],
        burnt: int,
        reads: dict[tuple[str, int], Any],
    ) -> None:
        self.pc, self.writes, self.log_G, self.charges = pc, writes, log_G, charges
        self.burnt, self.reads = burnt, reads
        self.alike = pc, burnt, tuple([slot for slot, _ in writes])
        """Particles with effects alike in this stay together."""
