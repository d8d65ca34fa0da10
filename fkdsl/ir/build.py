"""The ir built into executable code: expressions into closures over the running frame, labels into
positions.

    executable = build(verify(program), Environment(folder=..., externs={...}))

The closures do what the expression says and nothing else; each that can fail adds its place to the
Fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from fkdsl.base.errors import InternalError
from fkdsl.base.folders import Folder
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.bounds import log_bound
from fkdsl.ir.build_gather import build_gather
from fkdsl.ir.build_models import build_model
from fkdsl.ir.closures import (
    applied,
    as_argument,
    attribute,
    called,
    charging,
    checking_nesting,
    every,
    guarded,
    making,
)
from fkdsl.ir.effects import reads
from fkdsl.ir.segments import POTENTIALS
from fkdsl.machine import ops as code
from fkdsl.machine.clock import Clock
from fkdsl.machine.interpreter import call_pure
from fkdsl.machine.memory import FRESH, OLD
from fkdsl.machine.particle import ActiveFrame, Code, Compute, Executable, Op
from fkdsl.machine.state import UNSET
from fkdsl.values.documents import Searched
from fkdsl.values.operators import OPERATORS, truth
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import ANY, STR, List
from fkdsl.values.values import Record, show

PICKING = ("sorted", "reversed", "distinct")
"""Functions that make lists of items that were there before."""
PAIRING = ("zip", "enumerate")
"""Functions that make lists of pairs."""


@dataclass(frozen=True)
class Environment:
    """What the world gives a program. folder: the program file's, for the files it names; folders:
    those of the files it imports, for what they name. externs: the Python functions it declares,
    each already wrapped to take and give the language's values. clock: of a run that asks for
    blame: what the lines take is measured. indexes: those it declares, by their names."""

    folder: Path = Path()
    externs: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    folders: Mapping[Source, Folder] = field(default_factory=dict)
    clock: Clock | None = None
    indexes: Mapping[str, Searched] = field(default_factory=dict)


def build(program: ir.Program, environment: Environment) -> Executable:
    """The program as code that a `SteeringModel` runs."""
    functions = {
        name: _Builder(program, environment).function(f) for name, f in program.functions.items()
    }
    has_checkpoints = any(
        isinstance(i, ir.Checkpoint) for f in program.functions.values() for i in f.body
    )
    return Executable(program.entry, functions, has_checkpoints, log_bound(program))


class _Builder:
    """Builds one function; Invoke builds calls that look their callee up when they run, so
    recursion is fine."""

    def __init__(self, program: ir.Program, environment: Environment) -> None:
        self.program, self.environment = program, environment

    def function(self, f: ir.Function) -> Code:
        positions: dict[str, int] = {}
        body: list[ir.Instr] = []
        for instr in f.body:
            if isinstance(instr, ir.Label):
                positions[instr.name] = len(body)
            elif not isinstance(instr, ir.DrawnText):
                body.append(instr)
        ops = tuple(self.watched(i, self.instr(i, positions)) for i in body)
        return Code(f.name, f.parameters, f.slots, ops, f.span)

    def watched(self, i: ir.Instr, op: Op) -> Op:
        clock = self.environment.clock
        if clock is None or not isinstance(i, POTENTIALS):
            return op
        return code.WatchedOp(i.span, op, clock, not (isinstance(i, ir.Condition) and i.early))

    # ----------------------------------------------------------- instructions

    def instr(self, i: ir.Instr, at: Mapping[str, int]) -> Op:  # noqa: C901  a case for each class
        match i:
            case ir.Set(span, (target,), value):
                return code.SetOp(span, target, self.expr(value))
            case ir.Set(span, targets, value):
                return code.UnpackOp(span, targets, self.expr(value))
            case ir.Evaluate(span, value):
                return code.EvaluateOp(span, self.expr(value))
            case ir.Draw(span, target, distribution, site, plan):
                built = None if plan is None else plan.map(self.expr)
                source = distribution.slot if isinstance(distribution, ir.Local) else None
                draw = code.DrawOp(span, target, self.expr(distribution), site, built, source)
                if plan is None or plan.completion is None:
                    return draw
                slots = tuple(sorted(reads(plan.completion.language)))
                varying = dict.fromkeys(p for p, e in plan.completion.parts if reads(e))
                return replace(draw, language_reads=slots, varying=tuple(varying))
            case ir.Observe(span, value, distribution, weighs):
                return code.ObserveOp(span, self.expr(value), self.expr(distribution), weighs)
            case ir.Condition(span, test, early):
                return code.ConditionOp(span, self.expr(test), early)
            case ir.Twist(span, value):
                return code.TwistOp(span, self.expr(value))
            case ir.Factor(span, value):
                return code.FactorOp(span, self.expr(value))
            case ir.Checkpoint(span):
                return code.CheckpointOp(span)
            case ir.Append(span, target, value):
                return code.AppendOp(span, target, self.expr(value))
            case ir.Call(span, target, function, args):
                return code.CallOp(span, target, function, tuple(map(self.expr, args)))
            case ir.Return(span, value):
                return code.ReturnOp(span, self.expr(value))
            case ir.Jump(span, label):
                return code.JumpOp(span, at[label])
            case ir.Branch(span, test, otherwise):
                return code.BranchOp(span, self.expr(test), at[otherwise])
            case ir.Next(span, items, counter, targets, done):
                return code.NextOp(span, items, counter, targets, at[done])
        raise InternalError(f"ir: no such instruction {i!r}")

    # ------------------------------------------------------------ expressions

    def expr(self, e: ir.Expr) -> Compute:
        match e:
            case ir.Const(value=value):
                return lambda frame: value
            case ir.Local(slot=slot):
                return self.local(e, slot)
            case ir.Operate(operator=operator, args=args):
                return self.operate(e, operator, args)
            case ir.RecordOf(names=names, values=values):
                return checking_nesting(self.record(names, tuple(map(self.expr, values))), e.span)
            case ir.And(operands=operands):
                return every(e.span, tuple(map(self.expr, operands)))
            case ir.Or(operands=operands):
                tests = tuple(map(self.expr, operands))
                return guarded(e.span, lambda frame: any(truth(test(frame)) for test in tests))
            case ir.Choose(test=test, then=then, other=other):
                decide, a, b = self.expr(test), self.expr(then), self.expr(other)
                return guarded(e.span, lambda frame: a(frame) if truth(decide(frame)) else b(frame))
            case ir.Format(parts=parts):
                return self.format(e, parts)
            case ir.Gather():
                return checking_nesting(
                    guarded(e.span, build_gather(self.program, e, self.expr)), e.span
                )
            case ir.Builtin(name=name, args=args):
                return self.builtin(e, name, args)
            case ir.Model(operation=operation, args=args, model=model):
                made = guarded(e.span, build_model(operation, tuple(map(self.expr, args)), model))
                return checking_nesting(made, e.span) if operation == "mixture" else made
            case ir.Invoke(function=function, args=args):
                return self.invoke(e, function, args)
            case ir.Marked(test=test, place=place):
                return self.marked(self.expr(test), place)
            case ir.Extern(name=name, args=args):
                return self.extern(e, name, args)
        raise InternalError(f"ir: no such expression {e!r}")

    def marked(self, test: Compute, place: Span) -> Compute:
        def decide(frame: ActiveFrame) -> bool:
            holds = truth(test(frame))
            if not holds:
                frame.particle.refused = place
            return holds

        return decide

    def local(self, e: ir.Expr, slot: int) -> Compute:
        def read(frame: ActiveFrame) -> Any:
            value = frame.slots[slot]
            if value is UNSET:
                raise InternalError(f"a variable is read before it is set at {e.span}")
            return value

        return read

    def operate(self, e: ir.Expr, operator: str, args: tuple[ir.Expr, ...]) -> Compute:
        if operator == "attribute":
            value, name = self.expr(args[0]), args[1]
            assert isinstance(name, ir.Const)
            return attribute(e.span, value, str(name.value))
        match tuple(map(self.expr, args)):
            case (a, b) if operator in ("add", "mul"):
                return making(e.span, OPERATORS[operator], (a, b))
            case computed:
                compute = applied(e.span, OPERATORS[operator], computed)
        if operator in ("list", "pow"):
            return checking_nesting(compute, e.span)
        return charging(compute, e.span) if operator == "slice" else compute

    def record(self, names: tuple[str, ...], values: tuple[Compute, ...]) -> Compute:
        return lambda frame: Record({n: v(frame) for n, v in zip(names, values, strict=True)})

    def format(self, e: ir.Expr, parts: tuple[str | tuple[ir.Expr, str], ...]) -> Compute:
        computed = [p if isinstance(p, str) else (self.expr(p[0]), p[1]) for p in parts]

        def render(frame: ActiveFrame) -> str:
            pieces = []
            for part in computed:
                if isinstance(part, str):
                    pieces.append(part)
                else:
                    value = as_argument(part[0](frame))
                    pieces.append(format(value, part[1]) if part[1] else show(value))
            return "".join(pieces)

        return charging(guarded(e.span, render), e.span)

    def builtin(self, e: ir.Expr, name: str, args: tuple[ir.Expr, ...]) -> Compute:
        signature = TABLE[name]
        function = signature.call
        if signature.needs_folder:
            folder = self.environment.folders.get(e.span.source, self.environment.folder)
            compute = self.call(e, lambda *values: signature.call(*values, folder=folder), args)
        elif signature.needs_indexes:
            indexes = self.environment.indexes
            compute = self.call(e, lambda *values: signature.call(*values, indexes=indexes), args)
        else:
            compute = self.call(e, function, args)
        if name in PICKING:
            return charging(compute, e.span, OLD)
        makes = signature.returns == STR or isinstance(signature.returns, List) or name in PAIRING
        if name in PAIRING or signature.returns == ANY:
            compute = checking_nesting(compute, e.span)
        if makes or (signature.returns == ANY and not name.startswith(".")):
            return charging(compute, e.span, FRESH if makes else 0)
        return compute

    def extern(self, e: ir.Expr, name: str, args: tuple[ir.Expr, ...]) -> Compute:
        compute = checking_nesting(
            charging(self.call(e, self.environment.externs[name], args), e.span, 0), e.span
        )

        def call(frame: ActiveFrame) -> Any:
            frame.particle.run_own_python()
            return compute(frame)

        return call

    def call(self, e: ir.Expr, function: Callable[..., Any], args: tuple[ir.Expr, ...]) -> Compute:
        return called(e.span, function, tuple(map(self.expr, args)))

    def invoke(self, e: ir.Expr, function: str, args: tuple[ir.Expr, ...]) -> Compute:
        computed = tuple(map(self.expr, args))

        def call(frame: ActiveFrame) -> Any:
            return call_pure(frame, function, [c(frame) for c in computed])

        return guarded(e.span, call)
