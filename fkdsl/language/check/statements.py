"""The types of statements: each variable's, from where it is first set, and a function's return
type."""

from __future__ import annotations

from collections.abc import Iterable

from fkdsl.base.errors import InternalError
from fkdsl.language.check.advice import shown
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.expressions import Expressions
from fkdsl.language.check.operators import (
    Misfit,
    binary_type,
    drawn_type,
    is_token_distribution,
    merged,
)
from fkdsl.language.check.report import a
from fkdsl.language.check.scopes import Scope, Variable, World
from fkdsl.language.syntax import edits, tree
from fkdsl.language.syntax.tree_walk import evaluated, reads, statements, targets, walk
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import (
    CONTEXT,
    FLOAT,
    INT,
    MARK,
    NONE,
    STR,
    TOKEN,
    Dist,
    List,
    Type,
    accepts,
)

DENSITIES = ("normal", "uniform", "beta")
"""Distributions of which each number has probability 0."""


class Body:
    """Checks the statements of one def or program; `check` gives its return type."""

    def __init__(self, world: World, definition: tree.FunctionDef) -> None:
        self.world, self.report, self.definition = world, world.report, definition
        self.scope = world.scopes[definition.name] = Scope()
        self.expressions = Expressions(world, self.scope)
        self.returned: Type | None = None
        self.returned_line = 0
        self.latents: list[tuple[tree.Name, Type]] = []
        self.at: tree.Stmt | None = None

    def check(self) -> Type:
        """Reports every mistake of types in the body. The declared return type, or the one that its
        returns have."""
        d = self.definition
        for p, t in zip(d.params, self.world.params[d.name], strict=True):
            self.scope.variables.setdefault(p.name, Variable(p.name, t, p.span, "a parameter"))
        self.scope.all_names = frozenset(n.name for s in statements(d.body) for n in targets(s))
        self.block(d.body)
        self.unused_latents()
        return d.returns or self.returned or NONE

    def block(self, body: Iterable[tree.Stmt]) -> None:
        for s in body:
            self.statement(s)

    def statement(self, s: tree.Stmt) -> None:
        x, self.at = self.expressions, s
        match s:
            case tree.Assign():
                self.assign(s)
            case tree.AugAssign():
                self.augmented(s)
            case tree.Draw(target=target, value=value):
                self.bind(target, self.drawn(target, value), "drawn")
            case tree.Observe():
                self.observe(s)
            case tree.Condition(test=test):
                self.condition(test)
            case tree.Factor(value=value):
                x.expect(value, FLOAT, "a factor, in nats")
            case tree.Twist(value=value):
                x.expect(value, FLOAT, "a twist, in nats")
            case tree.If(test=test, then=then, other=other):
                x.truth(test, "the test of `if`")
                self.block(then)
                self.block(other)
            case tree.While(test=test, body=body):
                x.truth(test, "the test of `while`")
                self.block(body)
            case tree.For(targets=names, iterable=iterable, body=body):
                items = x.unpacked(x.item_type(iterable), names, iterable)
                for name, item in zip(names, items, strict=True):
                    self.bind(name, item, "a loop variable")
                self.block(body)
            case tree.Return():
                self.returns(s)
            case tree.ExprStmt(value=value):
                self.bare(value)
            case tree.Checkpoint() | tree.Pass() | tree.Break() | tree.Continue():
                pass
            case _:
                raise InternalError(f"no check for {type(s).__name__}")

    # -------------------------------------------------------------- assignment

    def assign(self, s: tree.Assign) -> None:
        x = self.expressions
        if s.annotation is not None:
            x.expect(s.value, s.annotation, f"the value of `{s.targets[0].name}`")
            for target in s.targets:
                self.bind(target, s.annotation, "set", declared=True)
            return
        alone = isinstance(s.value, tree.Call) and len(s.targets) == 1
        x.calls.assigned = s.targets[0] if alone else None
        match s.value:
            case tree.ListExpr(items=items) if len(s.targets) > 1 and len(items) == len(s.targets):
                types = tuple(x.type_of(i) for i in items)
            case _:
                types = x.unpacked(x.type_of(s.value), s.targets, s.value)
        for target, t in zip(s.targets, types, strict=True):
            self.bind(target, t, "set")

    def bind(self, target: tree.Name, new: Type, how: str, declared: bool = False) -> None:
        """Sets a variable: the first time gives it its type, later ones must fit it. `_` takes
        anything."""
        self.world.types[id(target)] = new
        known = self.scope.variables.get(target.name)
        if known is None or target.name == "_":
            self.scope.variables[target.name] = Variable(target.name, new, target.span, how)
            return
        if (declared and new != known.type) or not accepts(known.type, new):
            self.type_changes(target, known, new)
        elif isinstance(known.type, List) and known.type != new:
            # A list that began as [] gets its items' type from the first that it is given.
            self.scope.variables[target.name] = Variable(
                known.name, merged(known.type, new) or known.type, known.span, known.how
            )

    def type_changes(self, target: tree.Name, known: Variable, new: Type) -> None:
        line = known.span.line
        help = "give the new value a name of its own"
        change: edits.Edits = ()
        if known.type == INT and new == FLOAT:
            help = f"make it a float in line {line}, such as `{target.name} = 0.0`"
            change = edits.with_point(known.span)
        elif known.type == NONE:
            help = f"start it at a value of type `{new}` in line {line}"
        elif isinstance(known.type, Dist) and accepts(known.type.item, new):
            help = (
                f"did you mean `~` for `=` in line {line}? `=` names the distribution, "
                "`~` draws from it"
            )
            change = edits.drawn(known.span)
        self.report.error(
            "FK214", f"`{target.name}` is `{known.type}` and cannot become `{new}`", target.span,
            f"set to `{new}`",
            help, notes=(f"`{target.name}` is {known}",), edits=change,
        )  # fmt: skip

    def augmented(self, s: tree.AugAssign) -> None:
        x = self.expressions
        target = x.type_of(s.target)
        if target == CONTEXT and s.op == "+":
            self.text_or_mark(s.value, f"what `{s.target.name}` is extended by")
            return
        given = x.type_of(s.value)
        result = binary_type(s.op, target, given)
        if isinstance(result, Misfit):
            self.report.error(
                "FK211", result.message, s.span, f"`{target}` {s.op}= `{given}`", result.help
            )
        elif s.target.name in self.scope.variables:
            self.bind(s.target, result, "set")

    # ------------------------------------------------------------ the four words

    def drawn(self, target: tree.Name, value: tree.Expr) -> Type:
        """The type of a draw from `value`, which is a distribution or a call of a stochastic
        function."""
        x = self.expressions
        if isinstance(value, tree.Call) and x.calls.is_stochastic(value.function.name):
            return x.calls.result(value)
        actual = x.type_of(value)
        item = drawn_type(actual)
        if item is None:
            if isinstance(value, tree.Call) and value.function.name in self.world.functions:
                name = value.function.name
                self.report.error(
                    "FK217", f"`{name}` draws nothing: it gives {a(actual)}", value.span,
                    "a call of a pure function",
                    f"write `{target.name} = {name}(...)`",
                    edits=edits.set_to(target.span),
                )  # fmt: skip
            else:
                help = (
                    "write `a * b` for both at once, or `mixture([a, b])` for one or the other"
                    if isinstance(value, tree.BoolOp)
                    and all(isinstance(e, tree.Name) for e in value.operands)
                    else f"write `{target.name} = ...` to set it, or draw: `{target.name} ~ lm`, "
                    "`~ bernoulli(0.5)`"
                )
                message = f"`~` needs a distribution, not {a(actual)}"
                self.report.error("FK215", message, value.span, f"this is `{actual}`", help)
            return actual
        if not is_token_distribution(actual) and not self.appends(value):
            self.latents.append((target, actual))
        return item

    def appends(self, value: tree.Expr) -> bool:
        """Whether drawing from the expression extends a context, which counts as using it."""
        if not isinstance(value, tree.Call):
            return any(self.world.types.get(id(node)) == CONTEXT for node in walk(value))
        operation = OPERATIONS.get(value.function.name)
        return operation is not None and operation.appends

    def observe(self, s: tree.Observe) -> None:
        x = self.expressions
        if isinstance(s.distribution, tree.Call) and x.calls.is_stochastic(
            s.distribution.function.name
        ):
            name = s.distribution.function.name
            x.type_of(s.value)
            x.calls.result(s.distribution)
            self.report.error(
                "FK231", f"`observe` needs a distribution, and `{name}` is a stochastic function",
                s.distribution.span,
                "its probabilities are not known",
                "observe inside it what it draws from; or draw, and `condition x == ...`",
            )  # fmt: skip
            return
        actual = x.type_of(s.distribution)
        item = drawn_type(actual)
        if item is None:
            reversed_ = drawn_type(x.type_of(s.value)) is not None
            self.report.error(
                "FK215", f"`observe ... ~` needs a distribution, not {a(actual)}",
                s.distribution.span,
                f"this is `{actual}`",
                f"the value comes first: `observe {shown(s.distribution)} ~ {shown(s.value)}`"
                if reversed_
                else "write `condition ... == ...`, or observe from `normal(mean, sd)`, `lm`, ...",
            )  # fmt: skip
            return
        if item == TOKEN:
            self.text_or_mark(s.value, "the observed value")
        else:
            x.expect(s.value, item, "the observed value")

    def text_or_mark(self, e: tree.Expr, role: str) -> None:
        """Checks what a context is given: a text, a token or a special token."""
        given = self.expressions.type_of(e)
        if given != MARK:
            self.expressions.fitted(e, given, STR, role, "FK213")

    def condition(self, test: tree.Expr) -> None:
        self.expressions.truth(test, "a condition")
        match test:
            case tree.Literal(value=False) if not any(s is self.at for s in self.definition.body):
                pass  # in a branch it is how others raise an error
            case tree.Literal(value=bool(value)):
                effect = "changes nothing" if value else "kills every particle"
                self.report.warning(
                    "FK312",
                    f"this condition {effect}",
                    test.span,
                    "always the same",
                    "test a value",
                )
            case tree.Compare(first=a, rest=((("==", b),))):
                for x, other in ((a, b), (b, a)):
                    self._hit_by_chance(test, x, other)

    def _hit_by_chance(self, test: tree.Expr, x: tree.Expr, other: tree.Expr) -> None:
        """Warns of `x == 0.5` where x is a draw from a density, which has each number with
        probability 0."""
        if not isinstance(x, tree.Name):
            return
        everything = statements(self.definition.body)
        sets = [s for s in everything if any(t.name == x.name for t in targets(s))]
        match sets:
            case [tree.Draw(value=tree.Call(function=of) as drawn)] if of.name in DENSITIES:
                within = f"abs({x.name} - {shown(other)})"
                observed = f"observe {shown(other)} ~ {shown(drawn)}"
                help = f"write `{observed}` in place of the draw, or a range: `{within} < 0.1`"
                message = f"`{x.name}` is drawn from a density, and never equals a number by chance"
                self.report.warning("FK312", message, test.span, "has probability 0", help)

    # -------------------------------------------------------------------- others

    def returns(self, s: tree.Return) -> None:
        declared = self.definition.returns
        x = self.expressions
        if declared is not None and s.value is not None:
            self.returned = x.expect(s.value, declared, f"the value of `{self.definition.name}`")
            return
        actual = NONE if s.value is None else x.type_of(s.value)
        place = s.span if s.value is None else s.value.span
        if declared is not None:
            self.report.error(
                "FK304",
                f"`{self.definition.name}` gives {a(declared)}, but nothing is returned here",
                place,
                "no value", "write `return ...` with its value",
            )  # fmt: skip
            return
        if self.returned is None:
            self.returned, self.returned_line = actual, s.span.line
            return
        both = merged(self.returned, actual)
        if both is None:
            self.report.error(
                "FK304",
                f"`{self.definition.name}` returns `{actual}` here, but `{self.returned}` in line "
                f"{self.returned_line}", place, f"this is `{actual}`", "return values of one type",
            )  # fmt: skip
        else:
            self.returned = both

    def bare(self, value: tree.Expr) -> None:
        """An expression as a statement: only a call of a def or extern can have an effect."""
        self.expressions.type_of(value)
        match value:
            case tree.Call(function=function) if (
                function.name in OPERATIONS or function.name in TABLE
            ):
                pass
            case tree.Call():
                return
        if isinstance(value, tree.Call) and self.expressions.calls.is_stochastic(
            value.function.name
        ):
            return
        help = "write `x = ...` to keep its value, or remove it"
        if isinstance(value, tree.Compare):
            help = "write `condition ...` to demand it, or `x = ...` to set a variable"
        self.report.warning(
            "FK313", "this has no effect", value.span, "its value is not used", help
        )

    def unused_latents(self) -> None:
        read = {
            n.name for s in statements(self.definition.body) for e in evaluated(s) for n in reads(e)
        }
        for target, _ in self.latents:
            if target.name not in read and not target.name.startswith("_"):
                self.report.warning(
                    "FK311", f"`{target.name}` is drawn and never used", target.span, "never read",
                    f"remove the draw, or call it `_{target.name}`",
                    edits=edits.before(target.span, "_"),
                )  # fmt: skip
