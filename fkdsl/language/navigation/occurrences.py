"""Every name in the files of a program, each with what it stands for, as the checker resolves it.

Functions and variables are different namespaces, models a third. A variable belongs to its whole
function; one that a comprehension binds, to the comprehension. Names in lines that could not be
read are guessed from their tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lark import Token

from fkdsl.base.spans import Source, Span
from fkdsl.inference.methods import METHODS
from fkdsl.language.check.checker import Survey
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.expressions import ATTRIBUTES
from fkdsl.language.check.queries import MEANS, QUANTILES
from fkdsl.language.check.scopes import World
from fkdsl.language.check.tests import FIGURES, SUPPORT
from fkdsl.language.navigation.symbols import Index, Occurrence, Symbol
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.lexer import Lexer
from fkdsl.language.syntax.tree_walk import (
    MODEL_KEYWORD_FUNCTIONS,
    children,
    evaluated,
    statements,
    targets,
)
from fkdsl.values.signatures import TABLE

VALUE = "value"
_WORD = re.compile(r"\w+")
_GAP = r"(?:\s|\\\n)+"
_DECLARED = re.compile(rf"(?:model|index|extern{_GAP}def|query|infer){_GAP}(\w+)")
Bound = Mapping[str, Symbol]
"""The variables that a place sees, by name."""


def index_of(survey: Survey) -> Index:
    """The occurrences in all files of a program."""
    return Index(o for file in survey.files for o in _File(survey.world, file.module).occurrences())


def parameter_name(p: tree.Param) -> Span:
    """Where a parameter's name stands."""
    return _first_word(p.span)


def variables_of(d: tree.FunctionDef, source: Source) -> dict[str, Symbol]:
    """The variables of a function, parameters included, but for those of its comprehensions."""
    names = [p.name for p in d.params]
    names += [n.name for s in statements(d.body) for n in targets(s)]
    return {n: Symbol("variable", n, source.name, d.name) for n in names if n != "_"}


