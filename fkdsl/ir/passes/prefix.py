"""Conditions on the text so far, right behind the draw of a token, become a language that the text
must be in after every token: the prefix constraint.

    t ~ lm
    if t == EOS:
        break
    condition all(letters(w) <= limit for w in words(lm.text))

Each part of such a condition that says which language `lm.text` is in goes into a mask, which is
exact for every token. The language may depend on variables of few values (few_values.py), so that
few automata serve the population.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, writes
from fkdsl.ir.passes.few_values import FewValues
from fkdsl.ir.passes.inline import inlined
from fkdsl.ir.passes.reading import (
    conjuncts,
    is_of_end,
    is_small,
    over_text,
    reached,
    substitute,
)
from fkdsl.ir.passes.regular import all_of, language_of
from fkdsl.ir.passes.views import has_grammar
from fkdsl.ir.segments import Place, Walk

MOST_LANGUAGES = 64
"""Most different languages that one draw may have over a run; each has an automaton and masks."""


@dataclass
class PrefixLanguages:
    """languages: for each condition the language of the text after the token, an expression, and
    whether only a text that goes on must be in it; parts: the parts of the conditions that the
    languages decide; followed: the conditions of which some part is decided."""

    languages: list[tuple[Span, ir.Expr, bool]] = field(default_factory=list)
    parts: list[ir.Expr] = field(default_factory=list)
    followed: list[ir.Condition] = field(default_factory=list)

    def decides(self, parts: Sequence[ir.Expr]) -> bool:
        return all(part in self.parts for part in parts)

    def of_ends(self, going_on: bool) -> tuple[tuple[Span, ir.Expr], ...]:
        """The languages of each condition, of those that ask only texts that go on, or of the
        others."""
        spans = dict.fromkeys(span for span, _, of in self.languages if of is going_on)
        return tuple(
            (span, all_of(span, [e for s, e, of in self.languages if s == span and of is going_on]))
            for span in spans
        )


def prefix_languages(
    program: ir.Program, walk: Walk, few: FewValues, place: Place, draw: ir.Draw
) -> PrefixLanguages | None:
    """The languages that the conditions behind the draw of a token hold its context's text to; None
    if there are none."""
    if not isinstance(draw.distribution, ir.Local):
        return None
    function = program.functions[place[0]]
    fixed = dict(_fixed(function))
    text = len(function.slots)
    result = PrefixLanguages()
    for behind in _behind(program, walk, place, draw, draw.distribution.slot):
        condition, known_values = behind.condition, {**fixed, **behind.values}
        for part in conjuncts(condition.test):
            known = substitute(inlined(program, part), known_values)
            known = over_text(known, draw.distribution.slot, text)
            parts = [language_of(p, text) for p in conjuncts(known)]
            if text in reads(known) and all(
                of is not None and _is_one_of_few(program, function, few, of) for of in parts
            ):
                result.languages += [
                    (condition.span, of, behind.going_on) for of in parts if of is not None
                ]
                result.parts.append(part)
                if not any(condition is c for c in result.followed):
                    result.followed.append(condition)
    return result if result.parts else None


def over_languages(
    program: ir.Program,
    few: FewValues,
    function: ir.Function,
    context: int,
    tests: Sequence[ir.Expr],
) -> tuple[tuple[Span, ir.Expr], ...]:
    """The languages of the texts of a context with which a loop is over, by those of its tests that
    say one."""
    fixed, text = dict(_fixed(function)), len(function.slots)
    found: list[tuple[Span, ir.Expr]] = []
    for test in tests:
        known = over_text(substitute(inlined(program, test), fixed), context, text)
        of = language_of(ir.Operate(test.span, "not", (known,)), text)
        if of is not None and text in reads(known) and _is_one_of_few(program, function, few, of):
            found.append((test.span, of))
    return tuple(found)


@dataclass(frozen=True)
class _Behind:
    """A condition behind a draw. values: what was assigned since, over the slots at the draw;
    going_on: whether a particle comes to it only if its token is no end."""

    condition: ir.Condition
    values: dict[int, ir.Expr]
    going_on: bool


def _behind(
    program: ir.Program, walk: Walk, place: Place, draw: ir.Draw, context: int
) -> Iterator[_Behind]:
    """The conditions that every particle comes to behind a draw, up to where something else is
    drawn, weighed or appended, or the ways part otherwise than by whether the token is an end."""
    name, pc = place
    values: dict[int, ir.Expr] = {}
    elsewhere = set[Place]()
    going_on = False
    while True:
        pc += 1
        if (name, pc) in elsewhere:
            return
        instr = program.functions[name].body[pc]
        match instr:
            case ir.Label():
                pass
            case ir.Condition():
                yield _Behind(instr, dict(values), going_on)
            case ir.Set(targets=(slot,), value=value) if slot not in (context, draw.target):
                values[slot] = substitute(value, values)
                if not is_small(values[slot]) and not reads(value).isdisjoint(values):
                    return
            case ir.Branch(test=test, otherwise=label) if is_of_end(test, draw.target, context):
                elsewhere |= _reached(walk, (name, pc + 1))
                pc, going_on = walk.labels[name, label], True
            case _:
                return


def _reached(walk: Walk, begin: Place) -> set[Place]:
    """Where a particle may come from a place before it draws."""
    reached_places, todo = set[Place](), [begin]
    while todo:
        here = todo.pop()
        if here not in reached_places:
            reached_places.add(here)
            if not isinstance(walk.at(here), ir.Draw):
                todo.extend(walk.after(here))
    return reached_places


def _fixed(function: ir.Function) -> Iterator[tuple[int, ir.Expr]]:
    """The slots that are assigned once, a constant."""
    for instr in function.body:
        if (
            isinstance(instr, ir.Set)
            and isinstance(instr.value, ir.Const)
            and len(instr.targets) == 1
        ):
            (slot,) = instr.targets
            if sum(slot in writes(i) for i in function.body) == 1 and slot >= function.parameters:
                yield slot, instr.value


def _is_one_of_few(
    program: ir.Program, function: ir.Function, few: FewValues, language: ir.Expr
) -> bool:
    """Whether a language reads only variables that have few values together, and looks at nothing
    else."""
    count = few.of(function.name, language)
    return (
        count is not None
        and count <= MOST_LANGUAGES
        and all(slot < len(function.slots) for slot in bound(language))
        and not has_grammar(language)
        and not any(isinstance(e, ir.Invoke) for e in reached(program, language))
    )
