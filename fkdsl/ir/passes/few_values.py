"""How many different values a variable can have over all particles and steps, as far as the
program's text bounds it: what is computed once for each value costs no more than that.

    k ~ uniform_int(1, 3)                  3
    w ~ choice(lm, ["sea", "lake"])        2
    for key in ["a", "b"]: ...             2
    word = keys[k]                         3, where keys is a list that is written out
    n = n + 1                              not known
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, slots
from fkdsl.ir.passes.reading import reached, reads_context

Place = tuple[str, int]


class FewValues:
    """Bounds on the numbers of values of a program's variables; None where none is known."""

    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self._known: dict[Place, int | None] = {}
        self._writers: dict[Place, list[ir.Instr]] = {}
        self._calls: dict[str, list[tuple[str, ir.Call]]] = {}
        for name, function in program.functions.items():
            for instr in function.body:
                for slot in slots(instr, "writes", "changes"):
                    self._writers.setdefault((name, slot), []).append(instr)
                if isinstance(instr, ir.Call):
                    self._calls.setdefault(instr.function, []).append((name, instr))

    def of(self, function: str, e: ir.Expr) -> int | None:
        """Of an expression over a function's variables."""
        if reads_context(self.program, e) or any(
            isinstance(part, ir.Model | ir.Extern) for part in reached(self.program, e)
        ):
            return None
        return _product(self.of_slot(function, slot) for slot in reads(e))

    def of_slot(self, function: str, slot: int) -> int | None:
        """Of a variable."""
        place = (function, slot)
        if place not in self._known:
            self._known[place] = None  # what depends on itself is not known
            self._known[place] = self._assigned(function, slot)
        return self._known[place]

    def _assigned(self, function: str, slot: int) -> int | None:
        counts = [self._written(function, i) for i in self._writers.get((function, slot), [])]
        if slot < self.program.functions[function].parameters:
            if function == self.program.entry:
                counts.append(1)
            calls = self._calls.get(function, [])
            counts += [self.of(caller, call.args[slot]) for caller, call in calls]
        return _sum(counts)

    def _written(self, function: str, instr: ir.Instr) -> int | None:
        match instr:
            case ir.Set(value=value):
                return self.of(function, value)
            case ir.Draw(distribution=ir.Builtin(name=name, args=args)):
                return self._drawn(function, name, args)
            case ir.Draw(distribution=ir.Model(operation="choice", args=(_, options, other))):
                return _sum([self._items(function, options), self.of(function, other)])
            case ir.Next(items=items):
                return self._items(function, ir.Local(instr.span, items))
        return None

    def _drawn(self, function: str, name: str, args: tuple[ir.Expr, ...]) -> int | None:
        match name, args:
            case "bernoulli", _:
                return 2
            case "categorical", (values, _):
                return self._items(function, values)
            case "uniform_int", (low, high):
                return self._between(function, low, high)
        return None

    def _between(self, function: str, low: ir.Expr, high: ir.Expr) -> int | None:
        match self._literal(function, low), self._literal(function, high):
            case ir.Const(value=int(first)), ir.Const(value=int(last)):
                return last - first + 1
        return None

    def _items(self, function: str, e: ir.Expr) -> int | None:
        """Of all items of a list together."""
        match self._literal(function, e):
            case ir.Operate(operator="iterate", args=(listed,)):
                return self._items(function, listed)
            case ir.Operate(operator="list", args=items):
                return _sum([self.of(function, item) for item in items])
            case ir.Builtin(name="range", args=(first, last, *_)):
                match self._literal(function, first), self._literal(function, last):
                    case ir.Const(value=int(n)), ir.Const(value=None):
                        return n
                return self._between(function, first, last)
        return None

    def _literal(self, function: str, e: ir.Expr) -> ir.Expr:
        """What a variable is assigned, if it is assigned once."""
        parameters = self.program.functions[function].parameters
        seen = set[int]()
        while isinstance(e, ir.Local) and e.slot not in seen and e.slot >= parameters:
            seen.add(e.slot)
            match self._writers.get((function, e.slot), []):
                case [ir.Set(targets=(_,), value=value)]:
                    e = value
                case _:
                    break
        return e


def _product(counts: Iterator[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else prod(n for n in known if n is not None)


def _sum(counts: list[int | None]) -> int | None:
    return None if None in counts or not counts else sum(n for n in counts if n is not None)
