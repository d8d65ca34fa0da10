"""Checks of a JSON text while it is drawn: tests of values in it, asked as soon as the values are
complete (values/library/json_so_far.py).

    p.buyer != p.seller                      once both are complete
    len(distinct(p.tags)) == len(p.tags)     of the items that are complete
    contains(mail, p.name)                   of each character
    sum(i.price for i in p.items) == p.total once the items are complete, of each digit of the total

A text in which a name stands twice keeps the first value no longer than the second one comes. So
these checks serve only where `valid_json`, which refuses it, is a condition on the same text, and
where the text that is read has the names of that text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, subexpressions
from fkdsl.ir.passes.beginnings import beginning
from fkdsl.ir.passes.reading import rebuilt

Path = tuple[str | int, ...]
CHECKS = (".json_known", ".json_value", ".json_list", ".json_may_equal", ".json_may_be_in")
"""The built-ins by which a beginning of a JSON text is looked at."""
KNOWN_SLOTS = 1_400_000_000
"""Added to a text's slot it stands for the text inside of values that are known: these stay, as
nothing else does that is made of a text."""
COMPARISONS = ("le", "lt", "ge", "gt", "eq")


def json_path(e: ir.Expr, text: int) -> tuple[ir.Expr, Path] | None:
    """(a beginning of the JSON text, how an expression goes to a value in it); None for others, and
    for places that are counted from a list's end."""
    match e:
        case ir.Builtin(name="parse_json", args=(s, *_)) if _keeps_names(s):
            source = beginning(s, text)
            return None if source is None else (source, ())
        case ir.Operate(operator="attribute" | "index", args=(of, ir.Const(value=step))):
            is_step = isinstance(step, str | int) and not isinstance(step, bool)
            if not is_step or (isinstance(step, int) and step < 0):
                return None
            outer = json_path(of, text)
            return None if outer is None else (outer[0], (*outer[1], step))
    return None


def _keeps_names(s: ir.Expr) -> bool:
    """Whether names in a JSON text that is made of another one differ where they did. `lower` and
    `replace` make one name of two."""
    match s:
        case ir.Local():
            return True
        case ir.Builtin(name="strip", args=(inner, ir.Const(value=""))):
            return _keeps_names(inner)
        case ir.Operate(operator="add", args=(_, inner)):
            return _keeps_names(inner)
    return False


def items_so_far(e: ir.Expr, text: int) -> ir.Expr | None:
    """The complete items of a list in a JSON text; None for other lists."""
    found = json_path(e, text)
    return found and ir.Builtin(e.span, ".json_list", (found[0], ir.Const(e.span, found[1])))


def once_known(e: ir.Expr, text: int, form: Callable[[ir.Expr], ir.Expr | None]) -> ir.Expr | None:
    """What is false of a beginning only if e is false of all JSON texts that begin so: e, once all
    of its values are known; and of a comparison its `form`, once the values of one side are. None
    where e does not look at values, or at more of the text than these."""
    if any(isinstance(part, ir.Extern | ir.Model | ir.Invoke) for part in subexpressions(e)):
        return None  # it would be called again at every token that follows
    found = [part for part in (_when_known(e, e, text),) if part is not None]
    if isinstance(e, ir.Operate) and e.operator in COMPARISONS:
        for side in e.args:
            part = _when_known(e, side, text, form)
            if part is not None:
                found.append(part)
    if not found:
        return None
    return found[0] if len(found) == 1 else ir.And(e.span, tuple(found))


def equal_so_far(a: ir.Expr, b: ir.Expr, text: int) -> ir.Expr | None:
    """`a == b` for a value in a JSON text that is not complete, and a value that is known."""
    for one, other in ((a, b), (b, a)):
        found = json_path(one, text)
        if found is not None and text not in reads(other):
            source, path = found
            constants = ir.Const(one.span, path), ir.Const(one.span, False)
            args = (source, constants[0], other, constants[1])
            return ir.Builtin(one.span, ".json_may_equal", args)
    return None


