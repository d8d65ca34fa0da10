"""The arguments of a call against the parameters of what is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fkdsl.language.check.advice import shown
from fkdsl.language.check.fitting import Fitting
from fkdsl.language.check.operators import is_distribution
from fkdsl.language.check.report import did_you_mean, listed, plural
from fkdsl.language.syntax import edits, other_languages, tree
from fkdsl.values.signatures import REQUIRED, TABLE, Parameter
from fkdsl.values.types import ANY, IMAGE, STR, Type, accepts
from fkdsl.values.values import show


def bind(
    expressions: Fitting,
    call: tree.Call,
    params: Sequence[Parameter],
    variadic: Type | None = None,
    skip: Sequence[str] = (),
    parts: Type | None = None,
) -> list[Type] | None:
    """The given arguments' types, in the parameters' order, or None after a mistake in their number
    or names.

    variadic: the type of what may follow the parameters. skip: keywords that are checked elsewhere.
    parts: see Operation.
    """
    types = [expressions.type_of(argument) for argument in call.args]
    if parts is not None and IMAGE in types:
        each = [Parameter(f"part {i + 1}", parts) for i in range(len(types))]
        params = [*each, *(replace(p, by_name=True) for p in params[1:])]
    if advice := swapped(call, types, params):
        message = f"`{call.function.name}` takes its arguments in another order"
        label = f"`{types[0]}` and `{types[1]}`"
        change = edits.exchanged(call.args[0].span, call.args[1].span)
        expressions.report.error("FK210", message, call.span, label, advice, edits=change)
        return None
    binding = _Binding(expressions, call, params, variadic, skip)
    if parts is not None:
        binding.usage += f', or with images: `{call.function.name}("A photo of", photo, ":")`'
    binding.positional(types)
    binding.keywords()
    return binding.result()


class _Binding:
    """Binds the arguments of one call. bound: types by parameter; sound: whether each argument so
    far has a parameter of its own."""

    def __init__(
        self,
        expressions: Fitting,
        call: tree.Call,
        params: Sequence[Parameter],
        variadic: Type | None,
        skip: Sequence[str],
    ) -> None:
        self.expressions, self.report = expressions, expressions.report
        self.call, self.name, self.params = call, call.function.name, params
        self.variadic, self.skip = variadic, skip
        self.usage = f"it is called as `{signature_text(self.name, params, variadic, skip)}`"
        self.bound: dict[str, Type] = {}
        self.extra: list[Type] = []
        self.sound = True

    def positional(self, types: Sequence[Type]) -> None:
        params, call = [p for p in self.params if not p.by_name], self.call
        for i, (argument, given) in enumerate(zip(call.args, types, strict=True)):
            if i < len(params):
                self.bound[params[i].name] = self.fitted(params[i], argument, given)
            elif self.variadic is not None:
                parameter = Parameter(f"number {i + 1}", self.variadic)
                self.extra.append(self.fitted(parameter, argument, given))
            elif i == len(params):
                self.sound = False
                takes = f"`{self.name}` takes {plural(len(params), 'argument')}"
                self.report.error(
                    "FK208", f"{takes}, but {len(call.args)} are given",
                    argument.span, "one too many", self.usage,
                )  # fmt: skip

    def keywords(self) -> None:
        by_name = {p.name: p for p in self.params}
        seen: set[str] = set()
        for keyword in self.call.keywords:
            key = keyword.name
            if key in seen or key in self.bound:
                self.sound = False
                self.report.error(
                    "FK207", f"argument `{key}` of `{self.name}` is given twice", keyword.span,
                    "again here", "leave one of them out",
                )  # fmt: skip
            elif key in by_name:
                given = self.expressions.type_of(keyword.value)
                self.bound[key] = self.fitted(by_name[key], keyword.value, given)
            elif key not in self.skip:
                self.sound = False
                self.expressions.type_of(keyword.value)
                here = other_languages.ARGUMENTS.get(key, "")
                self.report.error(
                    "FK206", f"`{self.name}` has no argument `{key}`", keyword.span,
                    "unknown argument",
                    f"write `{here}=...`" if here in by_name
                    else did_you_mean(key, [*by_name, *self.skip], self.usage),
                    edits=edits.spelt(keyword.span, key, [*by_name, *self.skip]),
                )  # fmt: skip
            seen.add(key)

    def result(self) -> list[Type] | None:
        """The types, or None after a mistake; reports what is missing."""
        missing = [
            p.name for p in self.params if p.default is REQUIRED and p.name not in self.bound
        ]
        if missing and self.sound:
            what = "its argument" if len(missing) == 1 else "its arguments"
            self.report.error(
                "FK209", f"`{self.name}` is called without {what} {listed(missing)}",
                self.call.span, f"{plural(len(missing), 'argument')} missing", self.usage,
            )  # fmt: skip
        if missing or not self.sound:
            return None
        return [self.bound[p.name] for p in self.params if p.name in self.bound] + self.extra

    def fitted(self, parameter: Parameter, argument: tree.Expr, given: Type) -> Type:
        role = f"argument `{parameter.name}` of `{self.name}`"
        actual = self.expressions.fitted(argument, given, parameter.type, role, "FK210")
        if parameter.type == ANY and is_distribution(actual) and self.name in TABLE:
            self.expressions.mismatch(argument, STR, actual, role, "FK210")
            return ANY
        return actual


def signature_text(
    name: str, params: Sequence[Parameter], variadic: Type | None = None, skip: Sequence[str] = ()
) -> str:
    """How a function is called, as messages say it: `text(lm: context, until: str = "")`."""
    texts = []
    for p in params:
        text = p.name if p.type == ANY else f"{p.name}: {p.type}"
        if isinstance(p.default, tree.Expr):
            text += f" = {p.default.span.text}"
        elif p.default is not REQUIRED:
            default = repr(p.default) if isinstance(p.default, str) else show(p.default)
            text += f" = {default}"
        texts.append(text)
    texts += ["..."] if variadic is not None else []
    texts += [f"{s}=NAME" for s in skip]
    return f"{name}({', '.join(texts)})"


def swapped(call: tree.Call, types: Sequence[Type], params: Sequence[Parameter]) -> str:
    """What to write where the first two arguments do not fit, and would the other way round; ""
    elsewhere."""
    params = [p for p in params if not p.by_name]
    if len(types) < 2 or len(params) < 2 or ANY in (*types[:2], params[0].type):
        return ""
    (a, b), (x, y) = types[:2], (params[0].type, params[1].type)
    if accepts(x, a) or not (accepts(x, b) and accepts(y, a)):
        return ""
    first, second, *rest = call.args
    return f"write `{call.function.name}({', '.join(map(shown, (second, first, *rest)))})`"
