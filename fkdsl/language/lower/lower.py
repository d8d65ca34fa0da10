"""A checked program lowered to ir: names become slots, control becomes labels, calls are bound to
their parameters.

Every mistake that a user can make has been found by the checker; what does not fit here is our own
bug.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from fkdsl.base.errors import InternalError
from fkdsl.base.spans import NOWHERE, PRELUDE, Source, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.verify import verify
from fkdsl.language.check.checker import Checked
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse
from fkdsl.values.signatures import REQUIRED, TABLE, Signature
from fkdsl.values.values import EOS

BINARY = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "**": "pow"}
COMPARE = {
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "in": "in", "not in": "notin",
    "agrees": "agree", "same": "same",
}  # fmt: skip
"""The last two are no user's: language/expectations.py makes them of the comparisons in `expect`
lines."""
UNARY = {"-": "neg", "+": "pos", "not": "not"}


def lower(checked: Checked, program: str) -> ir.Program:
    """The ir of one of the file's programs, with every function that it can reach."""
    return _Lowering(checked).program(program)


def lower_functions(checked: Checked, definitions: Sequence[tree.FunctionDef]) -> ir.Program:
    """Pure functions that stand in no file, such as a query's, with every function that they can
    reach."""
    return _Lowering(checked).pure(definitions)


@lru_cache(maxsize=1)
def prelude() -> Mapping[str, tree.FunctionDef]:
    """The stochastic built-ins, `text` and `word`, which are written in the language."""
    declarations = parse(prelude_source()).declarations
    return {d.name: d for d in declarations if isinstance(d, tree.FunctionDef)}


def prelude_source() -> Source:
    return Source(PRELUDE, files("fkdsl.language").joinpath("prelude.fk").read_text("utf-8"))


class _Lowering:
    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.functions: dict[str, ir.Function] = {}
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
                self.functions[callee] = _Body(self, self.definition(callee)).function()
        return verify(ir.Program(entry, self.functions))

    def definition(self, name: str) -> tree.FunctionDef:
        if name in self.checked.functions:
            return self.checked.functions[name].definition
        return prelude()[name]

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


