"""Segments: what a particle runs from one draw to the next, and the potentials on the way.

The walk takes all paths and does not remember the caller: after a `return` it goes on behind every
call of that function.
"""

from __future__ import annotations

from collections.abc import Iterator

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.ir import nodes as ir

Place = tuple[str, int]
"""A function's name and the position of an instruction in its body."""
POTENTIALS = (ir.Condition, ir.Factor, ir.Observe)


@dataclass(frozen=True)
class Segment:
    """draw: the instruction that begins it, None for s0. potentials: what may weigh on the way, by
    line. ends: the draws, checkpoints and the entry's returns at which it may stop."""

    draw: ir.Draw | None
    potentials: tuple[ir.Instr, ...]
    ends: tuple[ir.Instr, ...]


def segments(program: ir.Program) -> list[Segment]:
    """s0's segment, then one for each draw, in the order of the program's text."""
    walk = Walk(program)
    draws = [
        (name, pc)
        for name, function in program.functions.items()
        for pc, instr in enumerate(function.body)
        if isinstance(instr, ir.Draw)
    ]
    result = [walk.segment(None, [(program.entry, 0)])]
    for place in draws:
        result.append(walk.segment(walk.at(place), list(walk.after(place))))
    return result


class Walk:
    """Where a particle may go from an instruction, over all paths and all callers."""

    def __init__(self, program: ir.Program) -> None:
        self.program = program
        self.labels = {
            (name, instr.name): pc
            for name, function in program.functions.items()
            for pc, instr in enumerate(function.body)
            if isinstance(instr, ir.Label)
        }
        self.callers: dict[str, list[Place]] = {}
        for name, function in program.functions.items():
            for pc, instr in enumerate(function.body):
                if isinstance(instr, ir.Call):
                    self.callers.setdefault(instr.function, []).append((name, pc + 1))

    def at(self, place: Place) -> ir.Instr:
        return self.program.functions[place[0]].body[place[1]]

    def after(self, place: Place) -> Iterator[Place]:
        """Where a particle may be after an instruction."""
        name, pc = place
        match self.at(place):
            case ir.Jump(label=label):
                yield name, self.labels[name, label]
            case ir.Branch(otherwise=label) | ir.Next(done=label):
                yield name, pc + 1
                yield name, self.labels[name, label]
            case ir.Call(function=function):
                yield function, 0
            case ir.Return():
                yield from self.callers.get(name, ())
            case _:
                yield name, pc + 1

    def segment(self, draw: ir.Instr | None, begin: list[Place]) -> Segment:
        seen: set[Place] = set()
        potentials: dict[Place, ir.Instr] = {}
        ends: dict[Place, ir.Instr] = {}
        todo = list(begin)
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            instr = self.at(place)
            if isinstance(instr, ir.Draw) or (
                isinstance(instr, ir.Return) and place[0] == self.program.entry
            ):
                ends[place] = instr
                continue
            if isinstance(instr, POTENTIALS):
                potentials[place] = instr
            todo.extend(self.after(place))
        assert draw is None or isinstance(draw, ir.Draw)
        return Segment(draw, _in_order(potentials), _in_order(ends))


def _in_order(instrs: dict[Place, ir.Instr]) -> tuple[ir.Instr, ...]:
    return tuple(sorted(instrs.values(), key=lambda i: (i.span.source.name, i.span.start)))