class _File:
    """Finds the occurrences in one file."""

    def __init__(self, world: World, module: tree.Module) -> None:
        self.world, self.module, self.source = world, module, module.source

    def occurrences(self) -> Iterator[Occurrence]:
        for d in self.module.declarations:
            match d:
                case tree.FunctionDef():
                    yield from self.function(d)
                case tree.ExternDef():
                    if span := _declared_name(d):
                        symbol = Symbol("extern", d.name, self.source.name)
                        yield Occurrence(symbol, span, d, defines=True)
                    yield from self.parameters(d)
                case tree.ModelDecl():
                    yield from self.model(d)
                case tree.IndexDecl():
                    if span := _declared_name(d):
                        symbol = Symbol("index", d.name, self.source.name)
                        yield Occurrence(symbol, span, d, defines=True)
                case tree.Query():
                    if span := _declared_name(d):
                        symbol = Symbol("query", d.name, self.source.name)
                        yield Occurrence(symbol, span, d, defines=True)
                    yield from self.expression(d.value, _figures(VALUE), "")
                case tree.Test():
                    yield from self.test(d)
                case tree.Infer():
                    yield from self.infer(d)

    # ------------------------------------------------------------ declarations

    def function(self, d: tree.FunctionDef) -> Iterator[Occurrence]:
        symbol = Symbol("program" if d.is_program else "function", d.name, self.source.name)
        yield Occurrence(symbol, d.name_span, d, defines=True)
        yield from self.parameters(d)
        bound = variables_of(d, self.source)
        for s in statements(d.body):
            unreadable = any(isinstance(e, tree.Unreadable) for e in evaluated(s))
            if unreadable and all(e.span == s.span for e in evaluated(s)):
                yield from self.guessed(s.span, bound)
                continue
            for name in targets(s):
                if name.name in bound:
                    yield Occurrence(bound[name.name], name.span, name, sets=True)
            for e in evaluated(s):
                yield from self.expression(e, bound, d.name)

    def parameters(self, d: tree.FunctionDef | tree.ExternDef) -> Iterator[Occurrence]:
        for p in d.params:
            symbol = Symbol("variable", p.name, self.source.name, d.name)
            yield Occurrence(symbol, parameter_name(p), p, sets=True, defines=True)
            if p.default is not None:
                yield from self.expression(p.default, {}, d.name)

    def model(self, d: tree.ModelDecl) -> Iterator[Occurrence]:
        span = _declared_name(d) if d.name is not None else None
        if d.name is not None and span is not None:
            yield Occurrence(Symbol("model", d.name, self.source.name), span, d, defines=True)
        if d.view is not None and d.view.declared:
            yield from self.model_name(d.view.of, d.view.span)

    def model_name(self, name: str, span: Span) -> Iterator[Occurrence]:
        declared = self.world.models.get(name)
        if declared is not None and declared.name is not None:
            yield Occurrence(Symbol("model", name, declared.span.source.name), span)

    def infer(self, d: tree.Infer) -> Iterator[Occurrence]:
        span = _declared_name(d)
        if span is None or d.method not in METHODS:
            return
        yield Occurrence(Symbol("method", d.method), span)
        for k in d.options:
            yield Occurrence(Symbol("option", k.name, "", d.method), _first_word(k.span), k)

    def test(self, d: tree.Test) -> Iterator[Occurrence]:
        programs = self.world.programs
        program = next(iter(programs)) if len(programs) == 1 else ""
        for k in d.settings:
            if not isinstance(k.value, tree.Name):
                continue
            if k.name == "model":
                yield from self.model_name(k.value.name, k.value.span)
            elif k.name == "program" and k.value.name in programs:
                program = k.value.name
                file = programs[program].span.source.name
                yield Occurrence(Symbol("program", program, file), k.value.span)
        for k in d.settings:
            if k.name not in ("model", "program") and program:
                yield from self.parameter(k, programs[program])
        for e in d.expectations:
            yield from self.expression(e, _figures(VALUE, *FIGURES, SUPPORT), "")

    def parameter(
        self, k: tree.Keyword, d: tree.FunctionDef | tree.ExternDef
    ) -> Iterator[Occurrence]:
        """The name of an argument, which is that of a parameter."""
        if any(p.name == k.name for p in d.params):
            symbol = Symbol("variable", k.name, d.span.source.name, d.name)
            yield Occurrence(symbol, _first_word(k.span), k)

    # ------------------------------------------------------------- expressions

    def expression(self, e: tree.Expr, bound: Bound, home: str) -> Iterator[Occurrence]:
        stack: list[tuple[Any, Bound]] = [(e, bound)]
        while stack:
            here, bound = stack.pop()
            match here:
                case tree.Name(name=name, span=span):
                    if name in bound:
                        yield Occurrence(bound[name], span, here)
                    elif (declared := self.world.indexes.get(name)) is not None:
                        yield Occurrence(Symbol("index", name, declared.span.source.name), span)
                case tree.Call():
                    yield from self.call(here)
                    keywords = [k.value for k in here.keywords if not self.names_model(here, k)]
                    stack.extend((x, bound) for x in reversed([*here.args, *keywords]))
                case tree.Attribute(name=name) if name in ATTRIBUTES:
                    yield Occurrence(Symbol("attribute", name), _last_word(here.span), here)
                    stack.append((here.value, bound))
                case tree.Comprehension():
                    yield from self.targets_of(here, home)
                    stack.extend(reversed(list(self.parts(here, bound, home))))
                case _:
                    stack.extend((x, bound) for x in reversed(list(children(here))))

    def parts(
        self, e: tree.Comprehension, bound: Bound, home: str
    ) -> Iterator[tuple[tree.Expr, Bound]]:
        """The expressions of a comprehension, each with what it sees."""
        for clause in e.clauses:
            yield clause.iterable, bound
            bound = {**bound, **{t.name: self.local(e, t.name, home) for t in clause.targets}}
            for condition in clause.conditions:
                yield condition, bound
        yield e.element, bound

    def targets_of(self, e: tree.Comprehension, home: str) -> Iterator[Occurrence]:
        for clause in e.clauses:
            for t in clause.targets:
                yield Occurrence(self.local(e, t.name, home), t.span, t, sets=True)

    def local(self, e: tree.Comprehension, name: str, home: str) -> Symbol:
        return Symbol("variable", name, self.source.name, f"{home}:{e.span.start}")

    def names_model(self, call: tree.Call, k: tree.Keyword) -> bool:
        return k.name == "model" and call.function.name in MODEL_KEYWORD_FUNCTIONS

    def call(self, e: tree.Call) -> Iterator[Occurrence]:
        """The called function, and the names of its arguments."""
        world, name = self.world, e.function.name
        symbol = self.function_symbol(name)
        if symbol is not None:
            yield Occurrence(symbol, e.function.span, e.function)
        definition = world.functions.get(name)
        extern = world.externs.get(name)
        declared = definition or (extern.definition if extern is not None else None)
        for k in e.keywords:
            if declared is not None:
                yield from self.parameter(k, declared)
            elif self.names_model(e, k) and isinstance(k.value, tree.Name):
                yield from self.model_name(k.value.name, k.value.span)

    def function_symbol(self, name: str) -> Symbol | None:
        """What a called name stands for; the file's own functions go first."""
        world = self.world
        if name in world.functions:
            return Symbol("function", name, world.functions[name].span.source.name)
        if name in world.externs:
            return Symbol("extern", name, world.externs[name].definition.span.source.name)
        if name in world.programs:
            return Symbol("program", name, world.programs[name].span.source.name)
        if name in OPERATIONS or name in TABLE:
            return Symbol("builtin", name)
        return Symbol("figure", name) if name in MEANS or name in QUANTILES else None

    # ------------------------------------------------------- lines not read

    def guessed(self, span: Span, bound: Bound) -> Iterator[Occurrence]:
        """What the names in a line that could not be read stand for, by what is behind them."""
        tokens = Lexer(self.source, span.start, span.end, inline=True).tokens()
        for i, t in enumerate(tokens):
            before, after = _kind(tokens, i - 1), _kind(tokens, i + 1)
            if t.type != "NAME":
                continue
            name, place = str(t), Span(self.source, t.start_pos or 0, t.end_pos or 0)
            symbol = bound.get(name)
            if before == "DOT":
                symbol = Symbol("attribute", name) if name in ATTRIBUTES else None
            elif after == "LPAR":
                symbol = self.function_symbol(name)
            if symbol is not None:
                yield Occurrence(symbol, place, sets=i == 0, loose=True)


def _kind(tokens: list[Token], i: int) -> str:
    return tokens[i].type if 0 <= i < len(tokens) else ""


def _figures(*names: str) -> Bound:
    """What queries and tests know besides functions."""
    return {name: Symbol("figure", name) for name in names}


def _declared_name(d: tree.Decl) -> Span | None:
    """Where the name of a declaration stands, behind its words."""
    match = _DECLARED.match(d.span.source.text, d.span.start, d.span.end)
    return Span(d.span.source, match.start(1), match.end(1)) if match else None


def _first_word(span: Span) -> Span:
    match = _WORD.match(span.source.text, span.start, span.end)
    return Span(span.source, span.start, match.end() if match else span.end)


def _last_word(span: Span) -> Span:
    start = span.end
    while start > span.start and _WORD.match(span.source.text[start - 1]):
        start -= 1
    return Span(span.source, start, span.end)
