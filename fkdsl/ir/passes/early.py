r"""Checks of a text while it is still being drawn, found in conditions on the whole text.

`early_form(e, s)` is an expression over the same slots with this law: if it is false of the
beginning of a text, e is false of every text that begins so. It rests on three facts: some numbers
only grow with the text, some tests stay true once they are, and complete words do not change.

    len(words(s)) <= 12                      len(words(s)) <= 12
    not contains(lower(s), "sorry")          itself
    all(syllables(w) < 3 for w in words(s))  the same over the words that are complete
    count(s, "a") == 2                       count(s, "a") <= 2
    len(distinct(words(s))) == len(words(s)) the same over the words that are complete
    [len(w) for w in words(s)] == [3, 5]     the same, as far as the words are complete
    matches(s, r"(\w+) \1")                  some text that begins so matches
    p.a != p.b, with p = parse_json(s)       itself, once both values are complete
"""

from __future__ import annotations

from dataclasses import replace

from fkdsl.base.spans import NOWHERE
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads
from fkdsl.ir.passes.beginnings import beginning, may_fit, may_match, once_found
from fkdsl.ir.passes.forms import in_plain_form
from fkdsl.ir.passes.json_beginnings import (
    equal_so_far,
    looks_at_json,
    once_known,
    part_so_far,
)
from fkdsl.ir.passes.reading import alike, replaced_part
from fkdsl.ir.passes.settled import COMPLETE, is_sorted, of_places, settled

FLIP = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq"}
NEGATED = {
    "le": "gt",
    "lt": "ge",
    "ge": "lt",
    "gt": "le",
    "eq": "ne",
    "ne": "eq",
    "in": "notin",
    "notin": "in",
}
DENIALS = ("not", "notin", "ne")
GROWING_LISTS = ("words", "lines")
"""Built-ins whose list only grows with the text; its last element may grow too."""


def early_form(e: ir.Expr, text: int) -> ir.Expr | None:
    """The check of a beginning; None if nothing is known before the end."""
    return _Early(text).form(in_plain_form(e))


