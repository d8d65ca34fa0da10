"""What a loop over a list leaves in the variables that it changes, as one expression:

    n = 0
    for w in words(s):
        if len(w) > 6:
            n += 1                  n: sum([1 for w in words(s) if len(w) > 6])

So too what is put behind a text or list, flags (`found = true`), the greatest and the least, and
what the last item gives. A loop inside is read first. What depends on a variable in other ways,
such as a test of what was counted so far, is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, writes
from fkdsl.ir.passes.reading import is_small, list_loop, substitute

UNKNOWN = -1
"""Stands for the slots of what is not known."""
MOST_STEPS = 100
"""Instructions of a loop that are looked at, on all ways through it."""
MOST_WAYS = 16
"""Ways through a loop that change a variable."""
NUMBERS = frozenset({"len", "count", "letters", "syllables", "int", "float", "abs", "round"})
"""Built-ins that give numbers."""
Values = Mapping[int, ir.Expr]
Written = Callable[[ir.Expr, Values], ir.Expr]
"""An expression of the function over what its slots hold, with UNKNOWN where that is not known."""


@dataclass(frozen=True)
class Loop:
    """A loop over a list. at: the position of its head; last: of its last instruction. items: the
    slot of each target of an item. listed: the list."""

    body: Sequence[ir.Instr]
    labels: Mapping[str, int]
    at: int
    last: int
    items: Mapping[int, int]
    listed: ir.Expr


class _Unreadable(Exception):
    """A way leads out of the loop, or the loop is long."""


def left_behind(
    loop: Loop, values: Values, changed: Sequence[int], written: Written, fresh: Callable[[], int]
) -> dict[int, ir.Expr]:
    """What the slots that a loop changes hold behind it, over what they held before, as far as that
    is known. written: see Written; fresh gives slots."""
    before = {slot: fresh() for slot in changed if slot not in loop.items}
    span = loop.body[loop.at].span
    marks = {slot: ir.Local(span, mark) for slot, mark in before.items()}
    items = {slot: ir.Local(span, item) for slot, item in loop.items.items()}
    fold = _Fold(loop, written, fresh)
    try:
        after = fold.follow(loop.at + 1, {**values, **marks, **items})
    except _Unreadable:
        return {}
    result = {}
    for slot, mark in before.items():
        first = values.get(slot, ir.Local(span, slot))
        value = after.get(slot, marks[slot])
        if UNKNOWN in reads((first, value)) or not is_small(value):
            continue
        others = set(before.values()) - {mark}
        behind = _behind(loop, ir.Local(span, mark), first, value)
        if behind is not None and reads(behind).isdisjoint({mark, *others}) and is_small(behind):
            result[slot] = behind
    return result


class _Fold:
    def __init__(self, loop: Loop, written: Written, fresh: Callable[[], int]) -> None:
        self.loop, self.written, self.fresh, self.steps = loop, written, fresh, 0

    def follow(self, pc: int, values: Values) -> dict[int, ir.Expr]:
        """What the slots hold at the end of the turn, from an instruction on."""
        loop, values = self.loop, dict(values)
        while loop.at < pc <= loop.last:
            self.steps += 1
            if self.steps > MOST_STEPS:
                break
            instr = loop.body[pc]
            pc += 1
            match instr:
                case ir.Set(targets=(slot,), value=value):
                    values[slot] = self.written(value, values)
                case ir.Append(span=span, target=slot, value=value):
                    more = self.written(value, values)
                    values[slot] = ir.Operate(span, "add", (values.get(slot, _unknown(span)), more))
                case ir.Jump(label=label):
                    if loop.labels[label] == loop.at - 1:
                        return values
                    if loop.labels[label] < pc:
                        break
                    pc = loop.labels[label]
                case ir.Branch(span=span, test=test, otherwise=label):
                    known = self.written(test, values)
                    then = self.follow(pc, values)
                    other = self.follow(loop.labels[label], values)
                    return {
                        slot: value
                        if value == other[slot]
                        else _chosen(span, known, value, other[slot])
                        for slot, value in then.items()
                        if slot in other
                    }
                case ir.Next(done=label):
                    values |= self.inner(pc - 1, instr, values)
                    pc = loop.labels[label]
                case ir.Return():
                    break
                case _:
                    values |= {slot: _unknown(instr.span) for slot in writes(instr)}
        raise _Unreadable

    def inner(self, at: int, head: ir.Next, values: Values) -> dict[int, ir.Expr]:
        """What a loop inside this one leaves."""
        known = list_loop(self.loop.body, self.loop.labels, at, values)
        if known is None:
            raise _Unreadable
        listed, last, changed = known
        items = {slot: self.fresh() for slot in head.targets}
        loop = replace(self.loop, at=at, last=last, items=items, listed=listed)
        left = left_behind(loop, values, sorted(changed), self.written, self.fresh)
        return {slot: left.get(slot, _unknown(head.span)) for slot in changed}


def _unknown(span: Span) -> ir.Expr:
    return ir.Local(span, UNKNOWN)


def _chosen(span: Span, test: ir.Expr, then: ir.Expr, other: ir.Expr) -> ir.Expr:
    return ir.Choose(span, test, then, other)


# ------------------------------------------------------------------ what is left behind


def _behind(loop: Loop, mark: ir.Expr, first: ir.Expr, value: ir.Expr) -> ir.Expr | None:
    """What a slot holds behind a loop, of which each turn makes `value` of what it held, the mark.
    first: what it held before."""
    if value == mark:
        return first
    span = loop.body[loop.at].span
    extreme = _extreme(value, mark)
    if extreme is not None:
        name, of = extreme
        every = ir.Operate(span, "add", (_list(span, first), _each(loop, of, ())))
        return ir.Builtin(span, name, (every,))
    match value:
        case ir.Or(operands=operands) | ir.And(operands=operands) if mark in operands:
            rest = tuple(o for o in operands if o != mark)
            test = rest[0] if len(rest) == 1 else replace(value, operands=rest)
            name = "any" if isinstance(value, ir.Or) else "all"
            holds = ir.Builtin(span, name, (_each(loop, test, ()),))
            return replace(value, operands=(first, holds))
    ways = list(_ways(value))
    if len(ways) > MOST_WAYS:
        return None
    set_to = {v for _, v in ways if v != mark}
    if len(set_to) == 1 and not any(_reads(v, (mark, *_items(loop))) for v in set_to):
        (constant,) = set_to
        return _flag(loop, first, constant, [given for given, v in ways if v == constant])
    if not any(_reads(v, (mark,)) for _, v in ways):
        return _last(loop, first, value)
    return _total(loop, mark, first, ways)


def _items(loop: Loop) -> Iterator[ir.Expr]:
    return (ir.Local(loop.listed.span, slot) for slot in loop.items.values())


def _reads(e: ir.Expr, slots: Sequence[ir.Expr]) -> bool:
    return any(isinstance(s, ir.Local) and s.slot in reads(e) for s in slots)


def _list(span: Span, *items: ir.Expr) -> ir.Expr:
    return ir.Operate(span, "list", items)


def _each(loop: Loop, element: ir.Expr, given: tuple[ir.Expr, ...]) -> ir.Gather:
    """An expression of each item that passes some tests."""
    clause = ir.Clause(tuple(loop.items.values()), loop.listed, given)
    return ir.Gather(loop.body[loop.at].span, element, (clause,))


def _ways(
    value: ir.Expr, given: tuple[ir.Expr, ...] = ()
) -> Iterator[tuple[tuple[ir.Expr, ...], ir.Expr]]:
    """The values that choices lead to, and what is true on the way to each."""
    match value:
        case ir.Choose(span=span, test=test, then=then, other=other):
            yield from _ways(then, (*given, test))
            yield from _ways(other, (*given, ir.Operate(span, "not", (test,))))
        case _:
            yield given, value


def _extreme(value: ir.Expr, mark: ir.Expr) -> tuple[str, ir.Expr] | None:
    """("max" or "min", x) of `max(mark, x)`, and of `x if x > mark else mark`."""
    match value:
        case ir.Builtin(name="max" | "min" as name, args=(a, b)) if mark in (a, b):
            return name, b if a == mark else a
        case ir.Choose(test=ir.Operate(operator=operator, args=(a, b)), then=then, other=other) if (
            operator in ("gt", "ge", "lt", "le") and other == mark and mark in (a, b)
        ):
            of = b if a == mark else a
            is_greater = (operator in ("gt", "ge")) == (b == mark)
            return ("max" if is_greater else "min", of) if then == of else None
    return None


def _flag(
    loop: Loop, first: ir.Expr, constant: ir.Expr, ways: Sequence[tuple[ir.Expr, ...]]
) -> ir.Expr | None:
    """What is set to a constant by any item that passes all tests of one of some ways."""
    span = loop.body[loop.at].span
    tests = [given[0] if len(given) == 1 else ir.And(span, given) for given in ways]
    if not all(ways):
        fired: ir.Expr = ir.Operate(
            span, "gt", (ir.Builtin(span, "len", (loop.listed,)), ir.Const(span, 0))
        )
    else:
        test = tests[0] if len(tests) == 1 else ir.Or(span, tuple(tests))
        fired = ir.Builtin(span, "any", (_each(loop, test, ()),))
    match first, constant:
        case ir.Const(value=False), ir.Const(value=True):
            return fired
        case ir.Const(value=True), ir.Const(value=False):
            return ir.Operate(span, "not", (fired,))
    return ir.Choose(span, fired, constant, first)


def _last(loop: Loop, first: ir.Expr, value: ir.Expr) -> ir.Expr | None:
    """What the last item gives."""
    if len(loop.items) != 1:
        return None
    span = loop.body[loop.at].span
    (item,) = loop.items.values()
    last = ir.Operate(span, "index", (loop.listed, ir.Const(span, -1)))
    some = ir.Operate(span, "gt", (ir.Builtin(span, "len", (loop.listed,)), ir.Const(span, 0)))
    return ir.Choose(span, some, substitute(value, {item: last}), first)


def _total(
    loop: Loop, mark: ir.Expr, first: ir.Expr, ways: Sequence[tuple[tuple[ir.Expr, ...], ir.Expr]]
) -> ir.Expr | None:
    """A sum of numbers, or what is put behind a text or list."""
    span = loop.body[loop.at].span
    match first:
        case ir.Const(value=str(text)):
            return _joined(loop, mark, text, [way for way in ways if way[1] != mark])
        case ir.Operate(operator="list", args=()):
            return _listed(loop, mark, [way for way in ways if way[1] != mark])
    total: ir.Expr | None = None if first == ir.Const(span, 0) else first
    for given, value in ways:
        terms = _terms(value, mark)
        if terms is None or any(_reads(test, (mark,)) for test in given):
            return None
        for term, sign in terms:
            is_number = isinstance(first, ir.Const) and isinstance(first.value, int | float)
            if not (is_number or _is_number(term)):
                return None
            more: ir.Expr = ir.Builtin(span, "sum", (_each(loop, term, given),))
            match term:
                case ir.Const(value=int(n)) if n != 1:
                    one = _each(loop, ir.Const(span, 1), given)
                    more = ir.Operate(span, "mul", (term, ir.Builtin(span, "sum", (one,))))
            if total is None:
                total = more if sign > 0 else ir.Operate(span, "neg", (more,))
            else:
                total = ir.Operate(span, "add" if sign > 0 else "sub", (total, more))
    return total


def _is_number(e: ir.Expr) -> bool:
    match e:
        case ir.Const(value=value):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ir.Builtin(name=name):
            return name in NUMBERS
    return False


def _terms(value: ir.Expr, mark: ir.Expr) -> list[tuple[ir.Expr, int]] | None:
    """What is added to the mark, and with which sign; None of other values."""
    if value == mark:
        return []
    match value:
        case ir.Operate(operator="add", args=(a, b)):
            for of, more in ((a, b), (b, a)):
                if not _reads(more, (mark,)):
                    terms = _terms(of, mark)
                    return None if terms is None else [*terms, (more, 1)]
        case ir.Operate(operator="sub", args=(a, b)) if not _reads(b, (mark,)):
            terms = _terms(a, mark)
            return None if terms is None else [*terms, (b, -1)]
    return None


def _joined(
    loop: Loop, mark: ir.Expr, text: str, ways: Sequence[tuple[tuple[ir.Expr, ...], ir.Expr]]
) -> ir.Expr | None:
    span = loop.body[loop.at].span
    match ways:
        case [(given, ir.Operate(operator="add", args=(a, more)))] if a == mark and not _reads(
            more, (mark,)
        ):
            joined = ir.Builtin(span, "join", (_each(loop, more, given), ir.Const(span, "")))
            return joined if not text else ir.Operate(span, "add", (ir.Const(span, text), joined))
    return None


def _is_list(e: ir.Expr) -> bool:
    """Whether it is seen to be a list, and no text or range."""
    return isinstance(e, ir.Builtin) and e.name in ("words", "lines", "sentences", "split")


def _listed(
    loop: Loop, mark: ir.Expr, ways: Sequence[tuple[tuple[ir.Expr, ...], ir.Expr]]
) -> ir.Expr | None:
    match ways:
        case [
            (
                given,
                ir.Operate(operator="add", args=(a, ir.Operate(operator="list", args=(more,)))),
            )
        ] if a == mark and not _reads(more, (mark,)):
            if not given and [more] == list(_items(loop)) and _is_list(loop.listed):
                return loop.listed
            return _each(loop, more, given)
    return None
