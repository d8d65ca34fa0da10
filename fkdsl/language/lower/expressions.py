"""Expressions lowered to ir: names become slots, calls are bound to their parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fkdsl.base.errors import InternalError
from fkdsl.base.spans import NOWHERE, PRELUDE, Span
from fkdsl.ir import nodes as ir
from fkdsl.language.check.checker import Checked
from fkdsl.language.check.constants import BINARY, UNARY
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import statements, targets
from fkdsl.values.documents import IndexRef
from fkdsl.values.signatures import REQUIRED, TABLE, Signature
from fkdsl.values.types import CONTEXT, TOKEN, Dist
from fkdsl.values.values import EOS

COMPARE = {
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "in": "in",
    "not in": "notin",
    "agrees": "agree", "same": "same",
}  # fmt: skip
"""The last two are no user's: language/expectations.py makes them of the comparisons in `expect`
lines."""

OF_TOKENS = (CONTEXT, Dist(TOKEN))


class ExpressionLowering:
    """Lowers the expressions of one function. slots: a name for each slot so far; scope: the slot
    of each variable; called: the functions of the program that are called, added to."""

    def __init__(self, checked: Checked, definition: tree.FunctionDef, called: list[str]) -> None:
        self.checked, self.definition, self.called = checked, definition, called
        self.own = {n.name for s in statements(definition.body) for n in targets(s)}
        self.slots: list[str] = []
        self.scope: dict[str, int] = {}

    @property
    def in_prelude(self) -> bool:
        return self.definition.span.source.name == PRELUDE

    def hidden(self, name: str) -> int:
        """A new slot."""
        self.slots.append(name)
        return len(self.slots) - 1

    def is_variable(self, name: str) -> bool:
        """Whether the function has a variable of this name, set before or further down."""
        return name in self.scope or name in self.own

    def slot(self, name: str) -> int:
        """The slot of a variable, made at its first assignment."""
        if name not in self.scope:
            self.scope[name] = self.hidden(name)
        return self.scope[name]

    def targets(self, names: Iterable[tree.Name]) -> tuple[int, ...]:
        return tuple(self.slot(n.name) for n in names)

    def expr(self, e: tree.Expr) -> ir.Expr:  # noqa: C901  a case for each class
        match e:
            case tree.Literal(span, value):
                return ir.Const(span, value)
            case tree.EosLiteral(span):
                return ir.Const(span, EOS)
            case tree.Name(span, name) if name in self.checked.indexes and not self.is_variable(
                name
            ):
                return ir.Const(span, IndexRef(name))
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
            self.called.append(name)
            return ir.Invoke(
                e.span, name, self.user_args(self.checked.functions[name].definition, e)
            )
        if name in self.checked.externs:
            return ir.Extern(
                e.span, name, self.param_args(self.checked.externs[name].definition.params, e)
            )
        if name in OPERATIONS:
            keywords = {k.name: k.value for k in e.keywords if k.name != "model"}
            cut = 1 if OPERATIONS[name].parts is not None else len(e.args)
            given, more = e.args[:cut], e.args[cut:]
            args = self.bind(
                [(p.name, p.default) for p in OPERATIONS[name].params], given, keywords, e.span
            )
            args += self.exprs(more)
            if name == "logprob" and self.checked.types.get(id(scored_by(e))) not in OF_TOKENS:
                name = "log_density"
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
        self, parameters: Iterable[tuple[str, Any]], args: tuple[tree.Expr, ...],
        keywords: Mapping[str, tree.Expr],
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


def scored_by(e: tree.Call) -> tree.Expr | None:
    """The context or distribution of a call of `logprob`."""
    named = {k.name: k.value for k in e.keywords}
    return e.args[0] if e.args else named.get("context")