class _Early:
    def __init__(self, text: int) -> None:
        self.text, self.whole = text, ir.Local(NOWHERE, text)

    # --------------------------------------------------------------------- tests

    def form(self, e: ir.Expr) -> ir.Expr | None:
        """An expression that is false of a beginning only if e is false of all that begins so."""
        if self.text not in reads(e):
            return e
        match e:
            case ir.And(operands=operands):
                parts = [p for p in map(self.form, operands) if p is not None]
                return ir.And(e.span, tuple(parts)) if parts else None
            case ir.Or(operands=operands):
                forms = [self.form(o) for o in operands]
                parts = [p for p in forms if p is not None]
                return ir.Or(e.span, tuple(parts)) if len(parts) == len(forms) else None
        growing = self.form_of_growing(e)
        is_denial = isinstance(e, ir.Operate) and e.operator in DENIALS
        if growing is not None and is_denial and looks_at_json(growing):
            return growing
        known = once_known(e, self.text, self.form)
        if growing is None or known is None:
            return growing or known
        return ir.And(e.span, (growing, known))

    def form_of_growing(self, e: ir.Expr) -> ir.Expr | None:
        """`form` of what is no `and` and no `or`, by what only grows with the text."""
        match e:
            case ir.Operate(operator="not", args=(inner,)):
                return self.form_of_not(inner)
            case ir.Operate(operator="notin" | "ne" as operator, args=args):
                return self.form_of_not(ir.Operate(e.span, NEGATED[operator], args))
            case ir.Operate(operator="le" | "lt" | "ge" | "gt" | "eq" as operator, args=(a, b)):
                return (
                    self.all_different(e)
                    or self.listed(e)
                    or self.comparison(e)
                    or once_found(e, self.text)
                    or is_sorted(e, self.text)
                    or of_places(e, self.text)
                    or (equal_so_far(a, b, self.text) if operator == "eq" else None)
                )
            case ir.Builtin(name="all", args=(gather,)):
                return self.every(e, gather)
            case ir.Builtin(name="matches"):
                return may_match(e, self.text)
            case ir.Builtin(name="valid_json"):
                return may_fit(e, self.text)
            case (
                ir.Builtin(name="contains", args=(whole, part))
                | ir.Operate(operator="in", args=(part, whole))
            ):
                return part_so_far(part, whole, self.text)
            case ir.Builtin(name="starts_with", args=(s, part)) if self.extends(
                s
            ) and self.text not in reads(part):
                return ir.Or(e.span, (e, ir.Builtin(e.span, "starts_with", (part, s))))
        return None

    def form_of_not(self, e: ir.Expr) -> ir.Expr | None:
        """`form` of `not e`: e once true stays true, or `not` moves inwards."""
        negated = ir.Operate(e.span, "not", (e,))
        if self.stays(e):
            return negated
        match e:
            case ir.Operate(operator="in", args=(item, listed)) if self.text not in reads(item):
                kept = settled(listed, self.text) if listed != self.whole else None
                return None if kept is None else ir.Operate(e.span, "notin", (item, kept))
            case ir.Operate(operator="not", args=(inner,)):
                return self.form(inner)
            case ir.And(operands=operands):
                return self.form(
                    ir.Or(e.span, tuple(ir.Operate(e.span, "not", (o,)) for o in operands))
                )
            case ir.Or(operands=operands):
                return self.form(
                    ir.And(e.span, tuple(ir.Operate(e.span, "not", (o,)) for o in operands))
                )
            case ir.Operate(operator="le" | "lt" | "ge" | "gt" as operator, args=args):
                return self.comparison(ir.Operate(e.span, NEGATED[operator], args))
            case ir.Builtin(name="any", args=(ir.Gather() as gather,)):
                inverse = replace(gather, element=ir.Operate(e.span, "not", (gather.element,)))
                return self.form(ir.Builtin(e.span, "all", (inverse,)))
        return once_found(negated, self.text) or of_places(negated, self.text)

    def stays(self, e: ir.Expr) -> bool:
        """Whether e, once true of a beginning, is true of all that begins so."""
        if self.text not in reads(e):
            return True
        match e:
            case ir.Builtin(name="contains" | "starts_with", args=(s, part)):
                return self.extends(s) and self.text not in reads(part)
            case ir.Operate(operator="in", args=(ir.Const(value=str()), s)):
                return self.extends(s)
            case ir.And(operands=operands) | ir.Or(operands=operands):
                return all(map(self.stays, operands))
            case ir.Operate(operator="ge" | "gt", args=(a, b)):
                return self.grows(a) and self.text not in reads(b)
            case ir.Operate(operator="le" | "lt", args=(a, b)):
                return self.grows(b) and self.text not in reads(a)
        return False

    def comparison(self, e: ir.Expr) -> ir.Expr | None:
        """A number that only grows against one that stays: once beyond it, never back."""
        assert isinstance(e, ir.Operate)
        a, b = e.args
        operator = e.operator
        if self.text in reads(b):
            a, b, operator = b, a, FLIP[operator]
        if self.text in reads(b) or operator not in ("le", "lt", "eq"):
            return None
        operator = "le" if operator == "eq" else operator
        least = self.least(a)
        return None if least is None else ir.Operate(e.span, operator, (least, b))

    def all_different(self, e: ir.Expr) -> ir.Expr | None:
        """`len(distinct(xs)) == len(xs)` or `distinct(xs) == xs`: the same of the items that
        stay."""
        assert isinstance(e, ir.Operate)
        a, b = e.args
        for x, y, operator in ((a, b, e.operator), (b, a, FLIP[e.operator])):
            match operator, x, y:
                case (
                    "eq" | "ge",
                    ir.Builtin(name="len", args=(ir.Builtin(name="distinct", args=(xs,)),)),
                    ir.Builtin(name="len", args=(ys,)),
                ) if alike(xs, ys):
                    pass
                case "eq", ir.Builtin(name="distinct", args=(xs,)), ys if alike(xs, ys):
                    pass
                case _:
                    continue
            kept = settled(xs, self.text)
            return None if kept is None else replaced_part(replaced_part(e, xs, kept), ys, kept)
        return None

    def listed(self, e: ir.Expr) -> ir.Expr | None:
        """`[syllables(l) for l in lines(s)] == [5, 7, 5]`: the items that stay begin the list."""
        assert isinstance(e, ir.Operate)
        for listed, value in (e.args, e.args[::-1]):
            match listed:
                case ir.Gather():
                    kept = settled(listed, self.text)
                case ir.Builtin(name=name) if name in COMPLETE:
                    kept = settled(listed, self.text)
                case _:
                    kept = None
            if e.operator == "eq" and kept is not None and self.text not in reads(value):
                return ir.Builtin(e.span, ".agrees", (kept, value))
        return None

    def every(self, e: ir.Expr, gather: ir.Expr) -> ir.Expr | None:
        """`all(test(w) for w in words(s))`: over the words that are complete, and over all if the
        test is of a kind that a growing word only fails."""
        if not isinstance(gather, ir.Gather):
            return None
        first, *rest = gather.clauses
        if self.text in reads((first.conditions, tuple(rest))):
            return None
        test = gather.element
        match gather.clauses:
            case (ir.Clause((word,), iterable, ()),) if self.text not in reads(test) and (
                self.growing_list(iterable) and _Early(word).falls(test)
            ):
                return e
        kept, holds = settled(first.iterable, self.text), self.form(test)
        if kept is None or holds is None:
            near = settled(gather, self.text)
            return None if near is None else ir.Builtin(e.span, "all", (near,))
        clauses = (replace(first, iterable=kept), *rest)
        return ir.Builtin(e.span, "all", (replace(gather, element=holds, clauses=clauses),))

    def falls(self, e: ir.Expr) -> bool:
        """Whether e, once false, stays false: it is its own early form."""
        return self.form(e) == e

    # ------------------------------------------------------------ texts and numbers

    def extends(self, e: ir.Expr) -> bool:
        """Whether the text e of a beginning is a beginning of the text e of the whole."""
        return beginning(e, self.text) == e

    def grows(self, e: ir.Expr) -> bool:
        """Whether the number e never falls as the text goes on."""
        if self.text not in reads(e):
            return True
        match e:
            case ir.Builtin(name="len" | "letters", args=(s,)):
                return self.extends(s) or (e.name == "len" and self.growing_list(s))
            case ir.Builtin(name="count", args=(s, part)):
                return self.extends(s) and self.text not in reads(part)
            case ir.Operate(operator="add", args=args):
                return all(map(self.grows, args))
        return False

    def growing_list(self, e: ir.Expr) -> bool:
        match e:
            case ir.Builtin(name=name, args=(s,)):
                return name in GROWING_LISTS and self.extends(s)
        return False

    def least(self, e: ir.Expr) -> ir.Expr | None:
        """A number that is never above e of the whole, however it goes on: e itself if it grows, or
        what the items that stay add to it."""
        if self.grows(e):
            return e
        match e:
            case ir.Operate(operator="add", args=args):
                parts = tuple(p for p in map(self.least, args) if p is not None)
                return replace(e, args=parts) if len(parts) == len(args) else None
            case ir.Builtin(name="syllables", args=(s,)) if s == self.whole:
                return replace(e, args=(ir.Builtin(e.span, ".complete", (s,)),))
            case ir.Builtin(name="len", args=(listed,)):
                kept = settled(listed, self.text)
                return None if kept is None else replace(e, args=(kept,))
            case ir.Builtin(name="sum", args=(ir.Gather(element=element) as gather,)) if (
                _is_no_less_than_zero(element)
            ):
                kept = settled(gather, self.text)
                return None if kept is None else replace(e, args=(kept,))
        return None


def _is_no_less_than_zero(e: ir.Expr) -> bool:
    match e:
        case ir.Const(value=value):
            return isinstance(value, int | float) and value >= 0
        case ir.Builtin(name=name):
            return name in ("syllables", "len", "letters", "count", "contains", "starts_with")
        case ir.Operate(operator=operator):
            return operator in NEGATED or operator == "not"
    return isinstance(e, ir.And | ir.Or)
