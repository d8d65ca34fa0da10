"""Whether the type of an expression fits what is wanted where it stands."""

from __future__ import annotations

from fkdsl.language.check.advice import conversion, shown
from fkdsl.language.check.operators import drawn_type
from fkdsl.language.check.scopes import Scope, World
from fkdsl.language.syntax import edits, tree
from fkdsl.values.types import ANY, BOOL, CONTEXT, STR, Type, accepts


class Fitting:
    """Checks expressions over the variables of `scope` against wanted types. What types they have
    is for a subclass to say (expressions.py)."""

    def __init__(self, world: World, scope: Scope) -> None:
        self.world, self.scope, self.report = world, scope, world.report

    def type_of(self, e: tree.Expr) -> Type:
        """The expression's type, with its mistakes reported."""
        raise NotImplementedError

    def expect(self, e: tree.Expr, wanted: Type, role: str, code: str = "FK213") -> Type:
        """The expression's type, which must fit `wanted`; `role` is what the message calls it."""
        return self.fitted(e, self.type_of(e), wanted, role, code)

    def fitted(self, e: tree.Expr, actual: Type, wanted: Type, role: str, code: str) -> Type:
        """`expect` of an expression whose type is known already."""
        if accepts(wanted, actual):
            return actual
        self.mismatch(e, wanted, actual, role, code)
        return ANY

    def mismatch(self, e: tree.Expr, wanted: Type, actual: Type, role: str, code: str) -> None:
        """Reports a value of the wrong type; a distribution where its draw is wanted is its own
        mistake."""
        drawn = drawn_type(actual)
        if (
            drawn is not None
            and accepts(wanted, drawn)
            and not (actual == CONTEXT and wanted == STR)
        ):
            help = f"draw from it first: `x ~ {shown(e)}`, and use `x`"
            change: edits.Edits = ()
            if isinstance(e, tree.Name) and e.name in self.scope.variables:
                first = self.scope.variables[e.name].span
                help = (
                    f"write `{e.name} ~ ...` in line {first.line}: `=` names the distribution, "
                    "`~` draws from it"
                )
                change = edits.drawn(first)
                if actual == CONTEXT:
                    help, change = f"draw from it first: `t ~ {e.name}`", ()
            message = f"{role}: expected `{wanted}`, found a distribution, `{actual}`"
            self.report.error("FK218", message, e.span, "not drawn from", help, edits=change)
            return
        advice = conversion(wanted, actual, e)
        self.report.error(
            code,
            f"{role}: expected `{wanted}`, found `{actual}`",
            e.span,
            f"this is `{actual}`",
            advice.text,
            edits=edits.instead(e.span, advice.instead) if advice.instead else (),
        )

    def truth(self, e: tree.Expr, role: str) -> None:
        """Checks that the expression is a bool: nothing else has a truth value."""
        self.expect(e, BOOL, role, "FK212")
