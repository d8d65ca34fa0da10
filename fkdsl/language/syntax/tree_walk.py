"""Walks over the syntax tree: its children, its depth, the names that it reads and sets. None of
them recurses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from fkdsl.language.syntax import tree

MODEL_KEYWORD_FUNCTIONS = ("prompt", "chat")
"""The functions whose `model=` takes a model's name, which is no variable."""


def children(node: Any) -> Iterator[Any]:
    """The tree nodes directly below a node."""
    for name in _parts(type(node)):
        value = getattr(node, name)
        if isinstance(value, tuple):
            yield from _nodes(value)
        elif isinstance(value, tree.NODES):
            yield value


_PARTS: dict[type[Any], tuple[str, ...]] = {}


def _parts(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a class of nodes that may hold nodes."""
    known = _PARTS.get(kind)
    if known is None:
        known = _PARTS[kind] = tuple(f.name for f in fields(kind) if f.name != "span")
    return known


def _nodes(values: tuple[Any, ...]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from _nodes(value)
        elif isinstance(value, tree.NODES):
            yield value


CALL_COST, STATEMENT_COST, OTHER_COST = 8, 2, 3
"""Python frames that a recursive pass may need for one level of the tree."""


def deepest(node: Any, frames: int) -> Any:
    """The first node that a recursive pass would need more than `frames` Python frames to reach, or
    None."""
    stack = [(node, 0)]
    while stack:
        here, depth = stack.pop()
        if depth > frames:
            return here
        match here:
            case tree.Call():
                depth += CALL_COST
            case tree.Stmt():
                depth += STATEMENT_COST
            case _:
                depth += OTHER_COST
        stack.extend((child, depth) for child in children(here))
    return None


def walk(*roots: Any) -> Iterator[Any]:
    """Every node at or below the roots."""
    stack = list(reversed(roots))
    while stack:
        here = stack.pop()
        yield here
        stack.extend(reversed(list(children(here))))


def reads(expression: tree.Expr | None) -> Iterator[tree.Name]:
    """The variables that evaluating the expression reads, in order; not those that a comprehension
    binds itself."""
    stack: list[tuple[Any, frozenset[str]]] = (
        [(expression, frozenset())] if expression is not None else []
    )
    while stack:
        here, bound = stack.pop()
        match here:
            case tree.Name(name=name):
                if name not in bound:
                    yield here
            case tree.Call(function=function, args=args, keywords=keywords):
                no_variable = function.name in MODEL_KEYWORD_FUNCTIONS
                values = [k.value for k in keywords if not (no_variable and k.name == "model")]
                stack.extend((x, bound) for x in reversed([*args, *values]))
            case tree.Comprehension(element=element, clauses=clauses):
                parts: list[tuple[Any, frozenset[str]]] = []
                for clause in clauses:
                    parts.append((clause.iterable, bound))
                    bound = bound | {t.name for t in clause.targets}
                    parts.extend((c, bound) for c in clause.conditions)
                parts.append((element, bound))
                stack.extend(reversed(parts))
            case _:
                stack.extend((x, bound) for x in reversed(list(children(here))))


def evaluated(statement: tree.Stmt) -> tuple[tree.Expr, ...]:
    """The expressions that a statement evaluates itself, not those of the statements inside it."""
    match statement:
        case tree.AugAssign(target=target, value=value):
            return (target, value)
        case (
            tree.Assign(value=value)
            | tree.Draw(value=value)
            | tree.Factor(value=value)
            | tree.Twist(value=value)
            | tree.ExprStmt(value=value)
        ):
            return (value,)
        case tree.Observe(value=value, distribution=distribution):
            return (value, distribution)
        case tree.Condition(test=test) | tree.If(test=test) | tree.While(test=test):
            return (test,)
        case tree.For(iterable=iterable):
            return (iterable,)
        case tree.Return(value=result):
            return (result,) if result is not None else ()
    return ()


def targets(statement: tree.Stmt) -> tuple[tree.Name, ...]:
    """The variables that a statement sets itself."""
    match statement:
        case tree.Assign(targets=names) | tree.For(targets=names):
            return names
        case tree.AugAssign(target=name) | tree.Draw(target=name):
            return (name,)
    return ()


def statements(body: Iterable[tree.Stmt]) -> Iterator[tree.Stmt]:
    """Every statement of a body, those inside others too, in the order of the text."""
    stack = list(body)[::-1]
    while stack:
        here = stack.pop()
        yield here
        match here:
            case tree.If(then=then, other=other):
                stack.extend(reversed([*then, *other]))
            case tree.For(body=inner) | tree.While(body=inner):
                stack.extend(reversed(inner))


def is_true(expression: tree.Expr) -> bool:
    return isinstance(expression, tree.Literal) and expression.value is True
