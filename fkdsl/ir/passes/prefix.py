"""Conditions on the text so far, right behind the draw of a token, become a language that the text
must be in after every token: the prefix constraint.

    t ~ lm
    condition t != EOS and all(letters(w) <= limit for w in words(lm.text))

Each part of such a condition that says which language `lm.text` is in goes into a mask, which is
exact for every token. The language may depend only on what is the same for all particles, so that
one automaton serves the population.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, writes
from fkdsl.ir.passes.inline import inlined
from fkdsl.ir.passes.reading import conjuncts, reached, reads_context, rebuilt, substitute
from fkdsl.ir.passes.regular import all_of, language_of
from fkdsl.ir.passes.views import has_grammar


@dataclass(frozen=True)
class PrefixLanguages:
    """languages: for each condition the language of the text after the token, an expression;
    parts: the parts of the conditions that the languages decide."""

    languages: tuple[tuple[Span, ir.Expr], ...]
    parts: tuple[ir.Expr, ...]

    def decides(self, parts: Sequence[ir.Expr]) -> bool:
        return all(part in self.parts for part in parts)

    def follows(self, condition: ir.Condition) -> bool:
        """Whether a part of the condition is decided."""
        return any(part in self.parts for part in conjuncts(condition.test))


def prefix_languages(
    program: ir.Program, function: ir.Function, draw: ir.Draw, behind: Sequence[ir.Condition]
) -> PrefixLanguages | None:
    """The languages that the conditions right behind the draw of a token hold its context's text
    to; None if there are none."""
    if function.name != program.entry or not isinstance(draw.distribution, ir.Local):
        return None
    fixed = dict(_fixed(function))
    text = len(function.slots)
    languages: dict[Span, list[ir.Expr]] = {}
    decided: list[ir.Expr] = []
    for place, part in (
        (condition.span, p) for condition in behind for p in conjuncts(condition.test)
    ):
        known = substitute(_over_text(inlined(program, part), draw.distribution.slot, text), fixed)
        parts = [language_of(p, text) for p in conjuncts(known)]
        if all(of is not None and _is_same_for_all(program, function, of) for of in parts):
            languages.setdefault(place, []).extend(of for of in parts if of is not None)
            decided.append(part)
    if not decided:
        return None
    return PrefixLanguages(
        tuple((place, all_of(place, of)) for place, of in languages.items()), tuple(decided)
    )


def _over_text(e: ir.Expr, context: int, text: int) -> ir.Expr:
    """The expression with the text of a context as a slot of its own."""

    def change(node: Any) -> Any:
        match node:
            case ir.Operate(
                operator="attribute", args=(ir.Local(slot=slot), ir.Const(value="text"))
            ) if slot == context:
                return ir.Local(node.span, text)
        return rebuilt(node, change)

    result: ir.Expr = change(e)
    return result


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


def _is_same_for_all(program: ir.Program, function: ir.Function, language: ir.Expr) -> bool:
    """Whether a language reads only arguments of the program that are never assigned, and calls
    nothing."""
    changed = {slot for instr in function.body for slot in writes(instr)}
    return (
        all(slot < function.parameters and slot not in changed for slot in reads(language))
        and all(slot < len(function.slots) for slot in bound(language))
        and not has_grammar(language)
        and not reads_context(program, language)
        and not any(
            isinstance(e, ir.Model | ir.Extern | ir.Invoke) for e in reached(program, language)
        )
    )
