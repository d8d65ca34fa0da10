"""The types of calls: who is called, with what, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence

from fkdsl.language.check.arguments import bind, signature_text
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.fitting import Fitting
from fkdsl.language.check.operators import drawn_type
from fkdsl.language.check.report import did_you_mean, listed
from fkdsl.language.check.text_lists import check_options, check_stops
from fkdsl.language.syntax import edits, tree
from fkdsl.values.signatures import REQUIRED, TABLE, Parameter
from fkdsl.values.types import ANY, MARK, STR, TOKEN, OneOf, Type

OTHER_LANGUAGES = {
    "print": "a program shows what it returns: `return ...`",
    "append": "write `xs = xs + [x]`",
    "map": "write a comprehension: `[f(x) for x in xs]`",
    "filter": "write a comprehension: `[x for x in xs if ...]`",
    "list": "write a list: `[...]`, or a comprehension",
    "dict": 'write a record: `{"name": value}`',
    "set": "use a list, and `x in xs`",
    "bool": "compare: `x != 0`",
    "sample": "draw by `x ~ d`",
    "generate": "draw a text by `s ~ text(lm)`",
    "flip": "write `x ~ bernoulli(0.5)`",
    "gaussian": "write `normal(mean, sd)`",
    "gauss": "write `x ~ normal(mean, sd)`",
    "randint": "write `x ~ uniform_int(1, 6)`",
    "randrange": "write `x ~ uniform_int(0, n - 1)`",
    "random": "write `x ~ uniform(0, 1)`",
    "shuffle": "draw items one by one: `x ~ categorical(...)`",
    "score": "a weight is added by `factor`; a text's log-probability is `logprob(lm, s)`",
    "input": "give the program a parameter, and run it with -p NAME=VALUE",
    "open": 'write `read_rows("file.csv")`; schemas and grammars are named where they are used',
    "format": 'write an f-string: `f"... {x} ..."`',
    "type": "types are known: leave it out",
    "isinstance": "types are known: leave it out",
    "tuple": "write a list: `[...]`",
    "complete": "draw a text by `s ~ text(lm)`",
    "next": "draw by `t ~ lm`",
    "regex": 'write `matches(s, r"...")`, which takes the whole text',
    "match": 'write `matches(s, r"...")`, which takes the whole text',
    "fullmatch": 'write `matches(s, r"...")`',
    "search": 'write `contains(s, "...")`, or `matches(s, r".*(...).*")`',
    "length": "write `len(x)`",
    "re": 'write `matches(s, r"...")`',
    "size": "write `len(x)`",
}
"""What to write here for what other languages call otherwise."""


class Calls:
    """Checks the calls of one function, with the expression checker that it is a part of."""

    def __init__(self, expressions: Fitting) -> None:
        self.expressions = expressions
        self.world, self.report = expressions.world, expressions.world.report
        # The variable that the call under way is the value of, for advice.
        self.assigned: tree.Name | None = None

    # ------------------------------------------------------------ who is called

    def value(self, call: tree.Call) -> Type:
        """The type of a call in an expression, where no stochastic function may stand."""
        name, target = call.function.name, self.assigned
        self.assigned = None
        if self.is_stochastic(name):
            self.stochastic_without_draw(call, target)
        return self.result(call)

    def is_stochastic(self, name: str) -> bool:
        if name in self.world.functions:
            return name in self.world.stochastic
        return (
            name in OPERATIONS
            and name not in self.world.externs
            and OPERATIONS[name].kind == "draw"
        )

    def stochastic_without_draw(self, call: tree.Call, target: tree.Name | None) -> None:
        name, span = call.function.name, call.function.span
        self.report.error(
            "FK216", f"`{name}` is stochastic and is called without `~`", span, "draws or weighs",
            f"write `{target.name} ~ {name}(...)`" if target is not None
            else f"draw it in a line before: `x ~ {name}(...)`",
            edits=edits.drawn(target.span) if target is not None else (),
        )  # fmt: skip

    def result(self, call: tree.Call) -> Type:
        """The type of a call's result, whether or not it is stochastic."""
        name = call.function.name
        world = self.world
        if name in world.functions:
            bind(
                self.expressions,
                call,
                _user_parameters(world.functions[name].params, world.params[name]),
            )
            return self.return_type(call)
        if name in world.externs:
            extern = world.externs[name]
            bind(self.expressions, call, _user_parameters(extern.definition.params, extern.params))
            return extern.returns
        if name in OPERATIONS:
            return self.operation(call)
        if name in TABLE:
            return self.built_in(call)
        return self.unknown(call)

    def return_type(self, call: tree.Call) -> Type:
        name = call.function.name
        if name in self.world.returns:
            return self.world.returns[name]
        self.report.error(
            "FK230", f"`{name}` calls itself, so its type cannot be found", call.function.span,
            "called here",
            f"declare what it returns: `def {name}(...) -> type:`",
        )  # fmt: skip
        return ANY

    def operation(self, call: tree.Call) -> Type:
        operation = OPERATIONS[call.function.name]
        if operation.takes_model:
            for k in call.keywords:
                if k.name == "model":
                    self.model_name(k)
        bind(
            self.expressions,
            call,
            operation.params,
            skip=("model",) if operation.takes_model else (),
            parts=operation.parts,
        )
        if call.function.name == "text":
            check_stops(self.report, call)
        elif call.function.name == "choice":
            check_options(self.report, call)
        elif call.function.name == "prompt":
            self.source(call)
        elif call.function.name == "logprob":
            self.scored(call)
        return operation.returns

    def scored(self, call: tree.Call) -> None:
        """Checks that the value of a `logprob` is one that its context or distribution gives."""
        given = dict(zip(("context", "text"), call.args, strict=False))
        given |= {k.name: k.value for k in call.keywords}
        if len(given) < 2:
            return
        types, (d, value) = self.world.types, (given[name] for name in ("context", "text"))
        item = drawn_type(types.get(id(d), ANY))
        wanted = OneOf((STR, MARK)) if item == TOKEN else item
        if wanted is not None:
            actual = types.get(id(value), ANY)
            self.expressions.fitted(value, actual, wanted, "argument `text` of `logprob`", "FK210")

    def source(self, call: tree.Call) -> None:
        """Reports a source for a model that is a table. What others read is known when they are
        loaded."""
        given = {k.name: k for k in call.keywords}
        match given.get("source"), given.get("model"):
            case tree.Keyword(span=span), tree.Keyword(value=tree.Name(name=name)):
                declared = self.world.models.get(name)
                if declared is not None and declared.table is not None:
                    self.report.error(
                        "FK416",
                        f"`{name}` is a table, which reads no source",
                        span,
                        "only encoder-decoders read one",
                        "put the text into the prompt",
                    )

    def model_name(self, keyword: tree.Keyword) -> None:
        """Checks `model=...`: a declared model's name, or a literal reference."""
        match keyword.value:
            case tree.Literal(value=str()):
                pass
            case tree.Name(name=name, span=span):
                known = [m for m in self.world.models if m is not None]
                if name not in known and name not in self.world.unreadable:
                    otherwise = f"declare it: `model {name} = ...`" + (
                        f"; there is {listed(known)}" if known else ""
                    )
                    self.report.error(
                        "FK224",
                        f"unknown model `{name}`",
                        span,
                        "no such model",
                        did_you_mean(name, known, otherwise),
                        edits=edits.spelt(span, name, known),
                    )
            case other:
                self.expressions.type_of(other)
                self.report.error(
                    "FK225", "`model=` takes the name of a declared model", other.span,
                    "this is an expression",
                    'write `model=judge` after declaring `model judge = "..."`',
                )  # fmt: skip

    def built_in(self, call: tree.Call) -> Type:
        signature = TABLE[call.function.name]
        given = bind(self.expressions, call, signature.params, signature.variadic)
        if isinstance(signature.returns, Type):
            return signature.returns
        if given is None:
            return ANY
        result = signature.returns(given)
        if isinstance(result, Type):
            return result
        self.report.error(
            "FK210", f"`{call.function.name}`: {result}", call.span, "these arguments do not fit",
            "it is called as "
            f"`{signature_text(call.function.name, signature.params, signature.variadic)}`",
        )  # fmt: skip
        return ANY

    def unknown(self, call: tree.Call) -> Type:
        """Reports a call of what is no function; its arguments are still checked."""
        name, span = call.function.name, call.function.span
        for argument in [*call.args, *(k.value for k in call.keywords)]:
            self.expressions.type_of(argument)
        if name in self.world.unreadable:
            return ANY
        if name in self.world.programs:
            self.report.error(
                "FK227", f"`{name}` is a program, and programs are run, not called", span,
                "a program",
                "move its body into a `def`, and call that by `x ~ ...`",
            )  # fmt: skip
        elif name in self.expressions.scope.variables:
            variable = self.expressions.scope.variables[name]
            self.report.error(
                "FK205", f"`{name}` is no function", span, f"a variable of type `{variable.type}`",
                f"it is {variable}; only functions are called",
            )  # fmt: skip
        else:
            built_in = [n for n in TABLE if not n.startswith(".")]
            known = [*self.world.functions, *self.world.externs, *OPERATIONS, *built_in]
            help = OTHER_LANGUAGES.get(name, "")
            change: edits.Edits = ()
            if not help:
                help = did_you_mean(name, known, f"define it: `def {name}(...):`")
                change = edits.spelt(span, name, known)
            self.report.error(
                "FK204", f"unknown function `{name}`", span, "not defined here", help, edits=change
            )
        return ANY


def _user_parameters(params: Sequence[tree.Param], types: Sequence[Type]) -> list[Parameter]:
    return [
        Parameter(p.name, t, REQUIRED if p.default is None else p.default)
        for p, t in zip(params, types, strict=True)
    ]
