"""Lists of a text that only grow with it: what a beginning shows of them stays.

words(s)                  those that are complete
zip(words(s), words(s)[1:]), distinct(lines(s)), [lower(w) for w in words(s)]
[s[i:i + 3] for i in range(len(s) - 2)]
parse_json(s).tags        the items that are complete
"""

from __future__ import annotations

from dataclasses import replace

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, subexpressions
from fkdsl.ir.passes.json_beginnings import items_so_far
from fkdsl.ir.passes.reading import alike, replaced_part
from fkdsl.ir.passes.views import is_always_asked

COMPLETE = {
    "words": ".complete",
    "lines": ".complete_lines",
    "sentences": ".complete_sentences",
}
"""Built-ins that take a text apart, and those that give the part of a text whose items stay."""


def settled(e: ir.Expr, text: int) -> ir.Expr | None:
    """The list e of a text, as far as its items cannot change: the list of every text that begins
    so begins with it. None where none is known."""
    if text not in reads(e):
        return e
    if (items := items_so_far(e, text)) is not None:
        return items
    match e:
        case ir.Local():
            return e
        case ir.Builtin(name=name, args=(ir.Local() as s,)) if name in COMPLETE:
            return replace(e, args=(ir.Builtin(e.span, COMPLETE[name], (s,)),))
        case ir.Builtin(name="split", args=(ir.Local(), between)) if text not in reads(between):
            none, last = ir.Const(e.span, None), ir.Const(e.span, -1)
            return ir.Operate(e.span, "slice", (e, none, last))
        case ir.Operate(operator="slice", args=(xs, start, stop)) if _is_place(start) and _is_place(
            stop
        ):
            whole = settled(xs, text)
            return None if whole is None else replace(e, args=(whole, start, stop))
        case ir.Builtin(name="zip", args=args):
            lists = [settled(a, text) for a in args]
            known = tuple(x for x in lists if x is not None)
            return replace(e, args=known) if len(known) == len(args) else None
        case ir.Builtin(name="enumerate" | "distinct", args=(xs, *rest)) if text not in reads(
            tuple(rest)
        ):
            whole = settled(xs, text)
            return None if whole is None else replace(e, args=(whole, *rest))
        case ir.Gather(element=element, clauses=(first, *rest)):
            if text in reads((element, first.conditions, tuple(rest))):
                return _runs(e, text)
            whole = settled(first.iterable, text)
            if whole is not None:
                return replace(e, clauses=(replace(first, iterable=whole), *rest))
    return None


def of_places(e: ir.Expr, text: int) -> ir.Expr | None:
    """A test that looks at the text through items at fixed places, as `words(s)[0] == words(s)[2]`:
    false once all of these are settled and it is. None for other tests."""
    result, rest, few = e, e, list[ir.Expr]()
    for part in subexpressions(e):
        match part:
            case ir.Operate(operator="index", args=(xs, ir.Const(value=int(place)))) if place >= 0:
                kept = settled(xs, text) if text in reads(xs) else None
                if kept is None or not is_always_asked(part, e):
                    continue
                result = replaced_part(result, part, replace(part, args=(kept, part.args[1])))
                rest = replaced_part(rest, part, ir.Const(e.span, None))
                count = ir.Builtin(e.span, "len", (kept,))
                few.append(ir.Operate(e.span, "le", (count, ir.Const(e.span, place))))
    if not few or text in reads(rest):
        return None
    return ir.Or(e.span, (*dict.fromkeys(few), result))


def is_sorted(e: ir.Expr, text: int) -> ir.Expr | None:
    """`xs == sorted(xs)`: the same of the items that stay. None for other tests."""
    match e:
        case ir.Operate(operator="eq", args=(a, b)):
            for xs, other in ((a, b), (b, a)):
                match other:
                    case ir.Builtin(name="sorted", args=(ys, *_)) if alike(xs, ys):
                        kept = settled(xs, text)
                        if kept is not None:
                            return replaced_part(replaced_part(e, xs, kept), ys, kept)
    return None


def _is_place(e: ir.Expr) -> bool:
    """Whether an end of a slice counts from the beginning, or is none."""
    match e:
        case ir.Const(value=value):
            return value is None or (isinstance(value, int) and value >= 0)
    return False


def _runs(e: ir.Gather, text: int) -> ir.Expr | None:
    """`[xs[i:i + 3] for i in range(len(xs) - 2)]`, `[xs[i] != xs[i + 1] for i in range(len(xs) -
    1)]`: items near each other, none of them beyond the last one."""
    match e.clauses:
        case (
            ir.Clause(
                (i,),
                ir.Builtin(name="range", args=(number, ir.Const(value=None), ir.Const(value=1))),
                (),
            ),
        ):
            pass
        case _:
            return None
    match number:
        case ir.Builtin(name="len", args=(xs,)):
            behind = 0
        case ir.Operate(
            operator="sub",
            args=(ir.Builtin(name="len", args=(xs,)), ir.Const(value=int(behind))),
        ):
            pass
        case _:
            return None
    whole = settled(xs, text)
    if whole is None:
        return None
    rest, result, none = e.element, replaced_part(e, xs, whole), ir.Const(e.span, None)
    for part in subexpressions(e.element):
        ys = _near(part, ir.Local(e.span, i), behind)
        if ys is not None and alike(xs, ys):
            rest = replaced_part(rest, part, none)
            result = replaced_part(result, ys, whole)
    return None if text in reads(rest) else result


def _near(e: ir.Expr, at: ir.Expr, behind: int) -> ir.Expr | None:
    """The list of which an expression takes items, from the place `at` on and at most so far
    behind it; None if it is no such expression."""
    match e:
        case ir.Operate(
            operator="slice",
            args=(ys, start, ir.Operate(operator="add", args=(first, ir.Const(value=int(n))))),
        ) if start == first == at and 0 <= n <= behind + 1:
            return ys
        case ir.Operate(operator="index", args=(ys, place)) if place == at:
            return ys
        case ir.Operate(
            operator="index",
            args=(ys, ir.Operate(operator="add", args=(first, ir.Const(value=int(n))))),
        ) if first == at and 0 <= n <= behind:
            return ys
    return None
