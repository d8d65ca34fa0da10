"""Tests in other words, which say of a text what languages know: `max([len(w) for w in words(s)])
<= 5` as `all(len(w) <= 5 ...)`, `abs(n - 5) <= 1` as two bounds.

The value is the same, but that some have one where the others are a mistake.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, renumbered, subexpressions
from fkdsl.ir.passes.inline import fresh_slot
from fkdsl.ir.passes.reading import alike, is_small, rebuilt, replaced_part

FLIPPED = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq", "ne": "ne"}
NEGATED = {"le": "gt", "lt": "ge", "ge": "lt", "gt": "le", "eq": "ne", "ne": "eq"}
TESTS = frozenset(
    {"contains", "starts_with", "ends_with", "matches", "all", "any", "valid_json", "parses"}
)
"""Built-ins that give true or false."""


def in_plain_form(e: ir.Expr) -> ir.Expr:
    """The expression with all such tests in it put in other words."""

    def change(node: Any) -> Any:
        match node:
            case ir.Operate(operator="not", args=(ir.Operate(operator=operator) as inner,)) if (
                operator in NEGATED and _flipped(inner, "max", "min")
            ):
                node = replace(inner, operator=NEGATED[operator])
        node = rebuilt(node, change)
        match node:
            case ir.Operate(operator=operator, args=(_, _)) if operator in FLIPPED:
                other = _compared(node)
                return other if is_small(other) else node
            case ir.Operate(operator="index", args=(xs, at)):
                return replace(node, args=(xs, _from_the_end(xs, at)))
            case ir.Operate(operator="slice", args=(xs, start, ir.Const(value=None) as stop)):
                return replace(node, args=(xs, _from_the_end(xs, start), stop))
            case ir.Builtin(name="all" | "any", args=(ir.Gather() as gather,)):
                return _without_fixed(replace(node, args=(_over_items(gather),)))
        return node

    result: ir.Expr = change(e)
    return result


def _without_fixed(e: ir.Builtin) -> ir.Expr:
    """`a or all(test(x) for x in xs)` for `all(a or test(x) for x in xs)`, and the same of `any`
    and `and`."""
    match e.name, e.args:
        case ("all", (ir.Gather(element=ir.Or(operands=operands)) as gather,)) | (
            "any",
            (ir.Gather(element=ir.And(operands=operands)) as gather,),
        ):
            fixed = [o for o in operands if bound(gather).isdisjoint(reads(o))]
            rest = tuple(o for o in operands if o not in fixed)
            if fixed and rest:
                joint = ir.Or if e.name == "all" else ir.And
                element = rest[0] if len(rest) == 1 else joint(e.span, rest)
                inner = replace(e, args=(replace(gather, element=element),))
                return joint(e.span, (*fixed, inner))
    return e


def is_test(e: ir.Expr) -> bool:
    """Whether an expression is seen to be true or false, and so counts as 1 or 0."""
    match e:
        case ir.And() | ir.Or():
            return True
        case ir.Operate(operator=operator):
            return operator in ("not", "in", "notin", *FLIPPED)
        case ir.Builtin(name=name):
            return name in TESTS
    return False


def _compared(e: ir.Operate) -> ir.Expr:
    """A comparison of two tests, of a distance, or of the greatest or least of some."""
    span, (a, b) = e.span, e.args
    if e.operator in ("eq", "ne") and is_test(a) and is_test(b):
        no_a, no_b = (ir.Operate(span, "not", (x,)) for x in (a, b))
        pairs = ((a, b), (no_a, no_b)) if e.operator == "eq" else ((a, no_b), (no_a, b))
        return ir.Or(span, tuple(ir.And(span, pair) for pair in pairs))
    if e.operator in ("eq", "ne") and is_test(a) != is_test(b):
        test, value = (a, b) if is_test(a) else (b, a)
        if isinstance(value, ir.Operate) and value.operator in ("attribute", "index"):
            no_test = ir.Operate(span, "not", (test,))
            both = tuple(
                ir.And(span, (ir.Operate(span, "eq", (value, ir.Const(span, holds))), holding))
                for holds, holding in ((True, test), (False, no_test))
            )
            equal = ir.Or(span, both)
            return equal if e.operator == "eq" else ir.Operate(span, "not", (equal,))
    for one, other in ((a, b), (b, a)):
        if isinstance(one, ir.Choose):
            denied = ir.Operate(span, "not", (one.test,))
            chosen = []
            for given, value in ((one.test, one.then), (denied, one.other)):
                args = (value, other) if one is a else (other, value)
                chosen.append(ir.And(span, (given, _compared(replace(e, args=args)))))
            return ir.Or(span, tuple(chosen))
    return _of_extreme(e) or _of_distance(e) or e


def _flipped(e: ir.Operate, *names: str) -> tuple[str, ir.Builtin, ir.Expr] | None:
    """(operator, a, b) of a comparison `a operator b`, a a call of one of some built-ins."""
    a, b = e.args
    if isinstance(a, ir.Builtin) and a.name in names:
        return e.operator, a, b
    if isinstance(b, ir.Builtin) and b.name in names:
        return FLIPPED[e.operator], b, a
    return None


def _of_distance(e: ir.Operate) -> ir.Expr | None:
    """`abs(x) <= b` as bounds on x."""
    parts = _flipped(e, "abs")
    if parts is None:
        return None
    operator, call, b = parts
    span, (x,) = e.span, call.args

    def both(high: str, low: str) -> tuple[ir.Expr, ir.Expr]:
        negative = ir.Operate(span, "neg", (b,))
        return ir.Operate(span, high, (x, b)), ir.Operate(span, low, (x, negative))

    match operator:
        case "le" | "lt":
            return ir.And(span, both(operator, FLIPPED[operator]))
        case "ge" | "gt":
            return ir.Or(span, both(operator, FLIPPED[operator]))
    positive = ir.Operate(span, "ge", (b, ir.Const(span, 0)))
    equal = ir.And(span, (positive, ir.Or(span, both("eq", "eq"))))
    return equal if operator == "eq" else ir.Operate(span, "not", (equal,))


def _of_extreme(e: ir.Operate) -> ir.Expr | None:
    """`max(xs) <= b` as a test of all of them, where they can be listed."""
    parts = _flipped(e, "max", "min")
    if parts is None:
        return None
    operator, call, b = parts
    if operator in ("eq", "ne"):
        of_each, of_some = ("le", "ge") if call.name == "max" else ("ge", "le")
        tests = [_each(e.span, call, op, b) for op in (of_each, of_some)]
        if None in tests:
            return None
        equal: ir.Expr = ir.And(e.span, tuple(t for t in tests if t is not None))
        if operator == "ne":
            equal = ir.Operate(e.span, "not", (equal,))
    else:
        one = _each(e.span, call, operator, b)
        if one is None:
            return None
        equal = one
    match call.args:
        case (ir.Gather() as gather,):  # of none there is no greatest
            some = ir.Operate(
                e.span, "gt", (ir.Builtin(e.span, "len", (gather,)), ir.Const(e.span, 0))
            )
            return ir.And(e.span, (some, equal))
    return equal


def _each(span: Span, call: ir.Builtin, operator: str, b: ir.Expr) -> ir.Expr | None:
    every = (operator in ("le", "lt")) == (call.name == "max")
    match call.args:
        case (ir.Gather(element=element) as gather,) if not bound(gather) & reads(b):
            slots = {slot: fresh_slot() for slot in sorted(bound(gather))}
            test = replace(gather, element=ir.Operate(span, operator, (element, b)))
            anew: ir.Gather = _renamed(test, slots)
            return ir.Builtin(span, "all" if every else "any", (anew,))
        case (
            ir.Operate(
                operator="add", args=(ir.Operate(operator="list") as listed, ir.Gather() as more)
            ),
        ) if listed.args:
            parts = [replace(call, args=(of,)) for of in (listed, more)]
            both = tuple(_each(span, part, operator, b) for part in parts)
            known = tuple(test for test in both if test is not None)
            if len(known) < len(both):
                return None
            return ir.And(span, known) if every else ir.Or(span, known)
        case (ir.Operate(operator="list", args=(_, *_) as items),) | ((_, _, *_) as items):
            tests = tuple(ir.Operate(span, operator, (item, b)) for item in items)
            return ir.And(span, tests) if every else ir.Or(span, tests)
    return None


def _renamed(gather: ir.Gather, slots: dict[int, int]) -> ir.Gather:
    """A comprehension that binds other slots: the same one may not stand twice in a test."""
    result: ir.Gather = renumbered(gather, slots)
    return result


def _from_the_end(xs: ir.Expr, at: ir.Expr) -> ir.Expr:
    """-1 for `len(xs) - 1`: the same place, and the same mistake where there is none."""
    match at:
        case ir.Operate(
            operator="sub", args=(ir.Builtin(name="len", args=(ys,)), ir.Const(value=1))
        ) if alike(xs, ys):
            return ir.Const(at.span, -1)
    return at


def _over_items(gather: ir.Gather) -> ir.Gather:
    """`test(xs[i]) for i in range(len(xs))` as `test(x) for x in xs`."""
    match gather.clauses:
        case (
            ir.Clause(
                (i,),
                ir.Builtin(
                    name="range",
                    args=(
                        ir.Builtin(name="len", args=(xs,)),
                        ir.Const(value=None),
                        ir.Const(value=1),
                    ),
                ),
                (),
            ),
        ):
            pass
        case _:
            return gather
    element, slot = gather.element, fresh_slot()
    item = ir.Local(gather.span, slot)
    for part in list(subexpressions(element)):
        match part:
            case ir.Operate(operator="index", args=(ys, ir.Local(slot=at))) if at == i and alike(
                xs, ys
            ):
                element = replaced_part(element, part, item)
    if i in reads(element):
        return gather
    return replace(gather, element=element, clauses=(ir.Clause((slot,), xs, ()),))
