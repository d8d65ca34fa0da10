"""A program without some of its conditions, factors and observes. Blame compares such programs.

A condition or factor that is taken out leaves nothing; an observe still appends its text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import writes
from fkdsl.ir.passes.reading import substitute
from fkdsl.ir.segments import POTENTIALS


def lines(program: ir.Program) -> list[Span]:
    """The conditions, factors and observes of a program, in the order of its text; those of
    imported files after its own."""
    own = program.functions[program.entry].span.source
    places = {
        i.span for f in program.functions.values() for i in f.body if isinstance(i, POTENTIALS)
    }
    return sorted(places, key=lambda s: (s.source is not own, s.source.name, s.start))


def only(program: ir.Program, places: Collection[Span]) -> ir.Program:
    """The program with no potentials but those of the places."""
    functions = {
        name: replace(
            f,
            body=tuple(
                _without(i) if isinstance(i, POTENTIALS) and i.span not in places else i
                for i in f.body
            ),
        )
        for name, f in program.functions.items()
    }
    return replace(program, functions=functions)


def _without(instr: ir.Instr) -> ir.Instr:
    if isinstance(instr, ir.Observe):
        return replace(instr, weighs=False)
    return ir.Evaluate(instr.span, ir.Const(instr.span, None))


def called_with(program: ir.Program, arguments: Sequence[Any]) -> ir.Program:
    """The program with the entry's parameters as constants, so that passes know what depends on
    arguments alone. A parameter that the program assigns stays a variable."""
    entry = program.functions[program.entry]
    changed = {slot for instr in entry.body for slot in writes(instr)}
    known: Mapping[int, ir.Expr] = {
        slot: ir.Const(entry.span, value)
        for slot, value in enumerate(arguments)
        if slot not in changed
    }
    body = tuple(substitute(i, known) for i in entry.body)
    return replace(
        program, functions={**program.functions, program.entry: replace(entry, body=body)}
    )
