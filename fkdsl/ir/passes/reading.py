"""What passes ask of expressions besides their slots (effects.py): models and contexts that they
use, their parts, what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import islice
from typing import Any, TypeVar

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, renumbered, subexpressions, writes
from fkdsl.values.values import EOS

N = TypeVar("N", bound=ir.Expr | ir.Instr)
DEEPEST, LARGEST = 60, 1_000
"""Levels and nodes of a small expression, not counting constants."""


def asks_model(program: ir.Program, node: Any) -> bool:
    """Whether evaluating it needs rows of log-probabilities."""
    return any(
        isinstance(e, ir.Model) and e.operation in ("logprob", "log_density")
        for e in reached(program, node)
    )


def reads_context(program: ir.Program, node: Any) -> bool:
    """Whether evaluating it looks at a context: its text, length or end, or what follows it."""
    return any(e.contexts is ir.Contexts.LOOKS for e in reached(program, node))


def calls_out(program: ir.Program, node: Any) -> bool:
    """Whether evaluating it calls Python that the program declares."""
    return any(isinstance(e, ir.Extern) for e in reached(program, node))


def appends(program: ir.Program, node: Any) -> bool:
    """Whether a function that evaluating it calls appends to something, perhaps to a context."""
    called = {e.function for e in reached(program, node) if isinstance(e, ir.Invoke)}
    return any(
        i.contexts is ir.Contexts.EXTENDS for name in called for i in program.functions[name].body
    )


def reached(program: ir.Program, node: Any) -> Iterator[ir.Expr]:
    """Every expression within it, and within the pure functions that it calls."""
    seen: set[str] = set()
    todo: list[Any] = [node]
    while todo:
        for e in subexpressions(todo.pop()):
            yield e
            if isinstance(e, ir.Invoke) and e.function not in seen:
                seen.add(e.function)
                todo.append(program.functions[e.function].body)


def rebuilt(node: Any, change: Callable[[Any], Any]) -> Any:
    """The node (or each node of a tuple) with `change` of whatever stands right below it; what is
    no instruction, expression or clause stays as it is."""
    # Loops, not comprehensions: those take a frame of their own, and expressions nest deep.
    if isinstance(node, tuple):
        items = []
        for item in node:
            items.append(change(item))
        return tuple(items)
    if not isinstance(node, ir.Instr | ir.Expr | ir.Clause):
        return node
    below: dict[str, Any] = {}
    for f in fields(node):
        if f.name != "span":
            below[f.name] = change(getattr(node, f.name))
    return replace(node, **below)


def substitute(node: N, values: Mapping[int, ir.Expr]) -> N:
    """The instruction or expression with slots that it reads replaced by what they hold."""

    def change(n: Any) -> Any:
        return values.get(n.slot, n) if isinstance(n, ir.Local) else rebuilt(n, change)

    result: N = change(node)
    return result


def replaced_part(e: N, old: ir.Expr, new: ir.Expr) -> N:
    """The expression with one of its parts replaced, wherever it stands."""

    def change(node: Any) -> Any:
        return new if node == old else rebuilt(node, change)

    result: N = change(e)
    return result


def is_small(e: ir.Expr) -> bool:
    """Whether an expression has few levels and nodes, those that stand twice counted twice.

    What passes put together by writing a part down twice is left out where it is not: twenty such
    steps, one inside the other, would make a million parts of one.
    """
    level, count = [e], 0
    for _ in range(DEEPEST):
        level = list(islice((below for x in level for below in _below(x)), LARGEST + 1 - count))
        count += len(level)
        if not level or count > LARGEST:
            return not level
    return False


def _below(node: Any) -> Iterator[Any]:
    """The parts of a node of an expression that are no constants."""
    for f in fields(node):
        part = getattr(node, f.name)
        for x in part if isinstance(part, tuple) else (part,):
            if isinstance(x, ir.Expr | ir.Clause) and not isinstance(x, ir.Const):
                yield x


def alike(a: ir.Expr, b: ir.Expr) -> bool:
    """Whether two expressions are equal but for the names of what their comprehensions bind."""

    def named(e: ir.Expr) -> Any:
        return renumbered(e, {slot: -i for i, slot in enumerate(sorted(bound(e)), 1)})

    return bool(a == b or named(a) == named(b))


def conjuncts(e: ir.Expr) -> list[ir.Expr]:
    """The parts of an `and`, one by one; not (a or b) is (not a) and (not b)."""
    match e:
        case ir.And(operands=operands):
            return [c for o in operands for c in conjuncts(o)]
        case ir.Operate(operator="not", args=(ir.Or(operands=operands),)):
            return [c for o in operands for c in conjuncts(ir.Operate(e.span, "not", (o,)))]
        case ir.Operate(operator="not", args=(ir.Operate(operator="not", args=(inner,)),)):
            return conjuncts(inner)
    return [e]


def loops(function: ir.Function) -> list[tuple[int, int]]:
    """(first, last) positions of each loop: a label and a later jump back to it."""
    at = {i.name: pc for pc, i in enumerate(function.body) if isinstance(i, ir.Label)}
    return [
        (at[i.label], pc)
        for pc, i in enumerate(function.body)
        if isinstance(i, ir.Jump) and at[i.label] < pc
    ]


def compared_with(test: ir.Expr, slot: int) -> list[ir.Expr] | None:
    """What a test compares a slot's value with, by ==, != or `in` a list; it does not tell apart
    values that equal none of these. None if it uses the value in any other way."""
    if slot not in reads(test):
        return []
    parts: tuple[ir.Expr, ...]
    match test:
        case ir.Operate(operator="eq" | "ne", args=(ir.Local(slot=at), other)) if at == slot:
            return None if slot in reads(other) else [other]
        case ir.Operate(operator="eq" | "ne", args=(other, ir.Local(slot=at))) if at == slot:
            return None if slot in reads(other) else [other]
        case ir.Operate(
            operator="in" | "notin",
            args=(ir.Local(slot=at), ir.Operate(operator="list", args=items)),
        ):
            return list(items) if at == slot and slot not in reads(items) else None
        case (
            ir.And(operands=parts) | ir.Or(operands=parts) | ir.Operate(operator="not", args=parts)
        ):
            pass
        case ir.Choose(test=a, then=b, other=c):
            parts = (a, b, c)
        case ir.Marked(test=inner):
            parts = (inner,)
        case _:
            return None
    result: list[ir.Expr] = []
    for part in parts:
        values = compared_with(part, slot)
        if values is None:
            return None
        result.extend(values)
    return result


def is_of_end(test: ir.Expr, token: int, context: int) -> bool:
    """Whether a test asks whether the token is an end."""
    match test:
        case ir.Operate(operator="eq", args=(ir.Local(slot=slot), ir.Const(value=value))) | (
            ir.Operate(operator="eq", args=(ir.Const(value=value), ir.Local(slot=slot)))
        ):
            return slot == token and value is EOS
        case ir.Operate(operator="attribute", args=(ir.Local(slot=slot), ir.Const(value="done"))):
            return slot == context
    return False


def over_text(e: ir.Expr, context: int, text: int) -> ir.Expr:
    """The expression with the text of a context as a slot of its own."""

    def change(node: Any) -> Any:
        match node:
            case ir.Operate(
                operator="attribute", args=(ir.Local(slot=slot), ir.Const(value="text"))
            ) if slot == context:
                return ir.Local(node.span, text)
        return rebuilt(node, change)

    result: ir.Expr = change(e)
    return result


def addends(e: ir.Expr) -> tuple[tuple[ir.Expr, int], ...]:
    """What a sum, a difference, a negative or a whole multiple adds up, each with its factor;
    nothing of other expressions."""
    match e:
        case ir.Operate(operator="add", args=(a, b)):
            return (a, 1), (b, 1)
        case ir.Operate(operator="sub", args=(a, b)):
            return (a, 1), (b, -1)
        case ir.Operate(operator="neg", args=(a,)):
            return ((a, -1),)
        case ir.Operate(
            operator="mul", args=(ir.Const(value=int(n)), a) | (a, ir.Const(value=int(n)))
        ) if n and not isinstance(n, bool):
            return ((a, n),)
    return ()


def list_loop(
    body: Sequence[ir.Instr],
    labels: Mapping[str, int],
    at: int,
    values: Mapping[int, ir.Expr],
) -> tuple[ir.Expr, int, set[int]] | None:
    """Of the loop over a list whose head, a `Next`, is at `at`: the list, the last instruction, and
    the slots that it writes. None where the list is not known, or the loop has begun already."""
    head = body[at]
    assert isinstance(head, ir.Next)
    match values.get(head.items), values.get(head.counter):
        case ir.Operate(operator="iterate", args=(listed,)), ir.Const(value=0):
            last = max(
                i
                for i, x in enumerate(body)
                if i <= at or (isinstance(x, ir.Jump) and labels[x.label] == at - 1)
            )
            return listed, last, set[int]().union(*map(writes, body[at : last + 1]))
    return None
