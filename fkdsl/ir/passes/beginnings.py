"""Texts made of a text that only grow with it, and what a beginning shows of whether they match.

upper(s), strip(s), s[3:], replace(s, "-", " ")    of a beginning, a beginning of the whole's
"{" + s                                            so too
lower(s)                                           so up to a sigma that may end a word
matches(s, r"(\\w+) \\1")                          some text that begins so matches
find(s, "a") < 5                                   where it is found, it stays
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fkdsl.base.lazy import lazy_import
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, subexpressions
from fkdsl.ir.passes.reading import replaced_part

if TYPE_CHECKING:
    from fkdsl.engine.constraints import patterns
else:
    patterns = lazy_import("fkdsl.engine.constraints.patterns")


def beginning(e: ir.Expr, text: int) -> ir.Expr | None:
    """An expression that is, of a beginning of a text, a beginning of what e is of the whole text;
    None if there is none."""
    match e:
        case ir.Local(slot=slot):
            return e if slot == text else None
        case ir.Builtin(name="upper", args=(s,)):
            return _of(e, s, text)
        case ir.Builtin(name="strip", args=(s, chars)) if text not in reads(chars):
            return _of(e, s, text)
        case ir.Builtin(name="lower", args=(s,)):
            # The last letter of a word may be another sigma than one inside.
            known = beginning(s, text)
            settled = ir.Builtin(e.span, ".before_sigma", (known,)) if known is not None else s
            return None if known is None else replace(e, args=(settled,))
        case ir.Operate(operator="add", args=(before, s)) if text not in reads(before):
            known = beginning(s, text)
            return None if known is None else replace(e, args=(before, known))
        case ir.Builtin(name="replace", args=(s, ir.Const(value=str(old)), new)) if len(
            old
        ) == 1 and text not in reads(new):
            return _of(e, s, text)
        case ir.Operate(operator="slice", args=(s, start, stop)) if is_place(start) and is_place(
            stop
        ):
            return _of(e, s, text)
    return None


def _of(e: ir.Builtin | ir.Operate, s: ir.Expr, text: int) -> ir.Expr | None:
    known = beginning(s, text)
    return None if known is None else replace(e, args=(known, *e.args[1:]))


def is_place(e: ir.Expr) -> bool:
    """Whether an end of a slice counts from the beginning, or is none."""
    match e:
        case ir.Const(value=value):
            return value is None or (isinstance(value, int) and value >= 0)
    return False


def may_match(e: ir.Builtin, text: int) -> ir.Expr | None:
    """Of `matches(s, pattern)`: whether a text that begins so may match. A constant pattern is
    asked about only where no mask follows it whole; of any other one that is known when the program
    runs."""
    s, pattern = e.args
    known = beginning(s, text)
    if known is None or text in reads(pattern):
        return None
    is_constant = isinstance(pattern, ir.Const)
    if isinstance(pattern, ir.Const) and patterns.beginnings_of(str(pattern.value)) is None:
        return None
    always = ir.Const(e.span, is_constant)
    return replace(e, name=".may_match", args=(known, pattern, always))


def may_fit(e: ir.Builtin, text: int) -> ir.Expr | None:
    """Of `valid_json(s, schema)`: whether a text that begins so may fit, by what no mask
    follows."""
    s, schema, *_ = e.args
    known = beginning(s, text)
    if known is None or text in reads(schema) or schema == ir.Const(schema.span, ""):
        return None
    return replace(e, name=".may_fit", args=(known, schema))


def once_found(e: ir.Expr, text: int) -> ir.Expr | None:
    """A test of `find(s, part)` where the part is found; true before."""
    for part in subexpressions(e):
        match part:
            case ir.Builtin(name="find", args=(s, wanted)) if (
                beginning(s, text) == s
                and text not in reads(wanted)
                and text not in reads(replaced_part(e, part, ir.Const(e.span, 0)))
            ):
                zero = ir.Const(e.span, 0)
                return ir.Or(e.span, (ir.Operate(e.span, "lt", (part, zero)), e))
    return None
