"""A text's declarations, and what can be folded."""

from __future__ import annotations

from typing import Literal

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.signatures import program_signature, signature
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import statements, targets


@dataclass(frozen=True)
class Entry:
    """A declaration. span: all of it; name_span: its name, or its first word."""

    name: str
    kind: Literal["program", "function", "extern", "model", "index", "query", "test", "infer",
                  "import", "variable"]  # fmt: skip
    detail: str
    span: Span
    name_span: Span
    children: tuple[Entry, ...] = ()


def outline(analysis: Analysis) -> list[Entry]:
    """The declarations of a text, in order; within functions, the variables that they set."""
    module = analysis.module
    if module is None:
        return []
    places = {id(o.node): o.span for o in analysis.index.inside(analysis.source) if o.defines}
    return [_entry(analysis, d, places.get(id(d))) for d in module.declarations]


def _entry(analysis: Analysis, d: tree.Decl, name: Span | None) -> Entry:
    span = d.span
    place = name if name is not None else Span(span.source, span.start, span.start)
    match d:
        case tree.FunctionDef():
            kind: Literal["program", "function"] = "program" if d.is_program else "function"
            world = analysis.world
            found = None
            if world is not None:
                known = program_signature if d.is_program else signature
                found = known(world, d.name)
            detail = found.label.removeprefix("program ").removeprefix(d.name) if found else ""
            return Entry(d.name, kind, detail, span, place, _variables(d))
        case tree.ExternDef():
            return Entry(d.name, "extern", d.path, span, place)
        case tree.ModelDecl():
            detail = d.reference or ("table" if d.table is not None else "")
            return Entry(d.name or "model", "model", detail, span, place)
        case tree.IndexDecl():
            return Entry(d.name, "index", d.pattern, span, place)
        case tree.Query():
            return Entry(d.name, "query", d.value.span.text[:60], span, place)
        case tree.Test():
            return Entry(d.title or "test", "test", "", span, place)
        case tree.Infer():
            return Entry(d.method, "infer", "infer", span, place)
        case tree.Import():
            return Entry(d.path or "import", "import", "import", span, place)
    return Entry(type(d).__name__, "import", "", span, place)


def _variables(d: tree.FunctionDef) -> tuple[Entry, ...]:
    first: dict[str, Entry] = {}
    for s in statements(d.body):
        for name in targets(s):
            if name.name != "_" and name.span != s.span and name.name not in first:
                how = "~" if isinstance(s, tree.Draw) else ""
                first[name.name] = Entry(name.name, "variable", how, name.span, name.span)
    return tuple(first.values())


@dataclass(frozen=True)
class Fold:
    """Lines, from 0, that can be folded behind the first."""

    first: int
    last: int
    comment: bool = False


def folds(analysis: Analysis) -> list[Fold]:
    """Blocks, by their indentation; and comments of several lines."""
    lines = analysis.text.splitlines()
    found: list[Fold] = []
    open_blocks: list[tuple[int, int]] = []  # indentation, line
    last = -1  # the last line that is not empty
    comment = -1
    for i, line in enumerate([*lines, "\0"]):
        text = line.strip()
        if not text:
            continue
        if comment >= 0 and not text.startswith("#"):
            if last > comment:
                found.append(Fold(comment, last, comment=True))
            comment = -1
        if text.startswith("#"):
            comment = i if comment < 0 else comment
            last = i
            continue
        depth = len(line) - len(line.lstrip())
        while open_blocks and open_blocks[-1][0] >= depth:
            _, begin = open_blocks.pop()
            if last > begin:
                found.append(Fold(begin, _without_comments(lines, begin, last)))
        open_blocks.append((depth, i))
        last = i
    return sorted((f for f in found if f.last > f.first), key=lambda f: (f.first, f.last))


def _without_comments(lines: list[str], begin: int, last: int) -> int:
    """The last line of a block: comments at the left margin behind it belong to what follows."""
    while last > begin and lines[last].startswith("#"):
        last -= 1
    while last > begin and not lines[last].strip():
        last -= 1
    return last
