"""Programs as trees of this folder's own: each part prints itself as fkdsl's text and runs itself
as Python."""

from collections.abc import Callable
from dataclasses import dataclass, field
from textwrap import indent

from tests.reference.language_models import Mistake
from tests.reference.semantics import Mix, Returned

TAB = "    "


@dataclass(frozen=True)
class E:
    """An expression: its text, and its value from (machine, variables)."""

    text: str
    value: Callable

    def __call__(self, machine, v):
        return self.value(machine, v)


def name(n):
    return E(n, lambda m, v: v[n])


def literal(value):
    return E(written(value), lambda m, v: value)


def written(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
            value = value.replace(plain, escaped)
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    return repr(value)


def plus(a, b):
    """`+` of numbers, texts and lists; tokens count as their text."""
    a, b = (x.text if hasattr(x, "end") and not isinstance(x, str) else x for x in (a, b))
    return [*a, *b] if isinstance(a, list | tuple) else a + b


class Block(list):
    """Statements one after another."""

    def run(self, machine, v):
        for statement in self:
            machine.steps += 1
            if machine.steps > 20_000:
                raise Mistake("a loop without an end")
            statement.run(machine, v)

    def lines(self):
        return "\n".join(s.lines() for s in self) or "pass"

    def blocks(self):
        """It, and every block within."""
        yield self
        for statement in self:
            for inner in getattr(statement, "inner", ()):
                yield from inner.blocks()


class Break(Exception):
    pass


@dataclass
class Do:
    """One line: its text, and what it does to (machine, variables)."""

    text: str
    act: Callable

    def lines(self):
        return self.text

    def run(self, machine, v):
        self.act(machine, v)


def assign(target, e):
    return Do(f"{target} = {e.text}", lambda m, v: v.__setitem__(target, e(m, v)))


def add(target, e):
    def act(m, v):
        v[target] = plus(v[target], e(m, v))

    return Do(f"{target} += {e.text}", act)


def extend(target, text):
    return Do(f"{target} += {written(text)}", lambda m, v: v[target].add(text))


def draw(target, text, sample):
    return Do(f"{target} ~ {text}", lambda m, v: v.__setitem__(target, sample(m, v)))


def condition(e):
    return Do(f"condition {e.text}", lambda m, v: m.weigh(1.0 if e(m, v) else 0.0))


def returned(e):
    def act(m, v):
        raise Returned(e(m, v))

    return Do(f"return {e.text}", act)


def broken():
    def act(m, v):
        raise Break

    return Do("break", act)


@dataclass
class If:
    test: E
    then: Block
    other: Block = field(default_factory=Block)

    @property
    def inner(self):
        return self.then, self.other

    def lines(self):
        other = f"\nelse:\n{indent(self.other.lines(), TAB)}" if self.other else ""
        return f"if {self.test.text}:\n{indent(self.then.lines(), TAB)}{other}"

    def run(self, machine, v):
        (self.then if self.test(machine, v) else self.other).run(machine, v)


@dataclass
class For:
    target: str
    items: E
    body: Block

    @property
    def inner(self):
        return (self.body,)

    def lines(self):
        return f"for {self.target} in {self.items.text}:\n{indent(self.body.lines(), TAB)}"

    def run(self, machine, v):
        for item in list(self.items(machine, v)):
            v[self.target] = item
            try:
                self.body.run(machine, v)
            except Break:
                break


@dataclass
class While:
    test: E
    body: Block

    @property
    def inner(self):
        return (self.body,)

    def lines(self):
        return f"while {self.test.text}:\n{indent(self.body.lines(), TAB)}"

    def run(self, machine, v):
        while self.test(machine, v):
            try:
                self.body.run(machine, v)
            except Break:
                break


@dataclass
class Function:
    """params: (name, type) pairs; kind: `def` or `program`."""

    name: str
    params: tuple
    returns: str
    body: Block
    kind: str = "def"

    def lines(self):
        params = ", ".join(f"{n}: {t}" for n, t in self.params)
        return (
            f"{self.kind} {self.name}({params}) -> {self.returns}:\n"
            f"{indent(self.body.lines(), TAB)}\n"
        )

    def call(self, machine, args):
        v = dict(zip((n for n, _ in self.params), args, strict=True))
        try:
            self.body.run(machine, v)
        except Returned as done:
            return done.value
        raise Mistake(f"{self.name} returns nothing")


@dataclass
class Program:
    """models: (name, declaration, model of the reference); given: the model that takes the
    default's place, or None."""

    models: list
    functions: list
    main: Function
    given: object = None

    def lines(self):
        parts = [declaration for _, declaration, _ in self.models if declaration]
        return "\n".join([*parts, *(f.lines() for f in (*self.functions, self.main))])

    def run(self, machine):
        v = {}
        self.main.body.run(machine, v)
        raise Mistake("main returns nothing")

    def blocks(self):
        for f in (*self.functions, self.main):
            yield from f.body.blocks()


@dataclass(frozen=True)
class D:
    """A distribution of tokens: its text, and its `Mix` from (machine, variables)."""

    text: str
    mix: Callable

    def __mul__(self, other):
        return D(f"{self.text} * {other.text}", lambda m, v: self.mix(m, v).times(other.mix(m, v)))

    def __pow__(self, exponent):
        text = f"({self.text})" if " " in self.text else self.text
        return D(f"{text} ** {exponent}", lambda m, v: self.mix(m, v).power(exponent))


def of_context(n):
    return D(n, lambda m, v: Mix.of(v[n]))


def mixture(parts, weights):
    text = f"mixture([{', '.join(p.text for p in parts)}], weights={list(weights)})"
    return D(text, lambda m, v: Mix.mixture([p.mix(m, v) for p in parts], weights))