class _Body:
    """Lowers one function."""

    def __init__(self, owner: _Lowering, definition: tree.FunctionDef) -> None:
        self.owner, self.checked, self.definition = owner, owner.checked, definition
        self.slots: list[str] = []
        self.scope: dict[str, int] = {}
        self.out: list[ir.Instr] = []
        self.labels = 0
        self.loops: list[tuple[str, str]] = []

    @property
    def in_prelude(self) -> bool:
        return self.definition.span.source.name == PRELUDE

    def function(self) -> ir.Function:
        d = self.definition
        for p in d.params:
            self.scope[p.name] = self.hidden(p.name)
        self.block(d.body)
        self.out.append(ir.Return(d.name_span, ir.Const(d.name_span, None)))
        return ir.Function(
            d.name, len(d.params), tuple(self.slots), reachable(self.out), d.name_span
        )

    # ------------------------------------------------------------ small parts

    def hidden(self, name: str) -> int:
        """A new slot."""
        self.slots.append(name)
        return len(self.slots) - 1

    def slot(self, name: str) -> int:
        """The slot of a variable, made at its first assignment."""
        if name not in self.scope:
            self.scope[name] = self.hidden(name)
        return self.scope[name]

    def targets(self, names: Iterable[tree.Name]) -> tuple[int, ...]:
        return tuple(self.slot(n.name) for n in names)

    def label(self, what: str) -> str:
        self.labels += 1
        return f"{what}{self.labels}"

    # ------------------------------------------------------------- statements

    def block(self, statements: Iterable[tree.Stmt]) -> None:
        for s in statements:
            self.statement(s)

    def statement(self, s: tree.Stmt) -> None:
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
            case tree.Condition(span, test):
                self.out.append(ir.Condition(span, self.expr(test)))
            case tree.Factor(span, value):
                self.out.append(ir.Factor(span, self.expr(value)))
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
                args = self.user_args(self.owner.definition(name), value)
                self.owner.wanted.append(name)
                self.out.append(ir.Call(span, self.slot(target.name), name, args))
                return
        distribution = self.expr(value)
        self.out.append(ir.Draw(span, self.slot(target.name), distribution, self.owner.site()))

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

    # ------------------------------------------------------------ expressions

    def expr(self, e: tree.Expr) -> ir.Expr:
        match e:
            case tree.Literal(span, value):
                return ir.Const(span, value)
            case tree.EosLiteral(span):
                return ir.Const(span, EOS)
            case tree.Name(span, name):
                # A name that is set nowhere before is read in code that is never reached, and that
                # is left out.
                return ir.Local(span, self.slot(name))
            case tree.FString(span, parts):
                return ir.Format(
                    span,
                    tuple(p if isinstance(p, str) else (self.expr(p.value), p.spec) for p in parts),
                )
            case tree.ListExpr(span, items):
                return ir.Operate(span, "list", self.exprs(items))
            case tree.RecordExpr(span, fields):
                return ir.RecordOf(
                    span, tuple(n for n, _ in fields), self.exprs(v for _, v in fields)
                )
            case tree.Unary(span, op, operand):
                return ir.Operate(span, UNARY[op], (self.expr(operand),))
            case tree.Binary(span, op, left, right):
                return ir.Operate(span, BINARY[op], (self.expr(left), self.expr(right)))
            case tree.Compare():
                return self.compare(e)
            case tree.BoolOp(span, op, operands):
                return (ir.And if op == "and" else ir.Or)(span, self.exprs(operands))
            case tree.IfExpr(span, test, then, other):
                return ir.Choose(span, self.expr(test), self.expr(then), self.expr(other))
            case tree.Index(span, value, index):
                return ir.Operate(span, "index", (self.expr(value), self.expr(index)))
            case tree.Slice(span, value, start, stop):
                ends = tuple(self.expr(x) if x else ir.Const(span, None) for x in (start, stop))
                return ir.Operate(span, "slice", (self.expr(value), *ends))
            case tree.Attribute(span, value, name):
                return ir.Operate(span, "attribute", (self.expr(value), ir.Const(span, name)))
            case tree.Comprehension():
                return self.comprehension(e)
            case tree.Call():
                return self.call(e)
        raise InternalError(f"no lowering for {type(e).__name__}")

    def exprs(self, items: Iterable[tree.Expr]) -> tuple[ir.Expr, ...]:
        return tuple(self.expr(i) for i in items)

    def compare(self, e: tree.Compare) -> ir.Expr:
        """`a < b < c` as `a < b and b < c`; operands are pure, so the middle one may be computed
        twice."""
        left, pairs = self.expr(e.first), []
        for op, operand in e.rest:
            right = self.expr(operand)
            pairs.append(ir.Operate(e.span, COMPARE[op], (left, right)))
            left = right
        return pairs[0] if len(pairs) == 1 else ir.And(e.span, tuple(pairs))

    def comprehension(self, e: tree.Comprehension) -> ir.Expr:
        outer = dict(self.scope)
        clauses = []
        for c in e.clauses:
            iterable = self.expr(c.iterable)
            targets = tuple(self.hidden(n.name) for n in c.targets)
            self.scope.update(zip((n.name for n in c.targets), targets, strict=True))
            clauses.append(ir.Clause(targets, iterable, self.exprs(c.conditions)))
        element = self.expr(e.element)
        self.scope = outer
        return ir.Gather(e.span, element, tuple(clauses))

    # ------------------------------------------------------------------ calls

    def call(self, e: tree.Call) -> ir.Expr:
        name = e.function.name
        if name in self.checked.functions:
            self.owner.wanted.append(name)
            return ir.Invoke(
                e.span, name, self.user_args(self.checked.functions[name].definition, e)
            )
        if name in self.checked.externs:
            return ir.Extern(
                e.span, name, self.param_args(self.checked.externs[name].definition.params, e)
            )
        if name in OPERATIONS:
            keywords = {k.name: k.value for k in e.keywords if k.name != "model"}
            args = self.bind(
                [(p.name, p.default) for p in OPERATIONS[name].params], e.args, keywords, e.span
            )
            return ir.Model(e.span, name, args, self.model_name(e))
        if name not in TABLE and self.in_prelude:
            name = f".{name}"  # a built-in that no program can name
        return ir.Builtin(e.span, name, self.builtin_args(TABLE[name], e))

    def model_name(self, e: tree.Call) -> str:
        for k in e.keywords:
            if k.name == "model":
                match k.value:
                    case tree.Name(name=name):
                        return name
                    case tree.Literal(value=str(reference)):
                        return reference
        return ""

    def user_args(self, definition: tree.FunctionDef, e: tree.Call) -> tuple[ir.Expr, ...]:
        return self.param_args(definition.params, e)

    def param_args(self, params: tuple[tree.Param, ...], e: tree.Call) -> tuple[ir.Expr, ...]:
        parameters = [(p.name, REQUIRED if p.default is None else p.default) for p in params]
        return self.bind(parameters, e.args, {k.name: k.value for k in e.keywords}, e.span)

    def builtin_args(self, signature: Signature, e: tree.Call) -> tuple[ir.Expr, ...]:
        fixed, extra = e.args[: len(signature.params)], e.args[len(signature.params) :]
        parameters = [(p.name, p.default) for p in signature.params]
        bound = self.bind(parameters, fixed, {k.name: k.value for k in e.keywords}, e.span)
        return bound + self.exprs(extra)

    def bind(
        self, parameters: Iterable[tuple[str, Any]], args: tuple[tree.Expr, ...], keywords: Mapping[str, tree.Expr],
        span: Span,
    ) -> tuple[ir.Expr, ...]:  # fmt: skip
        """One expression a parameter: by position, by name, or its default (a value or a constant
        expression)."""
        bound = []
        for i, (name, default) in enumerate(parameters):
            if i < len(args):
                bound.append(self.expr(args[i]))
            elif name in keywords:
                bound.append(self.expr(keywords[name]))
            elif isinstance(default, tree.Expr):
                bound.append(self.expr(default))
            elif default is REQUIRED:
                raise InternalError(f"a call without its argument {name} at {span}")
            else:
                bound.append(
                    ir.Const(NOWHERE, tuple(default) if isinstance(default, list) else default)
                )
        return tuple(bound)
