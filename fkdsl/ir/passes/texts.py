"""Conditions on a whole text guide its drawing: by a mask over its tokens, or by checks of its
beginning.

`s ~ text(...)` calls the prelude's function; each call that conditions follow gets a copy of its
own (text_copies.py), whose draw is guided by the language that the conditions describe and whose
loop checks what can be known early (text_guidance.py). The conditions stay where they are: a mask
may allow too much, and then they decide; it never refuses a text that they would let live.
"""

from __future__ import annotations

from dataclasses import replace

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.splice import with_texts_in_place
from fkdsl.ir.passes.text_copies import (
    drawn_text,
    guided_copy,
    must_be_closed,
    with_own_sites,
)
from fkdsl.ir.passes.text_diagnostics import contradictions, late, left_out
from fkdsl.ir.passes.text_guidance import Settings, guidance_of

FORKS = (ir.Branch, ir.Next, ir.Return, ir.Jump)
"""Instructions behind which not every particle comes along."""


def guide_texts(program: ir.Program, settings: Settings) -> ir.Program:
    """The program, each call that draws a text and that conditions follow with a copy of its own.
    Raises ProgramError where every particle must draw a text that is known not to exist."""
    program = with_texts_in_place(program)
    marks = {
        name: mark for name, f in program.functions.items() if (mark := drawn_text(f)) is not None
    }
    functions = dict(program.functions)
    outside, warnings, errors = list(program.outside), list(program.warnings), list[Diagnostic]()
    for name, function in program.functions.items():
        body = list(function.body)
        for pc, instr in enumerate(function.body):
            if not isinstance(instr, ir.Call) or instr.function not in marks:
                continue
            mark, original = marks[instr.function], program.functions[instr.function]
            guidance = guidance_of(program, function, pc, instr.target, settings)
            if settings.automata and settings.budget_lookahead:
                guidance.closed = must_be_closed(original)
            conflicts = contradictions(instr, mark, guidance, settings.folders)
            if name == program.entry and not any(isinstance(i, FORKS) for i in body[:pc]):
                errors += conflicts
            else:
                warnings += map(_perhaps_never_drawn, conflicts)
            for place, why in left_out(instr, mark, guidance, settings.folders).items():
                guidance.unfollowed.setdefault(place, {})[why] = None
            outside += guidance.unused
            warnings += late(instr, mark, guidance)
            if guidance:
                copy = f"{original.name} {len(functions)}"
                functions[copy], body[pc] = guided_copy(
                    original, copy, instr, guidance, settings.budget_lookahead
                )
        functions[name] = replace(function, body=tuple(body))
    if errors:
        raise ProgramError(errors)
    called = {i.function for f in functions.values() for i in f.body if isinstance(i, ir.Call)}
    kept = {name: f for name, f in functions.items() if name not in marks or name in called}
    return replace(
        program,
        functions=with_own_sites(kept),
        outside=tuple(outside),
        warnings=tuple(warnings),
    )


def _perhaps_never_drawn(conflict: Diagnostic) -> Diagnostic:
    return replace(conflict, severity="warning", label="whoever draws it dies")
