"""What nodes read, write and bind, as their fields declare it (nodes.py). Passes, the verifier and
renumbering all ask here.

>>> from fkdsl.base.spans import NOWHERE
>>> more = ir.Append(NOWHERE, 3, ir.Local(NOWHERE, 1))
>>> sorted(reads(more)), writes(more)
([1, 3], {3})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from fkdsl.ir import nodes as ir
from fkdsl.machine.proposal_plan import (
    CompletionConstraint,
    PrefixConstraint,
    ProposalPlan,
    WordsAhead,
)
from fkdsl.machine.slots import SLOTS

_named: dict[type[Any], tuple[str, ...]] = {}
_declared: dict[type[Any], tuple[tuple[str, frozenset[str]], ...]] = {}
Node = (
    ir.Instr
    | ir.Expr
    | ir.Clause
    | ProposalPlan[Any]
    | PrefixConstraint[Any]
    | CompletionConstraint[Any]
    | WordsAhead[Any]
)
NODES = (
    ir.Instr,
    ir.Expr,
    ir.Clause,
    ProposalPlan,
    PrefixConstraint,
    CompletionConstraint,
    WordsAhead,
)


def declared(kind: type[Any]) -> tuple[tuple[str, frozenset[str]], ...]:
    """The fields of a node class that are slots, and what it does to them: reads, writes, binds."""
    if kind not in _declared:
        _declared[kind] = tuple(
            (f.name, f.metadata[SLOTS]) for f in fields(kind) if SLOTS in f.metadata
        )
    return _declared[kind]


def subexpressions(node: Any) -> Iterator[ir.Expr]:
    """Every expression within an instruction or expression, itself included."""
    return (n for n in within(node) if isinstance(n, ir.Expr))


def within(node: Any) -> Iterator[Node]:
    """Every node, clause and plan within an instruction or expression, itself included."""
    if isinstance(node, tuple):
        for item in node:
            yield from within(item)
    elif isinstance(node, NODES):
        yield node
        for name in _parts(type(node)):
            yield from within(getattr(node, name))


def _parts(kind: type[Any]) -> tuple[str, ...]:
    """The fields of a node class that may hold nodes."""
    if kind not in _named:
        _named[kind] = tuple(f.name for f in fields(kind) if f.name != "span")
    return _named[kind]


def slots(node: Any, *does: str) -> set[int]:
    """The slots that a node, or one within it, reads, writes, binds or names, as `does` says."""
    result: set[int] = set()
    for part in within(node):
        for name, declared_as in declared(type(part)):
            if not declared_as.isdisjoint(does):
                value = getattr(part, name)
                result.update(value if isinstance(value, tuple) else (value,))
    return result


def bound(node: Any) -> set[int]:
    """The slots that comprehensions within a node assign."""
    return slots(node, "binds")


def reads(node: Any) -> set[int]:
    """The slots whose values a node depends on, but for those of its own comprehensions."""
    if isinstance(node, ir.Draw):
        return reads(node.distribution) | (reads(node.plan) - {node.target})
    return slots(node, "reads") - bound(node)


def writes(node: Any) -> set[int]:
    """The slots that an instruction assigns."""
    return slots(node, "writes")


def renumbered(node: Any, numbers: Mapping[int, int]) -> Any:
    """A node with its slots numbered anew; one that is not in the mapping keeps its number."""
    if isinstance(node, tuple):
        return tuple(renumbered(n, numbers) for n in node)
    if not isinstance(node, NODES):
        return node
    changed: dict[str, Any] = {}
    numbered = dict(declared(type(node)))
    for f in fields(node):
        value = getattr(node, f.name)
        if f.name in numbered:
            many = isinstance(value, tuple)
            changed[f.name] = (
                tuple(numbers.get(v, v) for v in value) if many else numbers.get(value, value)
            )
        elif f.name != "span":
            changed[f.name] = renumbered(value, numbers)
    return replace(node, **changed)
