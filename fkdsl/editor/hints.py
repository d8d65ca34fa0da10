"""What an editor shows between the words: the types of variables where they are first set, and at
each draw what guides it."""

from __future__ import annotations

from typing import Literal

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.hover import draw_lines
from fkdsl.ir.guides import guides
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import statements, targets
from fkdsl.values.types import ANY

SHORT = {
    "automaton, so far": "automaton",
    "automaton, later": "automaton",
    "tried, expensive": "tried",
    "weaker": "automaton",
    "closed": "automaton",
    "in part": "automaton",
    "tested": "tried",
    "early": "early",
    "words": "surrogate",
}
"""How a hint calls a means of looking ahead, in a word."""


@dataclass(frozen=True)
class Hint:
    """A text at an offset, with what it stands for, in Markdown."""

    offset: int
    text: str
    kind: Literal["type", "draw"]
    doc: str = ""


def hints(analysis: Analysis, start: int, end: int) -> list[Hint]:
    """The hints from one offset to another."""
    found = [*_types(analysis), *_draws(analysis)]
    return sorted((h for h in found if start <= h.offset <= end), key=lambda h: h.offset)


def _types(analysis: Analysis) -> list[Hint]:
    """The type of each variable where it is first set, but where the line says it."""
    world, module = analysis.world, analysis.module
    if world is None or module is None:
        return []
    found = []
    for d in module.declarations:
        if not isinstance(d, tree.FunctionDef):
            continue
        scope = world.scopes.get(d.name)
        seen = {p.name for p in d.params} | {"_"}
        for s in statements(d.body):
            for name in targets(s):
                if name.name in seen or name.span == s.span:
                    continue
                seen.add(name.name)
                variable = scope.variables.get(name.name) if scope is not None else None
                if variable is not None and variable.type != ANY and not _is_said(s):
                    found.append(Hint(name.span.end, f": {variable.type}", "type"))
    return found


def _is_said(s: tree.Stmt) -> bool:
    match s:
        case tree.Assign(annotation=annotation, value=value):
            return annotation is not None or isinstance(value, tree.Literal | tree.FString)
    return False


def _draws(analysis: Analysis) -> list[Hint]:
    found = []
    for span, draws in analysis.compiled.draws.items():
        if span.source is not analysis.source:
            continue
        kinds = [SHORT.get(g.kind, g.kind) for draw in draws for g in guides(draw)]
        if kinds:
            doc = "\n\n".join("\n".join(draw_lines(d)) for d in dict.fromkeys(draws))
            text = ", ".join(dict.fromkeys(kinds))
            found.append(Hint(span.end, text, "draw", doc))
    return found
