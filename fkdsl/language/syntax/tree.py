"""The syntax tree, which is the grammar's meaning: frozen nodes, each with the span of the text it
came from. Spans are left out of equality: two parses of the same program are equal.

Expressions stand in tree_expressions.py, statements and declarations here; `tree.` names them all.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span
from fkdsl.language.syntax.tree_expressions import *  # noqa: F403  (tree.Name and the others)
from fkdsl.language.syntax.tree_expressions import Clause, Expr, FormatPart, Keyword, Literal, Name
from fkdsl.values.types import Type

# ---------------------------------------------------------------- statements


@dataclass(frozen=True)
class Stmt:
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Assign(Stmt):
    """`x = e`, `a, b = e`, or `x: type = e`."""

    targets: tuple[Name, ...]
    value: Expr
    annotation: Type | None = None


@dataclass(frozen=True)
class AugAssign(Stmt):
    """`x op= e`; op is one of + - * /. On a context, `+=` appends fixed text, with no weight."""

    target: Name
    op: str
    value: Expr


@dataclass(frozen=True)
class Draw(Stmt):
    """`x ~ e`: a latent, from a distribution, a context expression, or a call of a stochastic
    function."""

    target: Name
    value: Expr


@dataclass(frozen=True)
class Observe(Stmt):
    """`observe value ~ distribution`."""

    value: Expr
    distribution: Expr


@dataclass(frozen=True)
class Condition(Stmt):
    test: Expr


@dataclass(frozen=True)
class Factor(Stmt):
    value: Expr  # nats


@dataclass(frozen=True)
class Twist(Stmt):
    value: Expr  # nats, until the next twist or the program's end


@dataclass(frozen=True)
class Checkpoint(Stmt):
    pass


@dataclass(frozen=True)
class If(Stmt):
    """`elif` is an If as the only statement of `other`."""

    test: Expr
    then: tuple[Stmt, ...]
    other: tuple[Stmt, ...]


@dataclass(frozen=True)
class For(Stmt):
    targets: tuple[Name, ...]
    iterable: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class While(Stmt):
    test: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class Break(Stmt):
    pass


@dataclass(frozen=True)
class Continue(Stmt):
    pass


@dataclass(frozen=True)
class Pass(Stmt):
    pass


@dataclass(frozen=True)
class Return(Stmt):
    value: Expr | None


@dataclass(frozen=True)
class ExprStmt(Stmt):
    """A bare expression, such as a call that appends to a context; a docstring is not one."""

    value: Expr


# -------------------------------------------------------------- declarations


class End(Enum):
    """`EOS` as a table entry."""

    EOS = "EOS"


@dataclass(frozen=True)
class TableEntry:
    token: str | End
    probability: float
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class TableRow:
    context: str
    entries: tuple[TableEntry, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Decl:
    span: Span = field(compare=False, repr=False)


DEFAULT = "default"
"""The value of an option that is left out, where `none` is a value of its own."""


@dataclass(frozen=True)
class View:
    """`bytes(of, beam=n)`: a model made of another, which is a declared name or a reference. span:
    that of the other. declared: whether it is a name. beam: "default", or how many sequences, None
    for all."""

    span: Span = field(compare=False, repr=False)
    of: str
    declared: bool
    beam: int | str | None


@dataclass(frozen=True)
class ModelDecl(Decl):
    """`model "ref"` (name None: the default), `model name = "ref"`, `model name = bytes(...)`, or
    `model name = table:` with rows. options: of a reference, behind `with`; literals."""

    name: str | None
    reference: str | None
    table: tuple[TableRow, ...] | None
    view: View | None = None
    options: tuple[Keyword, ...] = ()

    @property
    def option_values(self) -> dict[str, Any]:
        """The options' values by name; None for what is no literal."""
        return {
            k.name: k.value.value if isinstance(k.value, Literal) else None for k in self.options
        }


@dataclass(frozen=True)
class Import(Decl):
    path: str


@dataclass(frozen=True)
class IndexDecl(Decl):
    """`index name = "pattern" with option=value, ...`: files to retrieve documents from; values are
    literals."""

    name: str
    pattern: str
    options: tuple[Keyword, ...] = ()


@dataclass(frozen=True)
class Param:
    name: str
    type: Type | None
    default: Expr | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class ExternDef(Decl):
    """`extern def name(params) -> type from "file.py"`."""

    name: str
    params: tuple[Param, ...]
    returns: Type
    path: str


@dataclass(frozen=True)
class FunctionDef(Decl):
    """`def`, or `program` when `is_program`; a body with `~` (or that calls one with it) is
    stochastic."""

    name: str
    params: tuple[Param, ...]
    returns: Type | None
    doc: str
    body: tuple[Stmt, ...]
    is_program: bool
    name_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Infer(Decl):
    """`infer method(option=value, ...)`; values are literals."""

    method: str
    options: tuple[Keyword, ...]


@dataclass(frozen=True)
class Query(Decl):
    """`query name = expression`, over `value`, the program's return value."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Test(Decl):
    """`test "title" with setting=value, ...:` with `expect` lines. settings: `model=` and
    `program=`, which take names, and parameters of the program."""

    title: str
    expectations: tuple[Expr, ...]
    settings: tuple[Keyword, ...] = ()


@dataclass(frozen=True)
class Module:
    """A whole file, its declarations in order. mistakes: of its text. unreadable: the names in the
    lines that have them, of which nothing is known."""

    source: Source = field(compare=False, repr=False)
    declarations: tuple[Decl, ...]
    mistakes: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    unreadable: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


NODES = (Expr, FormatPart, Keyword, Clause, Stmt, TableEntry, TableRow, Decl, View, Param, Module)
"""The classes of which every node of a tree is one."""
