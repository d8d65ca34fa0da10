"""What a pure function returns, as one expression over its arguments, through its branches and its
loops over lists:

    def fits(s: str, keys: list[str]) -> bool:
        for k in keys:
            if not contains(s, k):
                return false
        return len(s) < 60              all(contains(s, k) for k in keys) and len(s) < 60

The value is the same; it may have one where the function's is a mistake. Loops that go by the
numbers that they count up, and those left by `break`, are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, renumbered
from fkdsl.ir.passes.folds import Loop as Fold
from fkdsl.ir.passes.folds import left_behind
from fkdsl.ir.passes.reading import is_small, list_loop, substitute

MOST_STEPS = 200
"""Instructions of a function that are looked at, on all ways through it."""
UNKNOWN = -1
"""Stands for the slots that a loop has changed."""


def returned(
    function: ir.Function, args: Sequence[ir.Expr], fresh_slot: Callable[[], int]
) -> ir.Expr | None:
    """What a function returns, over its arguments; None where that is not known. fresh_slot gives
    slots for what comprehensions bind."""
    try:
        value = _Returned(function, fresh_slot).value(0, dict(enumerate(args)), None)
    except _Unreadable:
        return None
    return None if UNKNOWN in reads(value) else value


class _Unreadable(Exception):
    """The function does something that no expression here says."""


@dataclass(frozen=True)
class _Loop:
    """inside: its instructions, behind its head; returned: what is returned in it."""

    inside: range
    returned: list[ir.Expr] = field(default_factory=list)


class _Returned:
    def __init__(self, function: ir.Function, fresh_slot: Callable[[], int]) -> None:
        self.body, self.fresh_slot = function.body, fresh_slot
        self.labels = {i.name: pc for pc, i in enumerate(self.body) if isinstance(i, ir.Label)}
        self.steps = 0

    def value(self, pc: int, values: dict[int, ir.Expr], loop: _Loop | None) -> ir.Expr:
        """What is returned by whoever comes to an instruction; inside a loop, whether the item
        there has the function return."""
        while loop is None or pc in loop.inside:
            self.steps += 1
            instr = self.body[pc]
            pc += 1
            if self.steps > MOST_STEPS:
                break
            match instr:
                case ir.Label():
                    pass
                case ir.Set(targets=(slot,), value=value):
                    values[slot] = self.written(value, values)
                case ir.Append(span=span, target=slot, value=value) if slot in values:
                    more = self.written(value, values)
                    values[slot] = ir.Operate(span, "add", (values[slot], more))
                case ir.Jump(span=span, label=label):
                    before, pc = pc, self.labels[label]
                    if loop is not None and pc == loop.inside.start - 2:
                        return ir.Const(span, False)
                    if pc < before:
                        break
                case ir.Branch(span=span, test=test, otherwise=label):
                    known = self.written(test, values)
                    then = self.value(pc, dict(values), loop)
                    return _chosen(
                        span, known, then, self.value(self.labels[label], dict(values), loop)
                    )
                case ir.Next():
                    return self.through(pc, instr, values, loop)
                case ir.Return(span=span, value=value):
                    result = self.written(value, values)
                    if loop is None:
                        return result
                    loop.returned.append(result)
                    return ir.Const(span, True)
                case _:
                    break
        raise _Unreadable

    def through(
        self, pc: int, head: ir.Next, values: dict[int, ir.Expr], around: _Loop | None
    ) -> ir.Expr:
        """`value` of a loop over a list: what an item has it return, or what comes behind it."""
        span = head.span
        loop_of = list_loop(self.body, self.labels, pc - 1, values)
        if loop_of is None:
            raise _Unreadable
        listed, last, written = loop_of
        changed: dict[int, ir.Expr] = {slot: ir.Local(span, UNKNOWN) for slot in written}
        items = {slot: self.fresh_slot() for slot in head.targets}
        loop = _Loop(range(pc, last + 1))
        given = {slot: ir.Local(span, i) for slot, i in items.items()}
        test = self.value(pc, {**values, **changed, **given}, loop)
        fold = Fold(self.body, self.labels, pc - 1, last, items, listed)
        left = left_behind(fold, values, sorted(written), self.written, self.fresh_slot)
        behind = self.value(self.labels[head.done], {**values, **changed, **left}, around)
        if not loop.returned:
            return behind
        result, *others = loop.returned
        if any(other != result for other in others) or reads(result) & set(items.values()):
            raise _Unreadable
        if around is not None:
            around.returned.append(result)
            result = ir.Const(span, True)
        gather = ir.Gather(span, test, (ir.Clause(tuple(items.values()), listed, ()),))
        return _chosen(span, ir.Builtin(span, "any", (gather,)), result, behind)

    def written(self, e: ir.Expr, values: Mapping[int, ir.Expr]) -> ir.Expr:
        """An expression of the function over its arguments."""
        anew: ir.Expr = renumbered(e, {slot: self.fresh_slot() for slot in sorted(bound(e))})
        result = substitute(anew, values)
        if not is_small(result) and not reads(anew).isdisjoint(values):
            raise _Unreadable
        return result


def _chosen(span: Span, test: ir.Expr, then: ir.Expr, other: ir.Expr) -> ir.Expr:
    """`then if test else other`, by `and` and `or` where one of the two is true or false."""
    match then, other:
        case ir.Const(value=True), ir.Const(value=False):
            return test
        case ir.Const(value=False), ir.Const(value=True):
            return _negated(test)
        case ir.Const(value=True), _:
            return ir.Or(span, (test, other))
        case ir.Const(value=False), _:
            return ir.And(span, (_negated(test), other))
        case _, ir.Const(value=True):
            return ir.Or(span, (_negated(test), then))
        case _, ir.Const(value=False):
            return ir.And(span, (test, then))
    return ir.Choose(span, test, then, other)


def _negated(e: ir.Expr) -> ir.Expr:
    match e:
        case ir.Operate(operator="not", args=(inner,)):
            return inner
        case ir.Builtin(name="any", args=(ir.Gather() as gather,)):
            every = ir.Gather(gather.span, _negated(gather.element), gather.clauses)
            return ir.Builtin(e.span, "all", (every,))
    return ir.Operate(e.span, "not", (e,))