def part_so_far(part: ir.Expr, whole: ir.Expr, text: int) -> ir.Expr | None:
    """`part in whole` for a text in a JSON text that is not complete, and a text or list that is
    known."""
    found = json_path(part, text)
    if found is None or text in reads(whole):
        return None
    source, path = found
    return ir.Builtin(part.span, ".json_may_be_in", (source, ir.Const(part.span, path), whole))


def _when_known(
    e: ir.Expr,
    side: ir.Expr,
    text: int,
    form: Callable[[ir.Expr], ir.Expr | None] | None = None,
) -> ir.Expr | None:
    """The `form` of a test, once the values in a part of it are known; without one, the test."""
    paths: dict[Path, None] = {}
    sources: list[ir.Expr] = []
    alias = text + KNOWN_SLOTS

    def change(node: Any) -> Any:
        found = json_path(node, text) if isinstance(node, ir.Expr) else None
        if found is None:
            return rebuilt(node, change)
        source, path = found
        paths[path] = None
        sources.append(source)
        known = _renamed(source, text, alias)
        return ir.Builtin(node.span, ".json_value", (known, ir.Const(node.span, path)))

    settled = change(side)
    if not paths or text in reads(settled) or any(s != sources[0] for s in sources):
        return None
    whole: ir.Expr | None = settled
    assert whole is not None
    if side is not e and isinstance(e, ir.Operate):
        whole = replace(e, args=tuple(settled if a is side else a for a in e.args))
    if form is None:
        whole = whole if text not in reads(whole) else None
    else:  # where the other side depends on no text, all is known
        whole = form(whole) if text in reads(whole) else None
    if whole is None:
        return None
    span = e.span
    are_known = ir.Builtin(span, ".json_known", (sources[0], ir.Const(span, tuple(paths))))
    unknown = ir.Operate(span, "not", (are_known,))
    return ir.Or(span, (unknown, _renamed(whole, alias, text)))


def _renamed(e: ir.Expr, old: int, new: int) -> ir.Expr:
    def change(node: Any) -> Any:
        if isinstance(node, ir.Local) and node.slot == old:
            return replace(node, slot=new)
        return rebuilt(node, change)

    result: ir.Expr = change(e)
    return result


def looks_at_json(e: ir.Expr) -> bool:
    """Whether an expression looks at a beginning of a JSON text."""
    return any(isinstance(p, ir.Builtin) and p.name in CHECKS for p in subexpressions(e))


def texts_before(e: ir.Expr) -> set[ir.Expr | None]:
    """What stands before a text in the JSON texts whose beginnings an expression looks at; None for
    nothing."""
    found: set[ir.Expr | None] = set()
    for part in subexpressions(e):
        match part:
            case ir.Builtin(name=name, args=(ir.Operate(args=(before, _)), *_)) if name in CHECKS:
                found.add(before)
            case ir.Builtin(name=name) if name in CHECKS:
                found.add(None)
    return found


def with_whole_numbers(e: ir.Expr, is_whole: Callable[[Path], bool]) -> ir.Expr:
    """A check in which it is said of which values it is known that they are whole numbers."""

    def change(node: Any) -> Any:
        node = rebuilt(node, change)
        match node:
            case ir.Builtin(name=".json_may_equal", args=(s, ir.Const(value=path) as at, other, _)):
                return replace(node, args=(s, at, other, ir.Const(node.span, is_whole(path))))
        return node

    result: ir.Expr = change(e)
    return result


def compares_numbers(language: ir.Expr) -> bool:
    """Whether a language of JSON texts compares several numbers, which masks may follow by
    intervals of one of them."""
    for part in subexpressions(language):
        match part:
            case ir.Builtin(
                name=".json_numbers",
                args=(ir.Const(value=tuple(terms)), *_, ir.Const(value=tuple(products))),
            ) if len(terms) + len(products) > 1:
                return True
    return False
