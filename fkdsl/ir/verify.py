"""The laws of the ir (nodes.py), checked after lowering and after every pass. A program that breaks
one is a bug in fkdsl, not a mistake of the user."""

from __future__ import annotations

from collections.abc import Iterator

from fkdsl.base.errors import InternalError
from fkdsl.ir.effects import slots, subexpressions
from fkdsl.ir.nodes import (
    Branch,
    Call,
    Checkpoint,
    Condition,
    Draw,
    Factor,
    Function,
    Instr,
    Invoke,
    Jump,
    Label,
    Next,
    Observe,
    Program,
    Return,
)


def _jumps(instr: Instr) -> Iterator[str]:
    match instr:
        case Jump(label=label):
            yield label
        case Branch(otherwise=label) | Next(done=label):
            yield label


def is_weighted(function: Function) -> bool:
    """Whether it draws, weighs, checkpoints or calls what does."""
    return any(
        isinstance(i, Draw | Observe | Condition | Factor | Checkpoint | Call)
        for i in function.body
    )


def verify(program: Program) -> Program:
    """The program itself. Raises InternalError naming the law that it breaks."""
    sites: set[int] = set()
    if program.entry not in program.functions:
        raise InternalError(f"ir: no entry function {program.entry}")
    for function in program.functions.values():
        labels = [i.name for i in function.body if isinstance(i, Label)]
        if len(labels) != len(set(labels)):
            raise InternalError(f"ir: {function.name} has a label twice")
        if not function.body or not isinstance(function.body[-1], Return | Jump):
            raise InternalError(f"ir: {function.name} falls off its end")
        for instr in function.body:
            _verify_instr(program, function, instr, set(labels), sites)
    return program


def _verify_instr(
    program: Program, function: Function, instr: Instr, labels: set[str], sites: set[int]
) -> None:
    where = f"{function.name} at {instr.span}"
    if any(label not in labels for label in _jumps(instr)):
        raise InternalError(f"ir: a jump to nowhere in {where}")
    touched = slots(instr, "reads", "writes", "binds", "names")
    if any(not 0 <= slot < len(function.slots) for slot in touched):
        raise InternalError(f"ir: a slot out of range in {where}")
    if isinstance(instr, Draw):
        if instr.site in sites:
            raise InternalError(f"ir: draw site {instr.site} twice, in {where}")
        sites.add(instr.site)
    calls = [(e.function, e.args, True) for e in subexpressions(instr) if isinstance(e, Invoke)]
    if isinstance(instr, Call):
        calls.append((instr.function, instr.args, False))
    for name, args, pure in calls:
        callee = program.functions.get(name)
        if callee is None or callee.parameters != len(args):
            raise InternalError(f"ir: a call of {name} with {len(args)} arguments in {where}")
        if pure and is_weighted(callee):
            raise InternalError(f"ir: {name} draws or weighs but is called as pure in {where}")
