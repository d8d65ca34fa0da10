"""Comprehensions as closures: `f(w) for w in words(s) if g(w)`.

What is said of every word of a text is asked again of all its words after every token. So a
comprehension over one variable keeps what it made of each text, for as long as the other values
that it reads are what they were.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import chain
from typing import Any

from fkdsl.base.value_keys import state_key
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads
from fkdsl.ir.passes.reading import appends, reached
from fkdsl.machine.memory import SMALL
from fkdsl.machine.ops import unpack
from fkdsl.machine.particle import ActiveFrame, Compute
from fkdsl.machine.state import UNSET
from fkdsl.values.operators import iterate, truth
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import STR, List

TEXTS = {str}
REMEMBERED = 4096
"""Texts, and sets of other values, for which a comprehension is remembered."""


def build_gather(program: ir.Program, e: ir.Gather, expr: Callable[[ir.Expr], Compute]) -> Compute:
    """The values as a tuple. expr: builds the expressions within."""
    if len(e.clauses) == 1 and len(e.clauses[0].targets) == 1 and is_function_of_values(program, e):
        return remembering(e, expr)
    element = expr(e.element)
    clauses = [(c.targets, expr(c.iterable), tuple(map(expr, c.conditions))) for c in e.clauses]

    bound = [slot for clause in e.clauses for slot in clause.targets]

    def collect(frame: ActiveFrame, depth: int, out: list[Any]) -> None:
        if depth == len(clauses):
            memory = frame.particle.memory
            op, now = memory.op, memory.now
            out.append(value := element(frame))
            if memory.now != now:
                memory.drop(now - op, value)
            return
        targets, iterable, conditions = clauses[depth]
        for item in iterate(iterable(frame)):
            frame.particle.burn(1, e.span)
            unpack(frame, targets, item)
            if all(truth(c(frame)) for c in conditions):
                collect(frame, depth + 1, out)

    def run(frame: ActiveFrame) -> tuple[Any, ...]:
        out: list[Any] = []
        collect(frame, 0, out)
        for slot in bound:
            frame.slots[slot] = UNSET  # by what is left there, equal states would be told apart
        return tuple(out)

    return run


Made = dict[str, tuple[Any, ...]]
"""What comes of each item: one value, or none."""


class Remembered:
    """What a comprehension has made, by the values of the other variables that it reads. Threads
    share it: each entry depends on its key alone."""

    __slots__ = ("by_values", "latest")

    def __init__(self) -> None:
        self.by_values: dict[Any, Made] = {}
        self.latest: tuple[tuple[Any, ...], Made] = ((), {})

    def of(self, values: tuple[Any, ...]) -> Made:
        """What is remembered for these values; nothing, if they cannot be a key."""
        before, known = self.latest  # read once: another thread may replace it
        if len(self.by_values) > REMEMBERED or len(known) > REMEMBERED:
            self.by_values.clear()
        elif self.by_values and all(map(operator.is_, values, before)):
            return known
        if not is_plain(values):
            return {}
        known = self.by_values.setdefault(state_key(values), {})
        self.latest = (values, known)
        return known


def remembering(e: ir.Gather, expr: Callable[[ir.Expr], Compute]) -> Compute:
    """A comprehension over one variable whose values depend on nothing but what is read."""
    (clause,) = e.clauses
    (target,) = clause.targets
    element, iterable, conditions = (
        expr(e.element),
        expr(clause.iterable),
        tuple(map(expr, clause.conditions)),
    )
    read_slots = sorted(reads((e.element, *clause.conditions)) - {target})
    of_texts = isinstance(clause.iterable, ir.Builtin) and TABLE[
        clause.iterable.name
    ].returns == List(STR)
    remembered = Remembered()

    def make(frame: ActiveFrame, item: Any) -> tuple[Any, ...]:
        """What comes of an item: one value, or none."""
        frame.slots[target] = item
        memory = frame.particle.memory
        op, now, holds = memory.op, memory.now, all(truth(c(frame)) for c in conditions)
        value = element(frame) if holds else None
        frame.slots[target] = UNSET  # by what is left there, equal states would be told apart
        if memory.now != now:
            memory.drop(now - op, value)
        return (value,) if holds else ()

    def run(frame: ActiveFrame) -> tuple[Any, ...]:
        slots = frame.slots
        known = remembered.of(tuple([slots[slot] for slot in read_slots]))
        items = iterable(frame)
        if not of_texts:
            items = iterate(items)
        if of_texts or set(map(type, items)) <= TEXTS:
            frame.particle.burn(len(items), e.span)
            try:
                return tuple(chain.from_iterable([known[item] for item in items]))
            except KeyError:
                large: Made = {}  # what is remembered for longer than the call is small
                for item in items:
                    if item not in known and item not in large:
                        value = make(frame, item)
                        (known if len(item) <= SMALL and is_small(value) else large)[item] = value
            return tuple(
                chain.from_iterable(
                    [known[item] if item in known else large[item] for item in items]
                )
            )
        out: list[Any] = []
        for item in items:
            frame.particle.burn(1, e.span)
            out.extend(make(frame, item))
        return tuple(out)

    return run


def is_small(made: tuple[Any, ...]) -> bool:
    """Whether what was made of an item is a number, a truth value or a short text, or nothing."""
    return all(isinstance(v, int | float) or (isinstance(v, str) and len(v) <= SMALL) for v in made)


def is_function_of_values(program: ir.Program, e: ir.Gather) -> bool:
    """Whether what is made of an item asks no model and no Python of the program's, and changes no
    context."""
    within = (e.element, *e.clauses[0].conditions)
    return not appends(program, within) and not any(
        isinstance(x, ir.Model | ir.Extern) for x in reached(program, within)
    )


def is_plain(value: Any) -> bool:
    """Whether a value is text, a number, a truth value, or a list of such: it is all that there is
    to it."""
    return (
        all(map(is_plain, value))
        if isinstance(value, tuple)
        else isinstance(value, str | int | float)
    )
