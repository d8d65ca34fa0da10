"""The syntax tree, which is the grammar's meaning: frozen nodes, each with the span of the text it
came from. Spans are left out of equality: two parses of the same program are equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.spans import Source, Span
from fkdsl.values.types import Type

# ---------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Expr:
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Literal(Expr):
    """A number, a string (escapes resolved; r"..." is raw), true, false or none."""

    value: bool | int | float | str | None


@dataclass(frozen=True)
class Unreadable(Expr):
    """In place of what could not be read: of any type. A tree with one is checked, never run."""


@dataclass(frozen=True)
class EosLiteral(Expr):
    """`EOS`, the token that ends a text."""


@dataclass(frozen=True)
class Name(Expr):
    name: str


@dataclass(frozen=True)
class FormatPart:
    """`{value:spec}` of an f-string; `spec` is Python's format specification, '' for none."""

    value: Expr
    spec: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class FString(Expr):
    parts: tuple[str | FormatPart, ...]


@dataclass(frozen=True)
class ListExpr(Expr):
    items: tuple[Expr, ...]


@dataclass(frozen=True)
class RecordExpr(Expr):
    """`{"name": e, ...}`: a record; keys are string literals."""

    fields: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True)
class Unary(Expr):
    op: str  # "-", "+", "not"
    operand: Expr


@dataclass(frozen=True)
class Binary(Expr):
    op: str  # + - * / // % **
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Compare(Expr):
    """`a < b <= c`: first, then (operator, operand) pairs; "not in" is one operator."""

    first: Expr
    rest: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True)
class BoolOp(Expr):
    op: str  # "and", "or"
    operands: tuple[Expr, ...]


@dataclass(frozen=True)
class IfExpr(Expr):
    """`then if test else other`."""

    test: Expr
    then: Expr
    other: Expr


@dataclass(frozen=True)
class Index(Expr):
    value: Expr
    index: Expr


@dataclass(frozen=True)
class Slice(Expr):
    """`value[start:stop]`; either end may be left out."""

    value: Expr
    start: Expr | None
    stop: Expr | None


@dataclass(frozen=True)
class Attribute(Expr):
    """`value.name`: text, tokens and done of a context, or a record's field."""

    value: Expr
    name: str


@dataclass(frozen=True)
class Keyword:
    name: str
    value: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Call(Expr):
    """`name(args, key=value)`. Only names are called: functions are no values."""

    function: Name
    args: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True)
class Clause:
    """`for a, b in iterable if cond if cond` of a comprehension."""

    targets: tuple[Name, ...]
    iterable: Expr
    conditions: tuple[Expr, ...]


@dataclass(frozen=True)
class Comprehension(Expr):
    """`[element for ...]`, or the bare generator argument of a call: both give a list."""

    element: Expr
    clauses: tuple[Clause, ...]


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
    `model name = table:` with rows."""

    name: str | None
    reference: str | None
    table: tuple[TableRow, ...] | None
    view: View | None = None


@dataclass(frozen=True)
class Import(Decl):
    path: str


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
