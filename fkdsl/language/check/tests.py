"""Checks of `test`: its settings, and what it expects of P(...), E(...), Z, log_Z and the
support."""

from __future__ import annotations

from collections.abc import Iterable, Set

from fkdsl.language.check.calls import Calls
from fkdsl.language.check.constants import check_value, is_constant
from fkdsl.language.check.expressions import Expressions
from fkdsl.language.check.queries import MEANS, asks_no_model
from fkdsl.language.check.report import a, did_you_mean, listed
from fkdsl.language.check.scopes import Scope, World
from fkdsl.language.syntax import edits, tree
from fkdsl.language.syntax.tree_walk import reads
from fkdsl.values.types import ANY, BOOL, FLOAT, List, Type, accepts

FIGURES = ("Z", "log_Z")
SUPPORT = "support"


def check_tests(world: World, tests: Iterable[tree.Test], asks_model: Set[str]) -> None:
    """Each test's settings, and each expectation true or false."""
    seen: dict[str, tree.Test] = {}
    for t in tests:
        if t.title in seen:
            world.report.error(
                "FK346", f'test "{t.title}" is declared twice', t.span, "again here",
                "give it another title",
                notes=(f"first in line {seen[t.title].span.line}",),
            )  # fmt: skip
        seen.setdefault(t.title, t)
        program = _program(world, t)
        _check_settings(world, t, program)
        value = world.returns[program] if program is not None else ANY
        for e in t.expectations:
            if asks_no_model(world.report, e, asks_model):
                _Expectation(world, value).truth(e, "what is expected")


# ------------------------------------------------------------------- settings


def _program(world: World, t: tree.Test) -> str | None:
    """The program that a test runs: the one that it names, or the only one; None where the caller
    is to choose."""
    for k in t.settings:
        if k.name == "program":
            if isinstance(k.value, tree.Name) and k.value.name in world.programs:
                return k.value.name
            known = listed(world.programs) or "none"
            _misset(
                world,
                k,
                f"there is no program `{k.value.span.text}`",
                f"the file's programs are {known}",
            )
            return None
    return next(iter(world.programs)) if len(world.programs) == 1 else None


def _check_settings(world: World, t: tree.Test, program: str | None) -> None:
    given: set[str] = set()
    for k in t.settings:
        if k.name in given:
            world.report.error(
                "FK207", f"`{k.name}` is given twice", k.span, "again here", "leave one of them out"
            )
        given.add(k.name)
        if k.name == "model":
            _check_table(world, k)
        elif k.name != "program" and program is not None:
            _check_parameter(world, k, program)


def _check_table(world: World, k: tree.Keyword) -> None:
    tables = [n for n, d in world.models.items() if n is not None and d.table is not None]
    if not isinstance(k.value, tree.Name) or k.value.name not in tables:
        otherwise = (
            f"the file's tables are {listed(tables)}"
            if tables
            else "declare one: `model toy = table:`"
        )
        _misset(
            world,
            k,
            f"`{k.value.span.text}` is no table of this file",
            did_you_mean(k.value.span.text, tables, otherwise),
            edits.spelt(k.value.span, k.value.span.text, tables),
        )


def _check_parameter(world: World, k: tree.Keyword, program: str) -> None:
    params = [p.name for p in world.programs[program].params]
    if k.name not in params:
        otherwise = f"its parameters are {listed(params)}" if params else "it has no parameters"
        _misset(
            world,
            k,
            f"`{program}` has no parameter `{k.name}`",
            did_you_mean(k.name, params, otherwise),
            edits.spelt(k.span, k.name, params),
        )
        return
    wanted = world.params[program][params.index(k.name)]
    if not is_constant(k.value):
        _misset(
            world,
            k,
            f"the value of `{k.name}` is no literal",
            "write it out: a test computes no parameters",
        )
        return
    actual = Expressions(world, Scope()).type_of(k.value)
    if not accepts(wanted, actual):
        _misset(
            world,
            k,
            f"`{k.name}` is {a(wanted)}, not {a(actual)}",
            f"write a literal of type `{wanted}`",
        )
    else:
        check_value(world.report, k.value, "FK349", f"the value of `{k.name}`")


def _misset(
    world: World, k: tree.Keyword, message: str, help: str, change: edits.Edits = ()
) -> None:
    world.report.error("FK349", message, k.value.span, "in this test", help, edits=change)


# --------------------------------------------------------------- expectations


class _Expectation(Expressions):
    """Expressions of `expect`: Z and log_Z are numbers, `support` a list, `value` is known inside
    P(...) and E(...)."""

    def __init__(self, world: World, value: Type) -> None:
        super().__init__(world, Scope())
        self.value_type, self.inside = value, False
        self.calls = _ExpectationCalls(self)

    def _name(self, e: tree.Name) -> Type:
        if e.name in self.scope.variables:
            return super()._name(e)
        if e.name == "value":
            if not self.inside:
                self.report.error(
                    "FK344", "`value` has no single value here", e.span, "outside P and E",
                    'write `P(value == "...")` or `E(len(value))`',
                )  # fmt: skip
                return ANY
            return self.value_type
        if e.name in FIGURES and not self.inside:
            return FLOAT
        if e.name == SUPPORT and not self.inside:
            return List(self.value_type)
        return super()._name(e)


class _ExpectationCalls(Calls):
    expressions: _Expectation

    def result(self, call: tree.Call) -> Type:
        wanted = MEANS.get(call.function.name)
        if wanted is None or call.function.name in self.world.functions:
            return super().result(call)
        name, outer = call.function.name, self.expressions.scope
        if len(call.args) != 1 or call.keywords or self.expressions.inside:
            self.report.error(
                "FK344", f"`{name}` takes one expression over `value`", call.span,
                "not one expression",
                'write `P(value == "...")` or `E(len(value))`, not one inside the other',
            )  # fmt: skip
            return FLOAT
        for read in reads(call.args[0]):
            if read.name in outer.variables and read.name != "value":
                self.report.error(
                    "FK344", f"`{read.name}` is not known inside `{name}`", read.span,
                    "of the loop around it",
                    f"only `value` is random: write each `{name}(...)` out",
                )  # fmt: skip
                return FLOAT
        self.expressions.inside, self.expressions.scope = True, Scope()
        self.expressions.expect(
            call.args[0], wanted, f"what is inside `{name}`", "FK212" if wanted == BOOL else "FK213"
        )
        self.expressions.inside, self.expressions.scope = False, outer
        return FLOAT
