"""Conditions on the drawn token alone become one predicate, whose mask over the vocabulary is
computed once (proposals/token_masks.py).

The walk follows every path behind the draw as far as the token decides it, and puts the conditions
that it meets into one expression. A particle whose token the predicate refuses dies on its path, so
the mask is exact for the conditions that it absorbs.
"""

from __future__ import annotations

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, writes
from fkdsl.ir.passes.reading import (
    calls_out,
    compared_with,
    conjuncts,
    loops,
    reached,
    reads_context,
    substitute,
)

EXPENSIVE = ("parses", "valid_json", "edit_distance", "parse_json")
"""Built-ins that are too slow to be evaluated for a whole vocabulary."""
MAX_INSTRUCTIONS = 200
"""Instructions that the walk behind a draw looks at, at most."""


def is_expensive(program: ir.Program, node: object) -> bool:
    """Whether evaluating it calls a built-in that is too slow for a whole vocabulary."""
    return any(isinstance(e, ir.Builtin) and e.name in EXPENSIVE for e in reached(program, node))


@dataclass(frozen=True)
class Predicate:
    """test: of the token in the draw's target. reads: the other slots that the test reads.
    compared: what it compares the token with, None if it uses the token in other ways too.
    absorbed: the conditions that it is made of; undecided: their parts that it does not decide."""

    test: ir.Expr
    reads: tuple[int, ...]
    compared: tuple[ir.Expr, ...] | None
    absorbed: tuple[ir.Condition, ...]
    undecided: tuple[ir.Expr, ...]


def token_predicate(program: ir.Program, function: ir.Function, at: int) -> Predicate | None:
    """What the conditions behind the draw at a position ask of its token alone; None if nothing."""
    walk = _Walk(program, function, at)
    test = walk.path(at + 1, {})
    if not walk.absorbed or test is None:
        return None
    others = tuple(sorted(reads(test) - {walk.target}))
    values = compared_with(test, walk.target)
    compared = None if values is None else tuple(values)
    return Predicate(test, others, compared, tuple(walk.absorbed.values()), tuple(walk.undecided))


class _Walk:
    """The paths behind one draw. varying: slots that its loop assigns; a mask that is computed
    once cannot read them."""

    def __init__(self, program: ir.Program, function: ir.Function, at: int) -> None:
        draw = function.body[at]
        assert isinstance(draw, ir.Draw)
        self.program, self.body, self.target = program, function.body, draw.target
        self.labels = {i.name: pc for pc, i in enumerate(function.body) if isinstance(i, ir.Label)}
        self.varying = {
            slot
            for first, last in loops(function)
            if first <= at <= last
            for instr in function.body[first : last + 1]
            for slot in writes(instr)
        } - {draw.target}
        self.absorbed: dict[Span, ir.Condition] = {}
        self.undecided: list[ir.Expr] = []
        self.budget = MAX_INSTRUCTIONS

    def path(self, pc: int, values: dict[int, ir.Expr | None]) -> ir.Expr | None:
        """What a particle's token must satisfy on the way from pc; None if no condition was met.
        values: what the slots assigned since the draw hold, None where the token does not decide
        it."""
        met: list[ir.Expr] = []
        while self.budget > 0:
            self.budget -= 1
            instr = self.body[pc]
            match instr:
                case ir.Jump(label=label):
                    pc = self.labels[label]
                case ir.Set(targets=targets, value=value):
                    known = self.of_token(value, values) if len(targets) == 1 else None
                    values = {**values, **dict.fromkeys(targets, known)}
                    pc += 1
                case ir.Condition(test=test):
                    parts = [(c, self.of_token(c, values)) for c in conjuncts(test)]
                    kept = [p for _, p in parts if p is not None]
                    if any(self.target in reads(p) for p in kept):
                        met += [ir.Marked(p.span, p, instr.span) for p in kept]
                        self.absorbed[instr.span] = instr
                        self.undecided += [c for c, p in parts if p is None]
                    pc += 1
                case ir.Branch(span=span, test=test, otherwise=otherwise):
                    decided = self.of_token(test, values)
                    if decided is None:
                        break
                    yes, no = self.path(pc + 1, values), self.path(self.labels[otherwise], values)
                    if yes is not None or no is not None:
                        true = ir.Const(span, True)
                        met.append(ir.Choose(span, decided, yes or true, no or true))
                    break
                case ir.Draw() | ir.Call() | ir.Return() | ir.Next():
                    break
                case _:
                    values = {**values, **dict.fromkeys(writes(instr), None)}
                    pc += 1
        if not met:
            return None
        return met[0] if len(met) == 1 else ir.And(met[0].span, tuple(met))

    def of_token(self, e: ir.Expr, values: dict[int, ir.Expr | None]) -> ir.Expr | None:
        """The expression over the slots as they are at the draw, if the token and what stays the
        same decide it."""
        slots = reads(e)
        if any(values.get(s, s) is None for s in slots):
            return None
        result = substitute(e, {s: v for s, v in values.items() if v is not None})
        if (
            reads(result) & self.varying
            or reads_context(self.program, result)
            or calls_out(self.program, result)
        ):
            return None
        for part in reached(self.program, result):
            if isinstance(part, ir.Model):
                return None
        return None if is_expensive(self.program, result) else result
