"""Draws programs: every construct of the language that a condition, a draw or a value can go
through."""

from random import Random

from tests.reference import syntax as s
from tests.reference.expressions import Scope
from tests.reference.language_models import Bytes
from tests.reference.models import TEXTS, table, wide
from tests.reference.semantics import Context
from tests.reference.statements import Statements


class Drawing(Statements):
    """Draws one program. texts: what its tokens are made of, for literals that matter."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.functions: list = []
        self.names = 0
        kind = rng.choice(("table", "table", "two", "wide", "bytes", "views"))
        texts = rng.sample(TEXTS, rng.choice((2, 2, 3)))
        self.texts = texts
        self.given, self.models = None, []
        if kind == "wide":
            self.given = wide(rng)
            self.texts = [t.decode("utf-8", "ignore") or "é" for t in self.given.tokens[:3]]
            self.models = [("", "", self.given)]
        else:
            declared, model = table(rng, "m", texts)
            self.models = [("m", declared, model)]
            if kind in ("two", "views"):
                declared, other = table(rng, "n", texts)
                self.models.append(("n", declared, other))
            if kind in ("bytes", "views"):
                self.models += [
                    (
                        f"{name}_bytes",
                        f"model {name}_bytes = bytes({name}, beam=none)\n",
                        Bytes(model),
                    )
                    for name, _, model in self.models[:]
                ]
                self.usable = self.models[len(self.models) // 2 :]
        self.usable = getattr(self, "usable", self.models)

    # --------------------------------------------------------------- programs

    def program(self):
        rng, scope = self.rng, Scope()
        scope.returns = rng.choice(("str", "list[str]", "list[str]", "record", "int"))
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            self.function()
        body = s.Block()
        for _ in range(rng.choice((1, 1, 2, 2, 3))):
            body.append(self.prompt(scope))
        body += self.setup(scope)
        for _ in range(rng.choice((1, 2, 3, 4))):
            body += self.statements(scope, deep=0)
        main = s.Function("main", (), scope.returns, body, "program")
        body.append(s.returned(self.result(scope)))
        return s.Program(self.models, self.functions, main, self.given)

    def prompt(self, scope):
        n, (model, _, of) = self.fresh("lm"), self.rng.choice(self.usable)
        text = self.rng.choice(("", "", "", *self.texts))
        if isinstance(of, Bytes) and not of.cover(text.encode()) > 0:
            text = ""
        scope.contexts.append(n)
        where = f", model={model}" if model else ""
        scope.model[n] = of
        return s.assign(
            n, s.E(f"prompt({s.written(text)}{where})", lambda m, v: Context(of, of.encode(text)))
        )

    def setup(self, scope):
        """Values that change later."""
        rng, found = self.rng, []
        if rng.random() < 0.85:
            found.append(self.value(scope, "int", s.literal(rng.choice((0, 1, 2)))))
        if rng.random() < 0.5:
            found.append(self.value(scope, "str", s.literal(rng.choice(("", *self.texts)))))
        if rng.random() < 0.4:
            found.append(self.value(scope, "list", s.literal([self.texts[0]])))
        if rng.random() < 0.3:
            found.append(self.value(scope, "record", self.record(scope)))
        return found

    def value(self, scope, kind, e):
        n = self.fresh(
            {"int": "n", "str": "s", "list": "xs", "record": "r", "bool": "b", "token": "t"}[kind]
        )
        scope.add(kind, n)
        return s.assign(n, e)

    def function(self):
        """A function that draws from a context and counts, or a pure one of a text and a number."""
        rng = self.rng
        f, scope = self.fresh("f"), Scope()
        body = s.Block()
        if rng.random() < 0.6:
            scope.contexts.append("lm")
            scope.model["lm"] = self.usable[0][2]
            scope.add("int", "n")
            scope.returns = kind = rng.choice(("int", "str"))
            scope.inside = True
            for _ in range(rng.choice((1, 2))):
                body += self.statements(scope, deep=1)
            body.append(s.returned(self.result(scope)))
            if not any("~" in line for line in body.lines().splitlines()):
                body.insert(0, self.flip(scope))
            self.functions.append(s.Function(f, (("lm", "context"), ("n", "int")), kind, body))
            return
        scope.add("str", "s")
        scope.add("int", "n")
        scope.pure = True
        if rng.random() < 0.5:
            c = self.fresh("c")
            items = s.name("s")
            inner = s.Block(
                [
                    s.add("n", s.literal(1))
                    if rng.random() < 0.5
                    else s.add("n", s.E(f"len({c})", lambda m, v: len(v[c])))
                ]
            )
            body.append(s.For(c, s.E("s", lambda m, v: list(items(m, v))), inner))
        if rng.random() < 0.5:
            body.append(s.add("s", s.literal(rng.choice(self.texts))))
        if rng.random() < 0.3:
            body.append(s.If(self.truth(scope), s.Block([s.returned(self.truth(scope))])))
        body.append(s.returned(self.truth(scope)))
        self.functions.append(s.Function(f, (("s", "str"), ("n", "int")), "bool", body))
