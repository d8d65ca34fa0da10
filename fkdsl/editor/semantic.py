"""What each name of a text is, for editors that colour by it: a function, a model, a parameter, a
variable, and of a variable whether it was drawn.

Colours by words alone (grammar.py) cannot know this. A variable that `~` sets anywhere is drawn
wherever it stands: its value is random.
"""

from __future__ import annotations

from collections.abc import Iterator

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.editor.analysis import Analysis
from fkdsl.language.navigation.occurrences import parameter_name
from fkdsl.language.navigation.symbols import Occurrence, Symbol
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import statements, targets

TYPES = {
    "function": "function",
    "program": "function",
    "extern": "function",
    "builtin": "function",
    "method": "function",
    "option": "parameter",
    "model": "class",
    "query": "property",
    "attribute": "property",
    "figure": "property",
}
"""The protocol's types of the kinds of symbols; a variable is a parameter or a variable."""
TOKEN_TYPES = ("function", "class", "parameter", "variable", "property")
OF_THE_LANGUAGE = ("builtin", "method", "option", "attribute", "figure")
MODIFIERS = ("declaration", "modification", "readonly", "defaultLibrary", "drawn")
"""declaration: where a file declares it. modification: where a value is given to it. readonly: a
variable that one line alone sets, without drawing. defaultLibrary: it belongs to the language.
drawn: a variable that `~` sets."""


@dataclass(frozen=True)
class Name:
    """A name of a text. type: of TOKEN_TYPES; modifiers: of MODIFIERS."""

    span: Span
    type: str
    modifiers: tuple[str, ...] = ()


def names(analysis: Analysis, start: int = 0, end: int | None = None) -> list[Name]:
    """The names of a text that begin within some offsets, in order."""
    last = len(analysis.text) if end is None else end
    variables = _Variables(analysis)
    inside = analysis.index.inside(analysis.source)
    return [_name(o, variables) for o in inside if start <= o.span.start < last]


def _name(o: Occurrence, variables: _Variables) -> Name:
    kind = o.symbol.kind
    declares = ("declaration",) if o.defines else ("modification",) if o.sets else ()
    if kind == "variable":
        return Name(o.span, *variables.described(o.symbol, declares))
    library = ("defaultLibrary",) if kind in OF_THE_LANGUAGE else ()
    return Name(o.span, TYPES[kind], declares + library)


class _Variables:
    """Which variables of a text are parameters, which are drawn, and which one line alone sets."""

    def __init__(self, analysis: Analysis) -> None:
        self.index = analysis.index
        self.parameters: set[Symbol] = set()
        self.drawn: set[Symbol] = set()
        self.loops: set[Symbol] = set()
        files = analysis.survey.files if analysis.survey is not None else ()
        for d in (d for file in files for d in file.module.declarations):
            if isinstance(d, tree.FunctionDef | tree.ExternDef):
                self.parameters.update(self._at(parameter_name(p) for p in d.params))
            if isinstance(d, tree.FunctionDef):
                for s in statements(d.body):
                    places = self._at(name.span for name in targets(s))
                    self.drawn.update(places if isinstance(s, tree.Draw) else ())
                    self.loops.update(places if isinstance(s, tree.For) else ())

    def _at(self, spans: Iterator[Span]) -> list[Symbol]:
        found = [self.index.at(span.source, span.start) for span in spans]
        return [o.symbol for o in found if o is not None]

    def described(self, symbol: Symbol, declares: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """The type of a variable, and its modifiers."""
        kind = "parameter" if symbol in self.parameters else "variable"
        if symbol in self.drawn:
            return kind, (*declares, "drawn")
        once = sum(o.sets for o in self.index.of(symbol)) == 1
        return kind, declares + ("readonly",) * (once and symbol not in self.loops)
