"""The expressions of the syntax tree. Statements, declarations and all names are in tree.py."""

from __future__ import annotations

from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span


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
