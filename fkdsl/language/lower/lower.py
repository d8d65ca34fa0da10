"""A checked program lowered to ir: names become slots, control flow becomes labels and jumps, calls
are bound to their parameters.

The checker has found every mistake that a user can make; what cannot be lowered is a bug in fkdsl.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fkdsl.base.errors import InternalError
from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.verify import verify
from fkdsl.language.check.checker import Checked
from fkdsl.language.check.constants import BINARY
from fkdsl.language.lower.expressions import ExpressionLowering
from fkdsl.language.lower.prelude import prelude
from fkdsl.language.syntax import tree
from fkdsl.values.types import TOKEN, Dist

COMBINED_TEXT = "text of"
"""The prelude's `text_of`, by a name whose first word is what a user calls, which listings show."""


def lower(checked: Checked, program: str) -> ir.Program:
    """The ir of one of the file's programs, with every function that it can reach."""
    return _Lowering(checked).program(program)


def lower_functions(checked: Checked, definitions: Sequence[tree.FunctionDef]) -> ir.Program:
    """Pure functions that stand in no file, such as a query's, with every function that they can
    reach."""
    return _Lowering(checked).pure(definitions)


class _Lowering:
    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.functions: dict[str, ir.Function] = {}
        self.closed_texts = 0
        self.wanted: list[str] = []
        self.sites = 0

    def program(self, name: str) -> ir.Program:
        self.functions[name] = _Body(self, self.checked.programs[name].definition).function()
        return self.closed(name)

    def pure(self, definitions: Sequence[tree.FunctionDef]) -> ir.Program:
        self.functions = {d.name: _Body(self, d).function() for d in definitions}
        return self.closed(definitions[0].name)

    def closed(self, entry: str) -> ir.Program:
        """With the functions that are called."""
        while self.wanted:
            callee = self.wanted.pop()
            if callee not in self.functions:
                function = _Body(self, self.definition(callee)).function()
                self.functions[callee] = replace(function, name=callee)
        return verify(ir.Program(entry, self.functions))

    def definition(self, name: str) -> tree.FunctionDef:
        if name in self.checked.functions:
            return self.checked.functions[name].definition
        return prelude()[name.replace(" ", "_")]

    def drawn_by(self, name: str, args: Sequence[ir.Expr], span: Span) -> str:
        """The function that a call draws by: a built-in whose text must be closed has one for each
        call, so that its condition stands at the call."""
        if name in self.checked.functions:
            self.wanted.append(name)
            return name
        definition = self.definition(name)
        given = {p.name: a for p, a in zip(definition.params, args, strict=True)}
        match given.get("closed", ir.Const(span, False)):
            case ir.Const(value=False):
                self.wanted.append(name)
                return name
        self.closed_texts += 1
        own = f"{name} closed {self.closed_texts}"
        self.functions[own] = replace(_Body(self, definition, span).function(), name=own)
        return own

    def site(self) -> int:
        self.sites += 1
        return self.sites


def reachable(body: Sequence[ir.Instr]) -> tuple[ir.Instr, ...]:
    """The instructions that a path leads to, all labels, and the last one, which ends the function.

    What stands behind a `return` has no part in the measure, so no pass may see it.
    """
    places = {instr.name: i for i, instr in enumerate(body) if isinstance(instr, ir.Label)}
    reached: set[int] = set()
    todo = [0]
    while todo:
        i = todo.pop()
        while i < len(body) and i not in reached:
            reached.add(i)
            match body[i]:
                case ir.Return():
                    break
                case ir.Jump(label=label):
                    i = places[label]
                    continue
                case ir.Branch(test=test, otherwise=label) if not (
                    isinstance(test, ir.Const) and test.value is True
                ):
                    todo.append(places[label])
                case ir.Next(done=label):
                    todo.append(places[label])
            i += 1
    kept = reached | set(places.values()) | {len(body) - 1}
    return tuple(instr for i, instr in enumerate(body) if i in kept)


