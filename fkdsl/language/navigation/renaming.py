"""Another name for what a program declares: what is to be written where, or why that cannot be.

A name is refused that is taken where it would stand: a reserved word, another variable of the same
function, another function, program or model that any of the files knows. The language's
own names stay, and so do those of Python's functions, which are looked up in Python files. Whether
a comprehension's variable hides another, and where the words of declarations (`model`, `test`, ...)
are names, shows when the new text is read: whoever renames does that (fkdsl.editor.renames).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from fkdsl.base.diagnostics import Edit
from fkdsl.base.errors import CallError
from fkdsl.language.check.checker import Survey
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.queries import MEANS, QUANTILES
from fkdsl.language.check.tests import FIGURES, SUPPORT
from fkdsl.language.navigation.symbols import DECLARED, Index, Symbol
from fkdsl.language.syntax.lexer import KEYWORDS
from fkdsl.values.signatures import TABLE

View = tuple[Survey, Index]
"""A program, and the occurrences in all of its files."""


def verify_renameable(symbol: Symbol, views: Iterable[View]) -> None:
    """Raises CallError for a symbol that keeps its name."""
    name = symbol.name
    if symbol.kind not in DECLARED:
        raise CallError(f"`{name}` belongs to the language", "names that the file declares change")
    if symbol.kind == "extern":
        raise CallError(f"`{name}` is the name of a function of Python", "rename it there too")
    for survey, index in views:
        if not index.of(symbol):
            continue
        if name in survey.world.unreadable:
            raise CallError(
                f"a line that cannot be read has the name `{name}`", "correct that line first"
            )
        if any(d.code == "FK109" for d in survey.diagnostics):
            raise CallError("a file that is nested too deep cannot be renamed in", "simplify it")


def renamed(symbol: Symbol, new: str, views: Iterable[View]) -> tuple[Edit, ...]:
    """The edits that give a symbol a new name, in every file of the programs. Raises CallError for
    a symbol that keeps its name, and for a name that it cannot have."""
    views = list(views)
    verify_renameable(symbol, views)
    _verify_name(new)
    edits: dict[tuple[str, int], Edit] = {}
    for survey, index in views:
        if not index.of(symbol):
            continue
        _verify_free(symbol, new, survey, index)
        for o in index.of(symbol):
            edits[o.span.source.name, o.span.start] = Edit(o.span, new)
    return tuple(edits.values())


def _verify_name(new: str) -> None:
    if not new.isidentifier() or unicodedata.normalize("NFKC", new) != new:
        raise CallError(f"`{new}` is no name", "names are letters, digits and `_`")
    if new in KEYWORDS or new == "_":
        raise CallError(f"`{new}` is a reserved word", "choose another name")


def _verify_free(symbol: Symbol, new: str, survey: Survey, index: Index) -> None:
    """Raises CallError if the name means something already where the symbol is known."""
    world = survey.world
    if new in world.unreadable:
        raise CallError(
            f"a line that cannot be read has the name `{new}`", "correct that line first"
        )
    if symbol.kind == "variable":
        for other in index.symbols():
            if (
                (other.kind, other.name, other.file) == ("variable", new, symbol.file)
                and other.home == symbol.home
                and other != symbol
            ):
                raise CallError(
                    f"`{symbol.function}` has a variable `{new}` already", "choose another name"
                )
        if new in (*FIGURES, SUPPORT, "value") and world.scopes.get(symbol.function) is None:
            raise CallError(f"`{new}` has a meaning in tests and queries", "choose another name")
        return
    taken: Iterable[str | None]
    if symbol.kind == "model":
        taken = world.models
    elif symbol.kind == "index":
        taken = world.indexes
    elif symbol.kind == "query":
        taken = [s.name for s in index.symbols() if s.kind == "query"]
    else:
        taken = [*world.functions, *world.programs, *world.externs]
        if new in OPERATIONS or new in TABLE or new in MEANS or new in QUANTILES:
            raise CallError(f"`{new}` is a function of the language", "choose another name")
    if new in taken and new != symbol.name:
        raise CallError(f"there is a {_noun(symbol)} `{new}` already", "choose another name")


def _noun(symbol: Symbol) -> str:
    return symbol.kind if symbol.kind in ("model", "index", "query") else "function or program"
