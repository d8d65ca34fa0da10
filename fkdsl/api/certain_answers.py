"""Which answers to queries the conditions of a program make certain: no text passes them for which
the answer is another.

The program is compiled with one more condition, that the returned value's answer is another. Where
the compiler then finds that no text satisfies the conditions (FK502), the answer is certain. Where
it finds nothing, it may be certain all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import ProgramError
from fkdsl.ir import nodes as ir
from fkdsl.ir.lines import called_with
from fkdsl.language.compile import compile_ir
from fkdsl.language.queries import Query, lower_queries

SECONDS = 3.0
"""Time for one query, about: what is not known by then is doubted."""
ASKED = ".query"
"""The function of the query, by a name that no program has."""


def is_certain(program: CalledProgram, query: Query, answer: float, *, event: bool) -> bool:
    """Whether it is known that each returned value has this answer. event: whether it is 0 or 1, of
    a truth value."""
    entry = program.ir().functions[program.ir().entry]
    if sum(isinstance(instr, ir.Return) for instr in entry.body) > 2:  # the last ends its function
        return False  # a contradiction may be that of one branch
    number: Any = int(answer) if answer == int(answer) else answer
    known = bool(answer) if event else number
    arguments = tuple(program.parameter_values().values())
    asked = lower_queries(program.checked, [query])

    def otherwise(written: ir.Program) -> ir.Program:
        return _with_condition(called_with(written, arguments), asked, known)

    try:
        with until(Deadline(SECONDS)):
            compile_ir(program.checked, program.name, program.off, otherwise)
    except ProgramError as error:
        return any(d.code == "FK502" for d in error.diagnostics)
    except DeadlinePassed:
        pass
    return False


def _with_condition(program: ir.Program, asked: ir.Program, answer: Any) -> ir.Program:
    """The program with the condition that what it returns has another answer than this."""
    entry, function = program.functions[program.entry], asked.functions[asked.entry]
    body: list[ir.Instr] = []
    for instr in entry.body:
        if isinstance(instr, ir.Return):
            body.append(ir.Condition(instr.span, _differs(instr, answer)))
        body.append(instr)
    functions = {**program.functions, **asked.functions}
    del functions[asked.entry]
    functions[ASKED] = replace(function, name=ASKED)
    functions[program.entry] = replace(entry, body=tuple(body))
    return replace(program, functions=functions)


def _differs(returned: ir.Return, answer: Any) -> ir.Expr:
    span = returned.span
    asked = ir.Invoke(span, ASKED, (returned.value,))
    if answer is False:
        return asked
    if answer is True:
        return ir.Operate(span, "not", (asked,))
    return ir.Operate(span, "ne", (asked, ir.Const(span, answer)))
