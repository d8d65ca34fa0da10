"""What names stand for: the variables of one function, and what the whole file declares.

Variables and functions are different namespaces, since only names of functions are called and only
variables are read: a variable may be called `text` or `words` and hide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path

from fkdsl.base.diagnostics import near_name
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.language.check.report import Report
from fkdsl.language.syntax import edits, tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.types import ANY, CONTEXT, Dist, Type


@dataclass(frozen=True)
class FunctionInfo:
    """A checked def or program. stochastic: it draws or weighs, so it is called by `~`. asks_model:
    it, or a function that it calls, uses a context, so that running it may need a model's
    answer."""

    definition: tree.FunctionDef
    params: tuple[Type, ...]
    returns: Type
    stochastic: bool
    asks_model: bool


@dataclass(frozen=True)
class ExternInfo:
    """A declared Python function. folder: that of the file which declares it; `definition.path` is
    relative to it."""

    definition: tree.ExternDef
    params: tuple[Type, ...]
    returns: Type
    folder: Path | None


@dataclass
class Variable:
    """A variable of a function: its type, where it was first set, and how ('a parameter', 'set',
    'drawn', ...)."""

    name: str
    type: Type
    span: Span
    how: str

    def __str__(self) -> str:
        return (
            f"{self.how} of line {self.span.line}"
            if self.how.startswith("a ")
            else f"{self.how} at line {self.span.line}"
        )


@dataclass
class Scope:
    """The variables of one function. `all_names`: every one that it sets anywhere, before or
    after."""

    variables: dict[str, Variable] = field(default_factory=dict)
    all_names: frozenset[str] = frozenset()

    @contextmanager
    def inner(self) -> Iterator[None]:
        """A comprehension's scope: what is set inside is forgotten after."""
        before = dict(self.variables)
        try:
            yield
        finally:
            self.variables = before

    def near(self, name: str) -> str:
        """Advice that offers a near variable, with where it is set; '' if none is near."""
        near = near_name(name, [*self.variables, *self.all_names])
        if near is None:
            return ""
        known = self.variables.get(near)
        return f"did you mean `{near}`, {known}?" if known else f"did you mean `{near}`?"

    def respelt(self, e: tree.Name) -> edits.Edits:
        """The near variable that `near` offers, in place of a name."""
        return edits.spelt(e.span, e.name, [*self.variables, *self.all_names])


WEIGHING = (tree.Draw, tree.Observe, tree.Condition, tree.Factor, tree.Twist, tree.Checkpoint)
"""The statements that make a function stochastic."""


def is_stochastic(definition: tree.FunctionDef) -> bool:
    return any(isinstance(node, WEIGHING) for node in walk(*definition.body))


def parameter_type(param: tree.Param) -> Type:
    """A parameter's declared type, or its literal default's, or any."""
    return param.type if param.type is not None else ANY


def touches_context(types: tuple[Type, ...]) -> bool:
    return any(t == CONTEXT or isinstance(t, Dist) for t in types)


@dataclass
class World:
    """What the whole file declares, imports included, and the mistakes found so far.

    returns: the return type of each def and program that is known so far; a def without `->` gets
    its own when its body has been checked, which is before its callers' unless they call each other
    in a circle. types: of every expression checked, and of every name that is set, by the identity
    of its node. scopes: the variables of each def and program that has been checked. unreadable:
    names in lines that could not be read, of which nothing is said.
    """

    report: Report
    functions: dict[str, tree.FunctionDef] = field(default_factory=dict)
    programs: dict[str, tree.FunctionDef] = field(default_factory=dict)
    externs: dict[str, ExternInfo] = field(default_factory=dict)
    models: dict[str | None, tree.ModelDecl] = field(default_factory=dict)
    indexes: dict[str, tree.IndexDecl] = field(default_factory=dict)
    params: dict[str, tuple[Type, ...]] = field(default_factory=dict)
    returns: dict[str, Type] = field(default_factory=dict)
    stochastic: set[str] = field(default_factory=set)
    types: dict[int, Type] = field(default_factory=dict)
    scopes: dict[str, Scope] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
