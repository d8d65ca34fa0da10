"""The ways behind the draw of a text, and the conditions on them as tests of the text.

    s ~ text(lm)
    if s == "":
        return "none"
    condition ends_with(s, "sea")       known: s == "" or ends_with(s, "sea")

A way is followed as long as what it turns on can be said by the text and what was known when it was
drawn. What a condition asks is then asked of the texts that take its way. A loop over a list asks
its conditions of every item:

    for k in keys:
        condition contains(s, k)        known: all(contains(s, k) for k in keys)
"""

from __future__ import annotations

from collections.abc import Mapping

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, renumbered, writes
from fkdsl.ir.passes.folds import Loop, left_behind
from fkdsl.ir.passes.forms import in_plain_form
from fkdsl.ir.passes.inline import fresh_slot, inlined
from fkdsl.ir.passes.reading import (
    alike,
    asks_model,
    calls_out,
    conjuncts,
    is_small,
    list_loop,
    reads_context,
    substitute,
)
from fkdsl.ir.passes.simplify import simplified

LONGEST = 1_000
"""Instructions that are looked at behind one text."""
MOST_BRANCHES = 20
"""Branches that a way takes at most: each is a call deeper."""
LATER = -1
"""Stands for the slots of what is not known when the text is drawn."""
Values = Mapping[int, ir.Expr]
"""What slots hold that were assigned since the text was drawn, over the slots as they were then and
LATER."""


@dataclass(frozen=True)
class Met:
    """A part of a condition on a way. known: it as a test of the text, over the slots as they were
    when the text was drawn; None where it cannot be one, and why_not. always: whether every
    particle comes by it."""

    span: Span
    known: ir.Expr | None
    why_not: str = ""
    always: bool = True


@dataclass(frozen=True)
class _Turn:
    """What a loop leaves behind. changed: what slots then hold; passed: its conditions."""

    changed: dict[int, ir.Expr]
    passed: set[Span]


class Ways:
    """The ways behind the text that is in a slot. met: the parts of conditions on them that look at
    the text. elsewhere: conditions that are met on a way and that may be met again beyond the end
    of another."""

    def __init__(self, program: ir.Program, function: ir.Function, text: int) -> None:
        self.program, self.function, self.text = program, function, text
        self.body = function.body
        self.inside = range(len(self.body))
        """Where it looks: of the ways through a loop, the loop."""
        self.parts = {text}
        """The text, and the items of loops over parts of it."""
        self.is_entry = function.name == program.entry
        self.labels = {i.name: pc for pc, i in enumerate(function.body) if isinstance(i, ir.Label)}
        self.met: list[Met] = []
        self._steps = 0
        self._unfinished: list[set[Span]] = []

    @property
    def elsewhere(self) -> frozenset[Span]:
        return frozenset(
            met.span for met in self.met if any(met.span not in way for way in self._unfinished)
        )

    def follow(
        self,
        pc: int,
        values: Values | None = None,
        given: tuple[ir.Expr, ...] = (),
        passed: frozenset[Span] = frozenset(),
    ) -> None:
        """Follows the ways from a position. given: negations of what a particle's text passes to
        come here; passed: the conditions so far."""
        values, seen = dict(values or {}), set(passed)
        while self._steps < LONGEST and pc in self.inside:
            self._steps += 1
            instr = self.body[pc]
            pc += 1
            match instr:
                case ir.Jump(label=label):
                    pc = self.labels[label]
                    if pc == self.inside.start - 2:
                        return  # the loop goes on with its next item
                case ir.Condition(span=span, test=test):
                    seen.add(span)
                    self._meet(span, test, values, given)
                case ir.Branch(span=span, test=test, otherwise=label):
                    known = self._over_text(test, values)
                    if LATER in reads(known) or len(given) >= MOST_BRANCHES:
                        break
                    refuted = ir.Operate(span, "not", (known,))
                    if (deadly := self._death(pc)) is not None:
                        # `if known: condition false` is `condition not known`.
                        self._meet(deadly, refuted, {}, given)
                        seen.add(deadly)
                        pc = self.labels[label]
                        continue
                    # A loop whose test nothing changes is not left once it has been entered.
                    if refuted in given:
                        continue
                    if known in given:
                        pc = self.labels[label]
                        continue
                    self.follow(pc, values, (*given, refuted), frozenset(seen))
                    self.follow(self.labels[label], values, (*given, known), frozenset(seen))
                    return
                case ir.Return() if self.is_entry and self.inside.start == 0:
                    return
                case ir.Return():
                    break
                case ir.Next(done=label):
                    turn = self._turn(pc - 1, instr, values, given)
                    if turn is None:
                        break
                    pc = self.labels[label]
                    values |= turn.changed
                    seen |= turn.passed
                case _:
                    values |= self._assigned(instr, values)
        self._unfinished.append(seen)

    def _death(self, pc: int) -> Span | None:
        """The place of a `condition false` with which an instruction begins."""
        match self.body[pc]:
            case ir.Condition(span=span, test=ir.Const(value=False)):
                return span
        return None

    def _turn(
        self, at: int, head: ir.Next, values: Values, given: tuple[ir.Expr, ...]
    ) -> _Turn | None:
        """Follows the ways through a loop over a list, once for all its items. None where a way
        leads out of the loop, or the list is not known."""
        span = head.span
        loop = list_loop(self.body, self.labels, at, values)
        if loop is None:
            return None
        listed, last, written = loop
        changed: dict[int, ir.Expr] = {slot: ir.Local(span, LATER) for slot in written}
        items = {slot: fresh_slot() for slot in head.targets}
        turn = Ways(self.program, self.function, self.text)
        turn.inside, turn._steps = range(at + 1, last + 1), self._steps
        turn.parts = self.parts | (set(items.values()) if self.parts & reads(listed) else set())
        turn.follow(
            at + 1,
            {**values, **changed, **{slot: ir.Local(span, i) for slot, i in items.items()}},
            given,
        )
        self._steps = turn._steps
        if turn._unfinished:
            if not self._only_assigns(at + 1, last):
                return None
            turn.met = []
        for met in turn.met:
            known = met.known and _of_each(span, met.known, tuple(items.values()), listed)
            known = known and in_plain_form(known)
            if known is None or (is_small(known) and LATER not in reads(known)):
                self._add(Met(met.span, known, met.why_not, met.always))
        known_items = {slot: fresh_slot() for slot in head.targets}
        folded = Loop(self.body, self.labels, at, last, known_items, listed)
        kept = {slot: values[slot] for slot in values if slot not in head.targets}
        left = left_behind(folded, kept, sorted(written), self._over_text, fresh_slot)
        return _Turn(changed | left, {met.span for met in turn.met})

    def _only_assigns(self, first: int, last: int) -> bool:
        """Whether the instructions of a loop do nothing but assign, and stay in it."""
        head = {name for name, at in self.labels.items() if at == first - 2}
        for instr in self.body[first : last + 1]:
            match instr:
                case ir.Set() | ir.Append() | ir.Label():
                    pass
                case ir.Jump(label=label) | ir.Branch(otherwise=label):
                    if label not in head and not first <= self.labels[label] <= last:
                        return False
                case _:
                    return False
        return True

    def _meet(self, span: Span, test: ir.Expr, values: Values, given: tuple[ir.Expr, ...]) -> None:
        for whole in conjuncts(inlined(self.program, test)):
            for known in conjuncts(self._over_text(whole, values)):
                if LATER not in reads(known) and self.parts & reads((known, *given)):
                    asked = ir.Or(span, (*given, known)) if given else known
                    self._add(Met(span, asked, always=not given))
            if self.parts & reads(whole) and (reason := why_unknown(self.program, whole)):
                self._add(Met(span, None, reason))

    def _add(self, met: Met) -> None:
        for i, other in enumerate(self.met):
            if other.span == met.span and (both := _of_both_ways(other, met)) is not None:
                later = self.met[i + 1 :]
                self.met = self.met[:i]
                self._add(both)
                self.met += later
                return
        if met not in self.met:
            self.met.append(met)

    def _assigned(self, instr: ir.Instr, values: Values) -> dict[int, ir.Expr]:
        match instr:
            case ir.Set(targets=(slot,), value=value):
                return {slot: self._over_text(value, values)}
            case ir.Set(span=span, targets=targets, value=value):
                items = self._over_text(value, values)
                return {slot: _item(span, items, i) for i, slot in enumerate(targets)}
            case ir.Append(span=span, target=slot, value=value):
                return {slot: _joined(span, values.get(slot), self._over_text(value, values))}
        return {slot: ir.Local(instr.span, LATER) for slot in writes(instr)}

    def _over_text(self, e: ir.Expr, values: Values) -> ir.Expr:
        """The expression over the slots as they were when the text was drawn, and LATER."""
        if why_unknown(self.program, e):
            return ir.Local(e.span, LATER)
        written = inlined(self.program, e)
        whole = substitute(written, values)
        if reads(written).isdisjoint(values) or is_small(whole):
            return simplified(whole)
        return ir.Local(e.span, LATER)


