"""Whether the type of an expression fits what is wanted where it stands."""

from __future__ import annotations

from fkdsl.language.check.advice import conversion, shown
from fkdsl.language.check.operators import drawn_type
from fkdsl.language.check.scopes import Scope, World
from fkdsl.language.syntax import tree
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

    def fitted(self, e: tree.Expr, found: Type, wanted: Type, role: str, code: str) -> Type:
        """`expect` of an expression whose type is known already."""
        if accepts(wanted, found):
            return found
        self.mismatch(e, wanted, found, role, code)
        return ANY

    def mismatch(self, e: tree.Expr, wanted: Type, found: Type, role: str, code: str) -> None:
        """Reports a value of the wrong type; a distribution where its draw is wanted is its own
        mistake."""
        drawn = drawn_type(found)
        if (
            drawn is not None
            and accepts(wanted, drawn)
            and not (found == CONTEXT and wanted == STR)
        ):
            help = f"draw from it first: `x ~ {shown(e)}`, and use `x`"
            if isinstance(e, tree.Name) and e.name in self.scope.variables:
                line = self.scope.variables[e.name].span.line
                help = (
                    f"write `{e.name} ~ ...` in line {line}: `=` names the distribution, "
                    "`~` draws from it"
                )
                if found == CONTEXT:
                    help = f"draw from it first: `t ~ {e.name}`"
            message = f"{role}: expected `{wanted}`, found a distribution, `{found}`"
            self.report.error("FK218", message, e.span, "not drawn from", help)
            return
        help = conversion(wanted, found, e)
        self.report.error(
            code,
            f"{role}: expected `{wanted}`, found `{found}`",
            e.span,
            f"this is `{found}`",
            help,
        )

    def truth(self, e: tree.Expr, role: str) -> None:
        """Checks that the expression is a bool: nothing else has a truth value."""
        self.expect(e, BOOL, role, "FK212")
