"""Ops over many particles at once: an op is run once for all particles that give it the same to
read.

Particles that stand at one op differ little in what it reads: whether a context is done, how many
tokens it has, a bound. An op is a function of what it reads, so it is run for one particle, on a
`Watcher` that writes down the reads, and what it came to (`Effect`) is what it comes to for all
others that hold the same, in this step and in later ones.

    shared = SharedOps(code, limits)
    shared.run(columns)         # -> [(columns, positions)]: those that have come to their next draw

Laws. What columns come to is what `run_to_draw` comes to for each particle alone, to the last bit.
A particle is left out, to be run alone from the beginning, where an op is none of `SHARED`, asks a
model, changes or reads more of a context than its length and whether it is done, charges memory,
fails, kills, or runs some Python of the program's.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import itemgetter
from typing import Any

from fkdsl.base.deadline import check
from fkdsl.base.random import Undrawn
from fkdsl.base.value_keys import state_key
from fkdsl.inference.interface import Charge
from fkdsl.machine.ops import (
    AppendOp,
    BranchOp,
    ConditionOp,
    DrawOp,
    EvaluateOp,
    FactorOp,
    JumpOp,
    NextOp,
    SetOp,
    UnpackOp,
)
from fkdsl.machine.particle import Executable, Op
from fkdsl.machine.state import ContextState, Unset
from fkdsl.machine.watcher import LEAVES, Effect, NoEngines, Watcher
from fkdsl.values.faults import Limits
from fkdsl.values.token_distributions import CONTEXT_FREE

SHARED = (
    AppendOp,
    BranchOp,
    ConditionOp,
    EvaluateOp,
    FactorOp,
    JumpOp,
    NextOp,
    SetOp,
    UnpackOp,
)
"""The ops that may be run for many particles at once."""
EFFECTS = 1024
"""Effects of one op that are kept."""
TRIED = 256
"""Particles after which it is seen whether an op is worth sharing."""
REPLACED = CONTEXT_FREE | {Unset}
"""Types of values that no context is reached by."""
PLAIN = frozenset((int, str, type(None)))
"""Types of values that are keys of their own."""


# -------------------------------------------------------------------- columns


class Columns:
    """Particles that stand at op `pc` of one function, in columns (n,): their slots and tables of
    contexts as they were at the beginning of the step; the slots that have been written since; the
    states of the context number `drawn` now; log G (nats) and charges. fuel: as in
    RunningParticle."""

    __slots__ = (
        "after",
        "at",
        "charges",
        "contexts",
        "drawn",
        "fuel",
        "log_G",
        "pc",
        "slots",
        "written",
    )

    def __init__(
        self,
        at: list[int],
        pc: int,
        slots: list[tuple[Any, ...]],
        contexts: list[tuple[ContextState, ...]],
        after: list[ContextState],
        drawn: int,
        written: dict[int, list[Any]],
        log_G: list[float],
        charges: list[tuple[Charge, ...]],
        fuel: int,
    ) -> None:
        """at: numbers of the particles, for the caller."""
        self.at, self.pc, self.slots, self.contexts, self.after = at, pc, slots, contexts, after
        self.drawn, self.written, self.log_G, self.charges = drawn, written, log_G, charges
        self.fuel = fuel

    def some(self, n: list[int]) -> Columns:
        """Those at some places, in that order."""
        if n == [*range(len(self.at))]:
            return self
        get = itemgetter(*n) if len(n) > 1 else None

        def of(column: list[Any]) -> list[Any]:
            return list(get(column)) if get is not None else [column[n[0]]]

        written = {slot: of(column) for slot, column in self.written.items()}
        at, slots, contexts = of(self.at), of(self.slots), of(self.contexts)
        after, log_G, charges = of(self.after), of(self.log_G), of(self.charges)
        return Columns(
            at, self.pc, slots, contexts, after, self.drawn, written, log_G, charges, self.fuel
        )

    def column(self, what: str, i: int) -> list[Any]:
        """What all of them hold: of slot i, or of context i."""
        if what == "slot":
            return self.written.get(i) or [slots[i] for slots in self.slots]
        states = self.after if i == self.drawn else [table[i] for table in self.contexts]
        if what == "done":
            return [c.done for c in states]
        if what == "start":
            return [c.start for c in states]
        return [c.node.length for c in states]

    def one(self, n: int) -> tuple[list[Any], list[ContextState]]:
        """The slots and the table of contexts of one of them, now."""
        slots, contexts = list(self.slots[n]), list(self.contexts[n])
        for i, column in self.written.items():
            slots[i] = column[n]
        contexts[self.drawn] = self.after[n]
        return slots, contexts

    def slots_now(self) -> list[tuple[Any, ...] | None]:
        """The slots of each now; None where what was written has contexts in it, or replaced what
        had, so that some may have become unreachable."""
        out: list[tuple[Any, ...] | None] = []
        columns = list(self.written.items())
        for n, slots in enumerate(self.slots):
            now = list(slots)
            for i, column in columns:
                value, was = column[n], now[i]
                if type(value) not in CONTEXT_FREE or type(was) not in REPLACED:
                    out.append(None)
                    break
                now[i] = value
            else:
                out.append(tuple(now))
        return out

    def take(self, effects: list[tuple[list[int], Effect]]) -> Columns:
        """Those at some places after they have run the op that came to these effects, all alike."""
        some = self.some([n for ns, _ in effects for n in ns])
        (_, first), *others = effects
        some.pc, some.fuel = first.pc, self.fuel - first.burnt
        for k, (slot, value) in enumerate(first.writes):
            some.written[slot] = (
                [effect.writes[k][1] for ns, effect in effects for _ in ns]
                if others
                else [value] * len(some.at)
            )
        if any(effect.log_G != 0.0 for _, effect in effects):
            each = [effect for ns, effect in effects for _ in ns]
            some.log_G = [
                log_G if effect.log_G == 0.0 else log_G + effect.log_G
                for log_G, effect in zip(some.log_G, each, strict=True)
            ]
            charges = zip(some.charges, each, strict=True)
            some.charges = [before + effect.charges for before, effect in charges]
        return some


# ----------------------------------------------------------------------- runs


class Read:
    """A read of an op: what of a slot or a context, and by the key of its value what the op goes on
    with, a further read or its Effect. kept: values that have no key but their id()."""

    __slots__ = ("after", "i", "kept", "what")

    def __init__(self, what: str, i: int) -> None:
        self.what, self.i = what, i
        self.after: dict[Hashable, Read | Effect] = {}
        self.kept: list[Any] = []


class SharedOp:
    """An op, and what it came to by what it has read. It is shared as long as most particles that
    come to it find what another came to. kept: how many effects it has."""

    __slots__ = ("came", "is_shared", "kept", "op", "root", "run")

    def __init__(self, op: Op) -> None:
        self.op, self.is_shared = op, isinstance(op, SHARED)
        self.root: Read | Effect | None = None
        self.came = self.run = self.kept = 0

    def learn(self, effect: Effect) -> None:
        """Remembers what the op came to."""
        self.run += 1
        self.kept += 1
        if self.kept > EFFECTS:
            self.root, self.kept = None, 1
        before: Read | None = None
        key: Hashable = None
        for (what, i), value in effect.reads.items():
            node = self.root if before is None else before.after.get(key)
            if node is None:
                node = Read(what, i)
                self._put(before, key, node)
            if not isinstance(node, Read) or (node.what, node.i) != (what, i):
                self.is_shared = False  # it reads otherwise than it did: it is no function
                return
            before, key = node, _key(value)
            if type(key) is tuple and len(key) == 1:
                node.kept.append(value)
        self._put(before, key, effect)
        effect.reads = {}  # their values are not held for longer than they are keys

    def _put(self, before: Read | None, key: Hashable, node: Read | Effect) -> None:
        if before is None:
            self.root = node
        else:
            before.after[key] = node

    def look(self) -> None:
        """Gives up an op of which each particle reads something else."""
        if self.came > TRIED and self.run * 2 > self.came:
            self.is_shared = False


def _key(value: Any) -> Hashable:
    """Equal for values that no op tells apart."""
    kind = type(value)
    if kind in PLAIN:
        return value  # type: ignore[no-any-return]
    return state_key(value) if kind is bool or kind is float else (id(value),)


class SharedOps:
    """The ops of a program, as far as they are shared."""

    def __init__(self, code: Executable, limits: Limits) -> None:
        self.code, self.limits = code, limits
        self._ops: dict[str, list[SharedOp]] = {}

    def leads_on(self, function: str, pc: int) -> bool:
        """Whether it is worth running particles that stand at this op together."""
        ops = self._ops.get(function)
        if ops is None:
            ops = self._ops[function] = [SharedOp(op) for op in self.code.functions[function].ops]
        return ops[pc].is_shared or type(ops[pc].op) is DrawOp

    def run(self, function: str, columns: Columns) -> list[Columns]:
        """Runs particles of one function up to their next draws; those that have come there. The
        others are to be run alone from the beginning."""
        there: list[Columns] = []
        if not self.leads_on(function, columns.pc):
            return there
        ops, going, watcher = self._ops[function], [columns], None
        while going:
            some = going.pop()
            shared = ops[some.pc]
            if type(shared.op) is DrawOp:
                there.append(some)
                continue
            if not shared.is_shared or some.fuel <= 0:
                continue
            if watcher is None:
                watcher = self._watcher()
            check()
            some.fuel -= 1
            going.extend(self._together(shared, some, watcher))
        return there

    def _watcher(self) -> Watcher:
        nothing: Any = NoEngines()
        return Watcher(self.code, nothing, Undrawn(), self.limits)

    def _together(self, shared: SharedOp, columns: Columns, watcher: Watcher) -> list[Columns]:
        """What an op brings some particles to; without those that leave."""
        n = len(columns.at)
        shared.came += n
        held: dict[tuple[str, int], list[Any]] = {}
        found: dict[Hashable, list[tuple[list[int], Effect]]] = {}
        waiting: list[tuple[Read | Effect | None, list[int]]] = [(shared.root, list(range(n)))]
        while waiting:
            node, ns = waiting.pop()
            if node is None:
                shared.learn(watcher.watch(shared.op, columns.pc, *columns.one(ns[0])))
                if shared.is_shared:
                    waiting.append((shared.root, ns))
            elif isinstance(node, Effect):
                if node.pc == LEAVES:
                    shared.run += len(ns)
                elif columns.fuel >= node.burnt:
                    found.setdefault(node.alike, []).append((ns, node))
            else:
                read = node.what, node.i
                if read not in held:
                    held[read] = columns.column(*read)
                column = held[read]
                for group in alike(column, ns):
                    waiting.append((node.after.get(_key(column[group[0]])), group))
        out = [columns.take(effects) for effects in found.values()]
        shared.look()
        return out


def alike(column: list[Any], ns: list[int]) -> list[list[int]]:
    """Some places of a column (n,), those of one object together."""
    if len({id(column[n]) for n in ns}) == 1:
        return [ns]
    places: dict[int, list[int]] = {}
    for n in ns:
        places.setdefault(id(column[n]), []).append(n)
    return list(places.values())