def _of_both_ways(a: Met, b: Met) -> Met | None:
    """What is asked on the two ways of a branch, which come together again; None of others."""
    match a.known, b.known:
        case ir.Or(operands=(*before, asked)), ir.Or(operands=(*other, same)) if alike(
            asked, same
        ) and len(before) == len(other):
            differ = [(x, y) for x, y in zip(before, other, strict=True) if x != y]
            match differ:
                case [(x, y)] if _denies(x, y) or _denies(y, x):
                    kept = tuple(e for e in before if e != x)
                    known = ir.Or(a.span, (*kept, asked)) if kept else asked
                    return Met(a.span, known, always=not kept)
    return None


def _denies(a: ir.Expr, b: ir.Expr) -> bool:
    return isinstance(a, ir.Operate) and a.operator == "not" and a.args == (b,)


def _of_each(span: Span, test: ir.Expr, items: tuple[int, ...], listed: ir.Expr) -> ir.Expr:
    """The test of every item of a list, in slots of its own."""
    gather = ir.Gather(span, test, (ir.Clause(items, listed, ()),))
    every = ir.Builtin(span, "all", (gather,))
    own: ir.Expr = renumbered(every, {slot: fresh_slot() for slot in sorted(bound(every))})
    return simplified(own)


def _item(span: Span, items: ir.Expr, i: int) -> ir.Expr:
    return simplified(ir.Operate(span, "index", (items, ir.Const(span, i))))


def _joined(span: Span, before: ir.Expr | None, more: ir.Expr) -> ir.Expr:
    """A list that is written out, with further items; of anything else, such as a context, nothing
    is known."""
    match before, more:
        case ir.Operate(operator="list", args=items), ir.Operate(operator="list", args=further):
            return ir.Operate(span, "list", (*items, *further))
    return ir.Local(span, LATER)


def why_unknown(program: ir.Program, e: ir.Expr) -> str:
    """Why an expression cannot be evaluated while the text is drawn; "" if it can."""
    without = "write what can be said without"
    if asks_model(program, e):
        return f"it asks a model; {without} one as a condition of its own, before it"
    if calls_out(program, e):
        return f"it calls Python; {without} it as a condition of its own, before it"
    if reads_context(program, e):
        return "it looks at a context; write it over the text that was drawn"
    return ""
