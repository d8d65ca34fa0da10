"""Calls of functions that draw texts, replaced by their bodies where conditions on what they return
follow: so a text that a function of the program draws is guided by the conditions of its caller.

    def line(lm: context) -> str:
        s ~ text(lm, until="\\n")
        return strip(s)

    a ~ line(lm)
    condition ends_with(a, "sea")

Each call has a body of its own, so conditions after one call guide no other. The measure is the
same: arguments become assignments, a `return` an assignment and a jump, and behind the body the
function's variables are empty again, so that particles are in equal states where they were before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, renumbered, writes

LONGEST = 2_000
"""Instructions of a function beyond which no further call in it is replaced."""


def with_texts_in_place(program: ir.Program) -> ir.Program:
    """The program with the calls replaced whose values conditions of the caller look at."""
    drawing = _drawing(program)
    if not drawing:
        return program
    functions = dict(program.functions)
    for name, function in program.functions.items():
        while len(function.body) < LONGEST and (at := _next_call(function, drawing)) is not None:
            call = function.body[at]
            assert isinstance(call, ir.Call)
            function = _spliced(function, at, call, program.functions[call.function])
        functions[name] = function
    called = {program.entry}
    todo = [program.entry]
    while todo:
        for instr in functions[todo.pop()].body:
            if isinstance(instr, ir.Call) and instr.function not in called:
                called.add(instr.function)
                todo.append(instr.function)
    kept = {n: f for n, f in functions.items() if n not in drawing or n in called}
    return replace(program, functions=kept)


def _drawing(program: ir.Program) -> set[str]:
    """The functions that draw a text, by themselves or by those that they call, but for the
    built-in, the entry and those that may call themselves."""
    calls = {
        name: {i.function for i in f.body if isinstance(i, ir.Call)}
        for name, f in program.functions.items()
    }
    marked = {
        name
        for name, f in program.functions.items()
        if any(isinstance(i, ir.DrawnText) for i in f.body)
    }
    below = {name: _reachable(calls, name) for name in calls}
    return {
        name
        for name, reached in below.items()
        if name not in marked and name not in reached and reached & marked
    } - {program.entry}


def _reachable(calls: Mapping[str, set[str]], name: str) -> set[str]:
    reached: set[str] = set()
    todo = [*calls[name]]
    while todo:
        callee = todo.pop()
        if callee not in reached:
            reached.add(callee)
            todo += calls[callee]
    return reached


def _next_call(function: ir.Function, drawing: set[str]) -> int | None:
    """The first call of one of the functions whose value a condition behind it looks at."""
    for pc, instr in enumerate(function.body):
        if (
            isinstance(instr, ir.Call)
            and instr.function in drawing
            and _is_looked_at(function, instr.target)
        ):
            return pc
    return None


def _is_looked_at(function: ir.Function, slot: int) -> bool:
    """Whether a condition looks at the value of a slot, or at what is made of it."""
    made_of, before = {slot}, set[int]()
    while made_of != before:
        before = set(made_of)
        for instr in function.body:
            if reads(instr) & made_of and _makes_values(instr):
                made_of |= writes(instr)
    return any(isinstance(i, ir.Condition) and reads(i) & made_of for i in function.body)


def _makes_values(instr: ir.Instr) -> bool:
    """Whether an instruction does nothing but assign values: what it appends to is no context."""
    match instr:
        case ir.Set() | ir.Next() | ir.Append(value=ir.Operate(operator="list")):
            return True
    return False


def _spliced(caller: ir.Function, at: int, call: ir.Call, callee: ir.Function) -> ir.Function:
    """The caller with the body of the callee in the place of a call."""
    span, first, n = call.span, len(caller.slots), len(callee.slots)
    own = {slot: first + slot for slot in range(n)}
    tag = f" {call.function} {first}"
    end = f"end{tag}"
    body: list[ir.Instr] = [
        ir.Set(span, (first + i,), argument) for i, argument in enumerate(call.args)
    ]
    instrs = _without_end(callee.body)
    for pc, instr in enumerate(instrs):
        moved: ir.Instr = renumbered(instr, own)
        match moved:
            case ir.Return(span=place, value=value):
                body.append(ir.Set(place, (call.target,), value))
                if pc < len(instrs) - 1:
                    body.append(ir.Jump(place, end))
            case ir.Label(name=name):
                body.append(replace(moved, name=name + tag))
            case ir.Jump(label=name):
                body.append(replace(moved, label=name + tag))
            case ir.Branch(otherwise=name):
                body.append(replace(moved, otherwise=name + tag))
            case ir.Next(done=name):
                body.append(replace(moved, done=name + tag))
            case _:
                body.append(moved)
    body.append(ir.Label(span, end))
    if n:
        empty = ir.Const(span, (None,) * n if n > 1 else None)
        body.append(ir.Set(span, tuple(own.values()), empty))
    return replace(
        caller,
        slots=(*caller.slots, *callee.slots),
        body=(*caller.body[:at], *body, *caller.body[at + 1 :]),
    )


def _without_end(body: tuple[ir.Instr, ...]) -> tuple[ir.Instr, ...]:
    """The body without the `return` at its end that stands behind another one."""
    match body:
        case (*_, ir.Return(), ir.Return()):
            return body[:-1]
    return body
