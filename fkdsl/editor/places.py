"""Where what stands at a place is declared, and everywhere that it is named: across imported files,
and in the programs that import this one."""

from __future__ import annotations

from collections.abc import Iterable

from fkdsl.base.files import real_path
from fkdsl.base.folders import Folder
from fkdsl.base.spans import Source, Span
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.cursor import cursor
from fkdsl.language.navigation.symbols import DECLARED, Occurrence
from fkdsl.language.syntax import tree

ENDS = (".fk", ".json", ".lark")


def definition(analysis: Analysis, offset: int) -> Span | None:
    """Where a symbol is declared or first set; of the name of a file, the file's beginning."""
    occurrence = analysis.occurrence(offset)
    if occurrence is not None:
        found = analysis.index.definition(occurrence.symbol)
        return found.span if found is not None else None
    return _file(analysis, offset)


def _file(analysis: Analysis, offset: int) -> Span | None:
    """The beginning of the file that an import, a schema or a grammar names."""
    name = None
    for d in analysis.module.declarations if analysis.module is not None else ():
        if isinstance(d, tree.Import) and d.span.start <= offset <= d.span.end:
            name = d.path
    token = analysis.token_at(offset)
    is_text = token is not None and token.type == "STRING"
    if name is None and is_text and cursor(analysis, offset).calls:
        name = str(token).strip("rR").strip("'\"")
    if not name or not name.endswith(ENDS):
        return None
    try:
        path = Folder.main(analysis.folder).find(name)
        if not path.is_file():
            return None
    except (OSError, ValueError):
        return None
    return Span(Source(str(real_path(path)), ""), 0, 0)


def references(
    analysis: Analysis, offset: int, importers: Iterable[Analysis] = ()
) -> list[Occurrence]:
    """Every place that names what stands at one, in this program and those that import its file;
    its declaration too. None for names of the language, beyond this file."""
    occurrence = analysis.occurrence(offset)
    if occurrence is None:
        return []
    symbol = occurrence.symbol
    if symbol.kind not in DECLARED:
        return [o for o in analysis.index.of(symbol) if o.span.source is analysis.source]
    found: dict[tuple[str, int], Occurrence] = {}
    for other in (analysis, *importers):
        for o in other.index.of(symbol):
            found.setdefault((o.span.source.name, o.span.start), o)
    return list(found.values())


def highlights(analysis: Analysis, offset: int) -> list[Occurrence]:
    """The places of this text that name what stands at one."""
    occurrence = analysis.occurrence(offset)
    if occurrence is None:
        return []
    return [o for o in analysis.index.of(occurrence.symbol) if o.span.source is analysis.source]
