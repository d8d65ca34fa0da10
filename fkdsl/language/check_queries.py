"""Checks of `query` and `test`: expressions over `value`, what the program returns."""

from __future__ import annotations

from collections.abc import Iterable, Set

from fkdsl.language import tree
from fkdsl.language.check_calls import Calls
from fkdsl.language.check_expressions import Expressions
from fkdsl.language.check_report import Report, a
from fkdsl.language.context_operations import OPERATIONS
from fkdsl.language.scopes import Scope, Variable, World
from fkdsl.language.tree_walk import walk
from fkdsl.program.types import ANY, BOOL, FLOAT, Type, accepts

MEANS: dict[str, Type] = {"P": BOOL, "E": FLOAT}
"""What stands inside P(...) and E(...)."""


def check_queries(world: World, queries: Iterable[tree.Query], value: Type, asks_model: Set[str]) -> None:
    """Each query a number or a truth value, computed from `value` alone."""
    seen: dict[str, tree.Query] = {}
    for q in queries:
        if q.name in seen:
            world.report.error(
                "FK346", f"query `{q.name}` is declared twice", q.span, "again here", "give it another name",
                notes=(f"first in line {seen[q.name].span.line}",),
            )  # fmt: skip
        seen.setdefault(q.name, q)
        if not _asks_no_model(world.report, q.value, asks_model):
            continue
        scope = Scope({"value": Variable("value", value, q.span, "a result")})
        found = Expressions(world, scope).type_of(q.value)
        if not accepts(FLOAT, found):
            world.report.error(
                "FK345", f"a query is a number or a truth value, not {a(found)}", q.value.span, f"this is `{found}`",
                'write what to average: `contains(value, "please")`, `len(value)`',
            )  # fmt: skip


def check_tests(world: World, tests: Iterable[tree.Test], value: Type, asks_model: Set[str]) -> None:
    """Each expectation true or false, about P(...), E(...), Z and log_Z."""
    seen: dict[str, tree.Test] = {}
    for t in tests:
        if t.title in seen:
            world.report.error(
                "FK346", f'test "{t.title}" is declared twice', t.span, "again here", "give it another title",
                notes=(f"first in line {seen[t.title].span.line}",),
            )  # fmt: skip
        seen.setdefault(t.title, t)
        for e in t.expectations:
            if _asks_no_model(world.report, e, asks_model):
                _Expectation(world, value).truth(e, "what is expected")


def _asks_no_model(report: Report, e: tree.Expr, asks_model: Set[str]) -> bool:
    calls = [n for n in walk(e) if isinstance(n, tree.Call)]
    for call in calls:
        name = call.function.name
        if name in asks_model or name in OPERATIONS:
            report.error(
                "FK347", f"`{name}` asks a model, and this is about the returned value alone", call.span,
                "asks a model", "compute it in the program, and return it with the value in a record",
            )  # fmt: skip
    return not any(c.function.name in asks_model or c.function.name in OPERATIONS for c in calls)


class _Expectation(Expressions):
    """Expressions of `expect`: Z and log_Z are numbers, `value` is known inside P(...) and E(...)."""

    def __init__(self, world: World, value: Type) -> None:
        super().__init__(world, Scope())
        self.value_type, self.inside = value, False
        self.calls = _ExpectationCalls(self)

    def _name(self, e: tree.Name) -> Type:
        if e.name == "value":
            if not self.inside:
                self.report.error(
                    "FK344", "`value` has no single value here", e.span, "outside P and E",
                    'write `P(value == "...")` or `E(len(value))`',
                )  # fmt: skip
                return ANY
            return self.value_type
        if e.name in ("Z", "log_Z") and e.name not in self.scope.variables:
            return FLOAT
        return super()._name(e)


class _ExpectationCalls(Calls):
    expressions: _Expectation

    def result(self, call: tree.Call) -> Type:
        wanted = MEANS.get(call.function.name)
        if wanted is None:
            return super().result(call)
        name = call.function.name
        if len(call.args) != 1 or call.keywords or self.expressions.inside:
            self.report.error(
                "FK344", f"`{name}` takes one expression over `value`", call.span, "not one expression",
                'write `P(value == "...")` or `E(len(value))`, not one inside the other',
            )  # fmt: skip
            return FLOAT
        self.expressions.inside = True
        self.expressions.expect(
            call.args[0], wanted, f"what is inside `{name}`", "FK212" if wanted == BOOL else "FK213"
        )
        self.expressions.inside = False
        return FLOAT
