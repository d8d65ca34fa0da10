"""The static checker: a syntax tree to a checked program, or every mistake in it at once.

    imports -> names -> parameters -> bodies (types, then flow) -> infer, queries, tests
            -> constant constraints

Variables and functions are different namespaces. A variable keeps the type that it is first given;
a def without `->` gets the type of its returns; functions are checked callees first. Nothing is
loaded but imported files, and the schemas and grammars that constants name.

    checked = check(parse_around_mistakes(Source("a.fk", text)))
    checked.programs["main"].returns
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.folders import Folder
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span
from fkdsl.language.check.constraints import check_constraints
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.declarations import (
    check_infer,
    check_models,
    check_parameters,
    check_views,
)
from fkdsl.language.check.flow import Flow
from fkdsl.language.check.imports import File, Imports
from fkdsl.language.check.indexes import IndexInfo, check_indexes, declare_indexes
from fkdsl.language.check.queries import check_queries
from fkdsl.language.check.report import Report, a
from fkdsl.language.check.scopes import (
    ExternInfo,
    FunctionInfo,
    World,
    is_stochastic,
    touches_context,
)
from fkdsl.language.check.spaces import Spaces
from fkdsl.language.check.statements import Body
from fkdsl.language.check.tests import check_tests
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse_around_mistakes, read_source
from fkdsl.language.syntax.tree_walk import deepest, walk
from fkdsl.values import distributions as _distributions
from fkdsl.values import library as _library
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import ANY, CONTEXT, IMAGE, INDEX, MARK, NONE, Dist, List, Type

__all__ = ["Checked", "ExternInfo", "FunctionInfo", "Survey", "check", "survey"]

# Importing the two fills TABLE, which every check of a call reads.
BUILT_INS = (_library, _distributions)
MAX_FRAMES = 740
"""Python frames that a pass over one function may need: its stack of 1000 also holds whoever called
the checker."""

SOMETHING = (tree.FunctionDef, tree.ExternDef, tree.ModelDecl, tree.Test)
"""Declarations of which a file needs one: one that only imports, infers or asks does nothing."""

D = TypeVar("D", bound=tree.Decl)


@dataclass(frozen=True)
class Checked:
    """A program without mistakes.

    functions, externs: those of imported files too. programs: those of this file. models: by name,
    None is the default, which is the only one if just one is declared; named ones of imported files
    too, unless this file has that name. indexes: likewise. infer: the method and the options that
    the file gives. types: of each expression, by id(node). folders: of each file, which the files
    that it names are relative to.
    """

    module: tree.Module
    imported: tuple[tree.Module, ...]
    functions: Mapping[str, FunctionInfo]
    programs: Mapping[str, FunctionInfo]
    externs: Mapping[str, ExternInfo]
    models: Mapping[str | None, tree.ModelDecl]
    indexes: Mapping[str, IndexInfo]
    infer: tuple[str, dict[str, Any]] | None
    queries: tuple[tree.Query, ...]
    tests: tuple[tree.Test, ...]
    warnings: tuple[Diagnostic, ...]
    types: Mapping[int, Type]
    folders: Mapping[Source, Folder]


@dataclass(frozen=True)
class Survey:
    """What is known of a file and of those that it imports, with mistakes or without.

    files: the file itself, then the imported ones. world: what they declare, each function's
    variables, and the types of the expressions that could be checked. diagnostics: every mistake
    and warning, in the order of their places. checked: None where there is a mistake.
    """

    files: tuple[File, ...]
    world: World
    diagnostics: tuple[Diagnostic, ...]
    checked: Checked | None


def check(
    module: tree.Module,
    folder: Path | None = None,
    load: Callable[[Path], tree.Module] | None = None,
    *,
    allow_outside: bool = False,
) -> Checked:
    """The checked program. Raises ProgramError with every mistake, those of imported files too.
    allow_outside: whether it may name files that are not below `folder`."""
    found = survey(module, folder, load, allow_outside=allow_outside)
    if found.checked is None:
        raise ProgramError([d for d in found.diagnostics if d.severity == "error"])
    return found.checked


def survey(
    module: tree.Module,
    folder: Path | None = None,
    load: Callable[[Path], tree.Module] | None = None,
    *,
    allow_outside: bool = False,
) -> Survey:
    """`check`, without an end at mistakes: what an editor asks."""
    main = Folder.main(folder, allow_outside=allow_outside)
    return _Checker(module, main, load or _load).survey()


def _load(path: Path) -> tree.Module:
    return parse_around_mistakes(read_source(path))


class _Checker:
    def __init__(
        self, module: tree.Module, main: Folder, load: Callable[[Path], tree.Module]
    ) -> None:
        self.module, self.main, self.load = module, main, load
        self.report = Report()
        self.world = World(self.report)
        self.files: list[File] = []

    def survey(self) -> Survey:
        checked = None
        with suppress(ProgramError):  # of a tree too deep to be walked, and reported
            checked = self.check()
        diagnostics = _in_order([*self.report.errors, *self.report.warnings])
        return Survey(tuple(self.files), self.world, diagnostics, checked)

    def check(self) -> Checked | None:
        """The checked program, None where there is a mistake."""
        world = self.world
        files = self.files = Imports(self.report, self.load).gather(self.module, self.main)
        for file in files:
            self.report.extend(file.module.mistakes)
            world.unreadable |= file.module.unreadable
        self.verify_depth(files)
        for file in files:
            self.declare(file)
        check_views(self.report, world.models)
        definitions = {**world.functions, **world.programs}
        for d in definitions.values():
            self.signature(d)
        calls = {name: called_names(d) for name, d in definitions.items()}
        world.stochastic = stochastic_names(definitions, calls)
        for name in callees_first(calls):
            self.body(definitions[name])
            Spaces(world).check(definitions[name].body)
        asks_model = model_askers(calls, world.params)
        values = [world.returns[name] for name in world.programs]
        value = values[0] if len(values) == 1 else ANY
        queries, tests = self.own(tree.Query), self.own(tree.Test)
        if not self.module.unreadable or world.programs:
            check_queries(world, queries, value, asks_model | world.stochastic)
            check_tests(world, tests, asks_model | world.stochastic)
        infer = check_infer(self.report, self.own(tree.Infer))
        check_constraints(self.report, files, self.main)
        indexes = check_indexes(self.report, files, world.indexes, self.main)
        declared = any(isinstance(d, SOMETHING) for d in self.module.declarations)
        if not (declared or self.module.mistakes):
            source = self.module.source
            self.report.warning(
                "FK314", "there is no program, function, model or test in this file",
                Span(source, 0, 0),
                "nothing to run",
                "write `program main() -> str:` with a body that ends in `return ...`",
            )  # fmt: skip
        if self.report.errors:
            return None
        return Checked(
            self.module,
            tuple(f.module for f in files[1:]),
            {name: self.info(d, asks_model) for name, d in world.functions.items()},
            {name: self.info(d, asks_model) for name, d in world.programs.items()},
            world.externs,
            world.models,
            indexes,
            infer,
            queries,
            tests,
            _in_order(self.report.warnings),
            world.types,
            {f.module.source: self.main.beside(f.folder or Path()) for f in files},
        )

    def verify_depth(self, files: Iterable[File]) -> None:
        """Raises ProgramError for a tree too deep to be walked by recursion, as everything after
        this does."""
        for file in files:
            for d in file.module.declarations:
                deep = deepest(d, MAX_FRAMES)
                if deep is not None:
                    self.report.error(
                        "FK109", "this is nested too deep", deep.span, "too many levels",
                        "name the inner parts and use the names",
                    )  # fmt: skip
                    raise ProgramError(_in_order(self.report.errors))

    def own(self, kind: type[D]) -> tuple[D, ...]:
        return tuple(d for d in self.module.declarations if isinstance(d, kind))

    def info(self, d: tree.FunctionDef, asks_model: set[str]) -> FunctionInfo:
        world, name = self.world, d.name
        return FunctionInfo(
            d, world.params[name], world.returns[name], name in world.stochastic, name in asks_model
        )

    # -------------------------------------------------------------------- names

    def declare(self, file: File) -> None:
        """Enters what a file declares; of an imported one, its functions, indexes and named models
        only."""
        world = self.world
        declared = [d for d in file.module.declarations if isinstance(d, tree.ModelDecl)]
        for name, model in check_models(self.report, declared).items():
            if file.via is None or name is not None:
                world.models.setdefault(name, model)
        declare_indexes(self.report, file, world.indexes)
        for d in file.module.declarations:
            match d:
                case tree.FunctionDef(is_program=True):
                    if file.via is None and self.is_free(d, file):
                        world.programs[d.name] = d
                case tree.FunctionDef():
                    if self.is_free(d, file):
                        world.functions[d.name] = d
                case tree.ExternDef():
                    if self.is_free(d, file):
                        world.externs[d.name] = ExternInfo(
                            d, check_parameters(world, d), d.returns, file.folder
                        )

    def is_free(self, d: tree.FunctionDef | tree.ExternDef, file: File) -> bool:
        """Whether a name may be declared; reports it if not."""
        world, name = self.world, d.name
        span = d.name_span if isinstance(d, tree.FunctionDef) else d.span
        if name in OPERATIONS or name in TABLE:
            self.report.error(
                "FK202",
                f"`{name}` is a built-in function",
                span,
                "already defined",
                f"call it `my_{name}`, say",
            )
            return False
        extern = world.externs.get(name)
        known = (
            world.functions.get(name)
            or world.programs.get(name)
            or (extern.definition if extern else None)
        )
        if known is None:
            return True
        first = f"first in line {known.span.line} of {Path(known.span.source.name).name}"
        if known.span.source is span.source:
            self.report.error(
                "FK201",
                f"`{name}` is declared twice",
                span,
                "again here",
                "rename one of them",
                notes=(first,),
            )
        elif file.via is not None:
            self.report.error(
                "FK201", f"`{name}` of {Path(span.source.name).name} is declared already",
                file.via.span,
                "brings in the second", "rename one of them", notes=(first,),
            )  # fmt: skip
        return False

    # --------------------------------------------------------------- definitions

    def signature(self, d: tree.FunctionDef) -> None:
        world = self.world
        world.params[d.name] = check_parameters(world, d)
        if d.returns is not None:
            world.returns[d.name] = d.returns

    def body(self, d: tree.FunctionDef) -> None:
        """Checks the types and the flow of one definition, and learns its return type."""
        world = self.world
        returns = Body(world, d).check()
        world.returns[d.name] = returns
        if not any(isinstance(node, tree.Unreadable) for node in walk(*d.body)):
            Flow(self.report, d).check(gives_value=returns != NONE)
        if d.is_program and not is_plain(returns):
            help = "draw from it: `x ~ ...`, `return x`"
            if returns in (CONTEXT, MARK):
                help = "return its text: `return lm.text`"
            elif returns == IMAGE:
                help = "return a text that says which: the path that it was read from"
            self.report.error(
                "FK306",
                f"program `{d.name}` returns {a(returns)}",
                d.name_span,
                "not a plain value",
                help,
            )


def is_plain(t: Type) -> bool:
    """Whether values of the type mean something outside their particle."""
    while isinstance(t, List):
        t = t.item
    return t not in (CONTEXT, MARK, INDEX, IMAGE) and not isinstance(t, Dist)


def called_names(d: tree.FunctionDef) -> list[str]:
    """The names that a definition calls, in order."""
    return [node.function.name for node in walk(*d.body) if isinstance(node, tree.Call)]


Calls = Mapping[str, Sequence[str]]
"""The names that each definition calls."""


def callees_first(calls: Calls) -> list[str]:
    """The names, each after those that it calls, except round a circle of calls."""
    order: list[str] = []
    begun: set[str] = set()
    for root in calls:
        stack = [(root, False)]
        while stack:
            name, visited = stack.pop()
            if visited:
                order.append(name)
            elif name not in begun:
                begun.add(name)
                stack.append((name, True))
                stack.extend((c, False) for c in reversed(calls[name]) if c in calls)
    return order


def stochastic_names(definitions: Mapping[str, tree.FunctionDef], calls: Calls) -> set[str]:
    """The definitions that draw or weigh. One that calls such a function without `~` counts too:
    that call is a mistake, and taking its function as pure would make mistakes of all calls of
    it."""
    draws = {name for name, operation in OPERATIONS.items() if operation.kind == "draw"}
    direct = {
        n for n, d in definitions.items() if is_stochastic(d) or not draws.isdisjoint(calls[n])
    }
    return _with_callers(calls, direct)


def model_askers(calls: Calls, params: Mapping[str, tuple[Type, ...]]) -> set[str]:
    """The definitions that use a context, or call one that does."""
    direct = {
        n
        for n, called in calls.items()
        if not OPERATIONS.keys().isdisjoint(called) or touches_context(params[n])
    }
    return _with_callers(calls, direct)


def _with_callers(calls: Calls, names: set[str]) -> set[str]:
    while more := {n for n, called in calls.items() if not names.isdisjoint(called)} - names:
        names = names | more
    return names


def _in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(sorted(diagnostics, key=lambda d: (d.span.source.name, d.span.start, d.code)))
