"""The conditions that no draw looks ahead to, and why; with warnings for those that come too late
to guide anything."""

from __future__ import annotations

from dataclasses import replace

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.spans import PRELUDE
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, writes
from fkdsl.ir.passes.reading import asks_model, loops, reads_context
from fkdsl.machine.proposal_plan import Absorbed


def late_conditions(program: ir.Program) -> ir.Program:
    """The program with the conditions that no draw looks ahead to in `outside`, and a warning for
    each that is checked only when a loop of draws is over."""
    outside = {a.span: a for a in program.outside}
    warnings = list(program.warnings)
    absorbed = {
        a.span
        for f in program.functions.values()
        for i in f.body
        if isinstance(i, ir.Draw) and i.plan is not None
        for a in i.plan.absorbed
    }
    guided = {
        place
        for f in program.functions.values()
        for i in f.body
        if isinstance(i, ir.Draw) and i.plan is not None and i.plan.completion is not None
        for place, _ in i.plan.completion.parts
    } | {
        i.span
        for f in program.functions.values()
        for i in f.body
        if isinstance(i, ir.Condition) and i.early
    }
    for function in program.functions.values():
        if function.span.source.name == PRELUDE:
            continue
        for pc, instr in enumerate(function.body):
            if not isinstance(instr, ir.Condition) or instr.early:
                continue
            after = _after_loop(program, function, pc)
            if after is not None and instr.span not in guided:
                line = after.span.line
                means = (
                    f"it is checked when the loop of line {line} is over; test it inside, as soon "
                    "as it can fail"
                )
                outside.setdefault(instr.span, Absorbed(instr.span, means))
                warnings.append(_warning(instr, after))
            elif instr.span not in absorbed and instr.span not in outside:
                outside[instr.span] = Absorbed(instr.span, _why(program, function, pc))
    return replace(program, outside=tuple(outside.values()), warnings=tuple(warnings))


def _warning(condition: ir.Condition, loop: ir.Instr) -> Diagnostic:
    return Diagnostic(
        "FK501",
        "this is checked only when the text is complete",
        condition.span,
        f"after the loop of line {loop.span.line}",
        "test it inside the loop as soon as it can fail, or draw the text by `text(...)`, which "
        "conditions guide",
        severity="warning",
    )


def _after_loop(program: ir.Program, function: ir.Function, at: int) -> ir.Instr | None:
    """The loop of draws before a condition that assigned what the condition reads."""
    condition = function.body[at]
    for first, last in loops(function):
        inside = function.body[first : last + 1]
        if last >= at or not any(isinstance(i, ir.Draw) for i in inside):
            continue
        assigned = {s for i in inside for s in writes(i)}
        between = {s for i in function.body[last + 1 : at] for s in writes(i)}
        redrawn = any(isinstance(i, ir.Draw | ir.Call) for i in function.body[last + 1 : at])
        if (reads(condition) & (assigned - between)) or (
            reads_context(program, condition) and not redrawn
        ):
            return function.body[first]
    return None


def _why(program: ir.Program, function: ir.Function, at: int) -> str:
    condition = function.body[at]
    if asks_model(program, condition):
        return (
            "it asks a model, and each outcome would cost a call; put what needs none into a "
            "condition before it"
        )
    before = [i for i in function.body[:at] if isinstance(i, ir.Draw | ir.Call)]
    if not before:
        return "nothing is drawn before it"
    asking = [i for i in function.body[:at] if isinstance(i, ir.Observe) or asks_model(program, i)]
    if asking:
        return f"line {asking[-1].span.line} asks a model first; put the condition before it"
    return "the draw before it does not decide it; put it right behind the draw that does"