class _Body(ExpressionLowering):
    """Lowers one function: its statements to instructions, control flow to labels and jumps.

    closed_at: of a built-in whose text must be closed, where it is called.
    """

    def __init__(
        self, owner: _Lowering, definition: tree.FunctionDef, closed_at: Span | None = None
    ) -> None:
        super().__init__(owner.checked, definition, owner.wanted)
        self.owner, self.closed_at = owner, closed_at
        self.out: list[ir.Instr] = []
        self.labels = 0
        self.loops: list[tuple[str, str]] = []

    def function(self) -> ir.Function:
        d = self.definition
        for p in d.params:
            self.scope[p.name] = self.hidden(p.name)
        self.block(d.body)
        self.out.append(ir.Return(d.name_span, ir.Const(d.name_span, None)))
        return ir.Function(
            d.name, len(d.params), tuple(self.slots), reachable(self.out), d.name_span
        )

    def label(self, what: str) -> str:
        self.labels += 1
        return f"{what}{self.labels}"

    # ------------------------------------------------------------- statements

    def block(self, statements: Iterable[tree.Stmt]) -> None:
        for s in statements:
            self.statement(s)

    def statement(self, s: tree.Stmt) -> None:  # noqa: C901  a case for each class
        match s:
            case tree.Assign(span, targets, value):
                lowered = self.expr(value)
                self.out.append(ir.Set(span, self.targets(targets), lowered))
            case tree.AugAssign(span, target, "+", value):
                self.out.append(ir.Append(span, self.slot(target.name), self.expr(value)))
            case tree.AugAssign(span, target, op, value):
                slot = self.slot(target.name)
                operate = ir.Operate(
                    span, BINARY[op], (ir.Local(target.span, slot), self.expr(value))
                )
                self.out.append(ir.Set(span, (slot,), operate))
            case tree.Draw(span, target, value):
                self.draw(span, target, value)
            case tree.Observe(span, value, distribution):
                self.out.append(ir.Observe(span, self.expr(value), self.expr(distribution)))
            case tree.Condition() if self.in_prelude and self.closed_at is None:
                pass
            case tree.Condition(span, test):
                span = self.closed_at or span
                self.out.append(ir.Condition(span, self.expr(test)))
            case tree.Factor(span, value):
                self.out.append(ir.Factor(span, self.expr(value)))
            case tree.Twist(span, value):
                self.out.append(ir.Twist(span, self.expr(value)))
            case tree.Checkpoint(span):
                self.out.append(ir.Checkpoint(span))
            case tree.ExprStmt(span, tree.Call(function=tree.Name(name="drawn_text"))) if (
                self.in_prelude
            ):
                self.out.append(self.drawn_text(s.value))
            case tree.ExprStmt(span, value):
                self.out.append(ir.Evaluate(span, self.expr(value)))
            case tree.Return(span, value):
                self.out.append(
                    ir.Return(span, self.expr(value) if value else ir.Const(span, None))
                )
            case tree.If():
                self.branch(s)
            case tree.While():
                self.while_loop(s)
            case tree.For():
                self.for_loop(s)
            case tree.Break(span):
                self.out.append(ir.Jump(span, self.loops[-1][1]))
            case tree.Continue(span):
                self.out.append(ir.Jump(span, self.loops[-1][0]))
            case tree.Pass():
                pass
            case _:
                raise InternalError(f"no lowering for {type(s).__name__}")

    def drawn_text(self, mark: tree.Expr) -> ir.DrawnText:
        match mark:
            case tree.Call(span, args=(tree.Name(name=text),), keywords=keywords):
                slots = {k.name: self.expr(k.value) for k in keywords}
                numbers = {k: e.slot for k, e in slots.items() if isinstance(e, ir.Local)}
                return ir.DrawnText(span, text=self.slot(text), **numbers)
        raise InternalError(f"a mark of a text that says nothing, at {mark.span}")

    def draw(self, span: Span, target: tree.Name, value: tree.Expr) -> None:
        if isinstance(value, tree.Call):
            name = value.function.name
            user = self.checked.functions.get(name)
            # A pure function that gives a distribution is an expression, and what it gives is drawn
            # from.
            if user.stochastic if user is not None else name in prelude():
                if user is None and (name == "text_of" or self.combined(value)):
                    name = COMBINED_TEXT
                args = self.user_args(self.owner.definition(name), value)
                function = self.owner.drawn_by(name, args, span)
                self.out.append(ir.Call(span, self.slot(target.name), function, args))
                return
        distribution = self.expr(value)
        self.out.append(ir.Draw(span, self.slot(target.name), distribution, self.owner.site()))

    def combined(self, call: tree.Call) -> bool:
        """Whether a text is drawn from a product, a power or a mixture, or from what may be one."""
        given = (*call.args[:1], *(k.value for k in call.keywords if k.name == "lm"))
        return any(self.checked.types.get(id(e)) == Dist(TOKEN) for e in given)

    def branch(self, s: tree.If) -> None:
        other, end = self.label("else"), self.label("end")
        self.out.append(ir.Branch(s.test.span, self.expr(s.test), other))
        self.block(s.then)
        self.out.append(ir.Jump(s.span, end))
        self.out.append(ir.Label(s.span, other))
        self.block(s.other)
        self.out.append(ir.Label(s.span, end))

    def while_loop(self, s: tree.While) -> None:
        top, end = self.label("while"), self.label("end")
        self.out.append(ir.Label(s.span, top))
        self.out.append(ir.Branch(s.test.span, self.expr(s.test), end))
        self.loops.append((top, end))
        self.block(s.body)
        self.loops.pop()
        self.out.append(ir.Jump(s.span, top))
        self.out.append(ir.Label(s.span, end))

    def for_loop(self, s: tree.For) -> None:
        top, end = self.label("for"), self.label("end")
        items, counter = self.hidden(".items"), self.hidden(".count")
        iterable = ir.Operate(s.iterable.span, "iterate", (self.expr(s.iterable),))
        self.out.append(ir.Set(s.iterable.span, (items,), iterable))
        self.out.append(ir.Set(s.iterable.span, (counter,), ir.Const(s.iterable.span, 0)))
        self.out.append(ir.Label(s.span, top))
        self.out.append(ir.Next(s.iterable.span, items, counter, self.targets(s.targets), end))
        self.loops.append((top, end))
        self.block(s.body)
        self.loops.pop()
        self.out.append(ir.Jump(s.span, top))
        self.out.append(ir.Label(s.span, end))
