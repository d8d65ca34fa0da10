"""How large a program's potentials can be, as far as its text says. Upper bounds on Z rest on this.

A condition weighs at most 1, an observation of something discrete too, a factor where its number
can be seen to be 0 or less. A twist may weigh anything, and so may the density of a continuous
distribution.
"""

from __future__ import annotations

import math

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import subexpressions

CONTINUOUS = ("uniform", "normal", "beta")
COUNTS = ("len", "count", "abs", "sqrt", "exp", "syllables", "letters")
"""Built-ins whose numbers are never below 0."""


def log_bound(program: ir.Program) -> float:
    """An upper bound on the log of each of its potentials, nats: 0, or inf where a line may weigh
    more than 1."""
    body = [instr for function in program.functions.values() for instr in function.body]
    densities = any(
        isinstance(e, ir.Builtin) and e.name in CONTINUOUS
        for instr in body
        for e in subexpressions(instr)
    )
    for instr in body:
        match instr:
            case ir.Twist():  # what takes it back may be above 0
                return math.inf
            case ir.Factor(value=value) if not never_positive(value):
                return math.inf
            case ir.Observe(distribution=ir.Builtin(name=name)) if name in CONTINUOUS:
                return math.inf
            # What a variable holds may be one of the program's continuous distributions.
            case ir.Observe(distribution=d) if densities and not isinstance(
                d, ir.Builtin | ir.Model
            ):
                return math.inf
    return 0.0


def never_positive(e: ir.Expr) -> bool:
    """Whether a number is seen to be 0 or less, without knowing what variables hold."""
    match e:
        case ir.Const(value=bool() | int() | float() as value):
            return value <= 0
        case ir.Model(operation="logprob"):
            return True
        case ir.Operate(operator="neg", args=(x,)):
            return never_negative(x)
        case ir.Operate(operator="add", args=(x, y)):
            return never_positive(x) and never_positive(y)
        case ir.Operate(operator="sub", args=(x, y)):
            return never_positive(x) and never_negative(y)
        case ir.Operate(operator="mul" | "div", args=(x, y)):
            return (never_positive(x) and never_negative(y)) or (
                never_negative(x) and never_positive(y)
            )
        case ir.Choose(then=x, other=y):
            return never_positive(x) and never_positive(y)
        case ir.Builtin(name="min", args=args):
            return any(map(never_positive, args))
        case ir.Builtin(name="max", args=args):
            return all(map(never_positive, args))
    return False


def never_negative(e: ir.Expr) -> bool:
    """Whether a number is seen to be 0 or more."""
    match e:
        case ir.Const(value=bool() | int() | float() as value):
            return value >= 0
        case ir.Builtin(name=name) if name in COUNTS:
            return True
        case ir.Operate(operator="neg", args=(x,)):
            return never_positive(x)
        case ir.Operate(operator="add", args=(x, y)):
            return never_negative(x) and never_negative(y)
        case ir.Operate(operator="sub", args=(x, y)):
            return never_negative(x) and never_positive(y)
        case ir.Operate(operator="mul" | "div", args=(x, y)):
            return (never_negative(x) and never_negative(y)) or (
                never_positive(x) and never_positive(y)
            )
        case ir.Choose(then=x, other=y):
            return never_negative(x) and never_negative(y)
        case ir.Builtin(name="max", args=args):
            return any(map(never_negative, args))
        case ir.Builtin(name="min", args=args):
            return all(map(never_negative, args))
    return False
