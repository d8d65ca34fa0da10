"""Checks of a text while it is still being drawn, found in conditions on the whole text.

`early_form(e, s)` is an expression over the same slots with this law: if it is false of the
beginning of a text, e is false of every text that begins so. It rests on three facts: some numbers
only grow with the text, some tests stay true once they are, and complete words do not change.

    len(words(s)) <= 12                      len(words(s)) <= 12
    not contains(lower(s), "sorry")          itself
    all(syllables(w) < 3 for w in words(s))  the same over the words that are complete
    count(s, "a") == 2                       count(s, "a") <= 2
"""

from __future__ import annotations

from dataclasses import replace

from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads

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
GROWING_LISTS = ("words", "lines")
"""Built-ins whose list only grows with the text; its last element may grow too."""


def early_form(e: ir.Expr, text: int) -> ir.Expr | None:
    """The check of a beginning; None if nothing is known before the end."""
    return _Early(text).form(e)


class _Early:
    def __init__(self, text: int) -> None:
        self.text = text

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
            case ir.Operate(operator="not", args=(inner,)):
                return self.form_of_not(inner)
            case ir.Operate(operator="notin" | "ne" as operator, args=args):
                return self.form_of_not(ir.Operate(e.span, NEGATED[operator], args))
            case ir.Operate(operator="le" | "lt" | "ge" | "gt" | "eq", args=(_, _)):
                return self.comparison(e)
            case ir.Builtin(name="all", args=(gather,)):
                return self.every(e, gather)
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
        return None

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
        if self.grows(a):
            return ir.Operate(e.span, operator, (a, b))
        whole = self.over_complete_words(a)
        return None if whole is None else ir.Operate(e.span, operator, (whole, b))

    def every(self, e: ir.Expr, gather: ir.Expr) -> ir.Expr | None:
        """`all(test(w) for w in words(s))`: over the words that are complete, and over all if the
        test is of a kind that a growing word only fails."""
        match gather:
            case ir.Gather(
                element=test, clauses=(ir.Clause(targets=(word,), iterable=listed, conditions=()),)
            ) if self.text not in reads(test):
                if self.growing_list(listed) and _Early(word).falls(test):
                    return e
                complete = self.complete_list(listed)
                if complete is not None:
                    clause = replace(gather.clauses[0], iterable=complete)
                    return ir.Builtin(e.span, "all", (replace(gather, clauses=(clause,)),))
        return None

    def falls(self, e: ir.Expr) -> bool:
        """Whether e, once false, stays false: it is its own early form."""
        return self.form(e) == e

    # ------------------------------------------------------------ texts and numbers

    def extends(self, e: ir.Expr) -> bool:
        """Whether the text e of a beginning is a beginning of the text e of the whole."""
        return isinstance(e, ir.Local) and e.slot == self.text

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

    def complete_list(self, e: ir.Expr) -> ir.Expr | None:
        """`words` of the part of the text whose words cannot change."""
        match e:
            case ir.Builtin(name="words", args=(s,)) if self.extends(s):
                return ir.Builtin(e.span, "words", (ir.Builtin(e.span, ".complete", (s,)),))
        return None

    def over_complete_words(self, e: ir.Expr) -> ir.Expr | None:
        """A sum over words, none of them negative, as the sum over those that are complete: never
        above the whole's."""
        match e:
            case ir.Builtin(name="syllables", args=(s,)) if self.extends(s):
                return ir.Builtin(e.span, "syllables", (ir.Builtin(e.span, ".complete", (s,)),))
            case ir.Builtin(
                name="sum",
                args=(
                    ir.Gather(
                        element=ir.Builtin(name="syllables" | "len" | "letters"),
                        clauses=(ir.Clause(iterable=listed, conditions=()),),
                    ) as gather,
                ),
            ):
                complete = self.complete_list(listed)
                if complete is not None and self.text not in reads(gather.element):
                    clause = replace(gather.clauses[0], iterable=complete)
                    return ir.Builtin(e.span, "sum", (replace(gather, clauses=(clause,)),))
        return None
