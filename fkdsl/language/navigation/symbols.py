"""The names of a program and of the files that it imports: what each stands for, and where.

>>> x = Symbol("variable", "x", "a.fk", "main")
>>> source = Source("a.fk", "x = 1\\ny = x\\n")
>>> places = (Span(source, 0, 1), Span(source, 10, 11))
>>> index = Index([Occurrence(x, places[0], sets=True), Occurrence(x, places[1])])
>>> index.at(source, 10).symbol == x, index.definition(x).span.start
(True, 0)
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span

Kind = Literal[
    "variable", "function", "program", "extern", "model", "index", "query", "builtin", "method",
    "option", "attribute", "figure",
]  # fmt: skip
"""What a name is the name of. variable: a parameter too. builtin: a function of the library, a
distribution or an operation on contexts. figure: what only tests and queries know, such as Z."""
DECLARED = ("variable", "function", "program", "extern", "model", "index", "query")
"""The kinds that a file declares; the others belong to the language."""


@dataclass(frozen=True)
class Symbol:
    """What a name stands for. file: the name of the source that declares it, "" for what belongs
    to the language. home: of a variable, its function ("" in queries and tests), and behind a colon
    where the comprehension begins that binds it; of an option, its method."""

    kind: Kind
    name: str
    file: str = ""
    home: str = ""

    @property
    def function(self) -> str:
        """Of a variable, the function that it belongs to."""
        return self.home.partition(":")[0]


@dataclass(frozen=True)
class Occurrence:
    """A place where a symbol is named. node: the tree's node, if it is one. sets: whether a value
    is given to it here. defines: whether this is where it is declared. loose: whether it stands in
    a line that could not be read, so that it is a guess."""

    symbol: Symbol
    span: Span
    node: Any = None
    sets: bool = False
    defines: bool = False
    loose: bool = False


class Index:
    """The occurrences in some files, by place and by symbol."""

    def __init__(self, occurrences: Iterable[Occurrence]) -> None:
        by_source: dict[int, dict[tuple[int, int], Occurrence]] = defaultdict(dict)
        self._by_symbol: dict[Symbol, list[Occurrence]] = defaultdict(list)
        for o in occurrences:
            place = (o.span.start, o.span.end)
            if place not in by_source[id(o.span.source)]:
                by_source[id(o.span.source)][place] = o
                self._by_symbol[o.symbol].append(o)
        self._sources = {
            key: sorted(found.values(), key=lambda o: o.span.start)
            for key, found in by_source.items()
        }

    def of(self, symbol: Symbol) -> Sequence[Occurrence]:
        """Every place that names a symbol, in the order of the files and of their texts."""
        return self._by_symbol.get(symbol, ())

    def inside(self, source: Source) -> Sequence[Occurrence]:
        """The occurrences in one file, in order."""
        return self._sources.get(id(source), ())

    def symbols(self) -> Iterable[Symbol]:
        return self._by_symbol.keys()

    def at(self, source: Source, offset: int) -> Occurrence | None:
        """The occurrence that covers an offset, or ends at it."""
        found = self.inside(source)
        i = bisect_right(found, offset, key=lambda o: o.span.start) - 1
        for o in found[max(i - 1, 0) : i + 1][::-1]:
            if o.span.start <= offset <= o.span.end:
                return o
        return None

    def definition(self, symbol: Symbol) -> Occurrence | None:
        """Where a symbol is declared, or first set; None for what belongs to the language."""
        found = self.of(symbol)
        declared = next((o for o in found if o.defines), None)
        return declared or next((o for o in found if o.sets and not o.loose), None)
