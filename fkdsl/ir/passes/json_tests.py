"""Tests of values that a JSON text holds, one by one (`parse_json(s).kind == "refund"`,
`len(parse_json(s).tags) <= 3`), and comparisons of sums of its numbers: `parse_json(s).born <
parse_json(s).died`, `parse_json(s)["size"]["width"] <= 2 * n`."""

from __future__ import annotations

from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads
from fkdsl.ir.passes.reading import addends

COMPARED = ("lt", "le", "gt", "ge", "eq")
FLIPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
POSITIVE = {"ne": "eq", "notin": "in"}
OF_PARTS = ("starts_with", "ends_with", "contains")
"""Built-in tests of a part of a text."""
MOST_TERMS = 2
"""Most numbers of a comparison that a schema is narrowed by."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def json_field(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of a test of one value of the JSON text in a slot, against what does not depend
    on the text; None for other tests."""
    span, negated = test.span, False
    while isinstance(test, ir.Operate) and test.operator == "not":
        (test,), negated = test.args, not negated
    found: tuple[tuple[str, ...], object, ir.Expr] | None = None
    match test:
        case ir.Operate(operator="in" | "notin" as operator, args=(a, b)):
            found = _against(a, operator, b, text) or _against(b, "has", a, text)
            if operator == "notin" and found is not None and found[1] == "has":
                negated = not negated
        case ir.Operate(operator=operator, args=(a, b)) if operator in FLIPPED:
            found = _against(a, operator, b, text) or _against(b, FLIPPED[operator], a, text)
        case ir.Builtin(name=name, args=(a, b)) if name in OF_PARTS:
            found = _against(a, name, b, text)
        case ir.Operate(operator="attribute" | "index") if path := _path(test, text):
            found = path, "is", ir.Const(span, True)
    if found is None:
        return None
    path, how, value = found
    if isinstance(how, str) and how in POSITIVE:
        how, negated = POSITIVE[how], not negated
    constants = (ir.Const(span, path), ir.Const(span, how))
    return ir.Builtin(span, ".json_field", (*constants, value, ir.Const(span, negated)))


def _against(
    a: ir.Expr, operator: str, b: ir.Expr, text: int
) -> tuple[tuple[str, ...], object, ir.Expr] | None:
    """(the path of a value, a test as `.json_field` has it, what it is tested against) of `a
    operator b`."""
    if text in reads(b):
        return None
    match a:
        case ir.Builtin(name="len", args=(of,)) if operator not in ("has", *OF_PARTS):
            path = _path(of, text)
            return (path, ("length", operator), b) if path else None
    path = _path(a, text)
    is_order = operator in ("lt", "le", "gt", "ge")
    return (path, operator, b) if path and not is_order else None


def json_comparison(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of a comparison of sums of such numbers; None for other tests."""
    match test:
        case ir.Operate(operator=operator, args=(a, b)) if operator in COMPARED:
            total = _Sum(text)
            if not (total.add(a, 1) and total.add(b, -1) and 0 < len(total.terms) <= MOST_TERMS):
                return None
            span = test.span
            paths = ir.Const(span, tuple(total.terms))
            factors = ir.Const(span, tuple(total.terms.values()))
            added = ir.Operate(span, "list", tuple(e for e, _ in total.others))
            times = ir.Const(span, tuple(factor for _, factor in total.others))
            is_side = len(total.others) <= 1 and not (text in reads(a) and text in reads(b))
            arguments = (
                *(paths, factors, ir.Const(span, operator)),
                *(added, times, ir.Const(span, is_side)),
            )
            return ir.Builtin(span, ".json_numbers", arguments)
    return None


@dataclass
class _Sum:
    """Of a text in a slot. terms: what the number at each path is multiplied with. others: what
    does not depend on the text, and what it is multiplied with."""

    text: int
    terms: dict[tuple[str, ...], int] = field(default_factory=dict)
    others: list[tuple[ir.Expr, int]] = field(default_factory=list)

    def add(self, e: ir.Expr, factor: int) -> bool:
        """Adds an expression times a factor; whether it is such a sum."""
        if self.text not in reads(e):
            self.others.append((e, factor))
            return not isinstance(e, ir.Const) or is_number(e.value)
        path = _path(e, self.text)
        if path:
            self.terms[path] = self.terms.get(path, 0) + factor
            return self.terms[path] != 0
        parts = addends(e)
        return bool(parts) and all(self.add(part, factor * times) for part, times in parts)


def _path(e: ir.Expr, text: int) -> tuple[str, ...] | None:
    """The names by which an expression goes from the JSON value of the text to a value in it; ()
    for the whole value, None for other expressions."""
    match e:
        case ir.Builtin(name="parse_json", args=(ir.Local(slot=slot), *_)) if slot == text:
            return ()
        case ir.Operate(operator="attribute" | "index", args=(of, ir.Const(value=str(name)))):
            outer = _path(of, text)
            return None if outer is None else (*outer, name)
    return None
