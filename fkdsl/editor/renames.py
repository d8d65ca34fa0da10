"""Renaming what a program declares, in all of its files, or why that cannot be.

Law: the renamed program has the same names in the same places with the same meaning, and the same
mistakes. It is analysed again before the edits are given, so an edit that breaks the law is
refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from fkdsl.base.diagnostics import Edit, edited
from fkdsl.base.errors import CallError
from fkdsl.base.spans import Span
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.workspace import Workspace
from fkdsl.language.navigation.renaming import View, renamed, verify_renameable
from fkdsl.language.navigation.symbols import Symbol


def renameable(analysis: Analysis, offset: int) -> Span:
    """The name at a place, if it can be changed. Raises CallError for one that cannot."""
    occurrence = analysis.occurrence(offset)
    if occurrence is None:
        raise CallError("nothing here has a name to change", "put the cursor on a name")
    verify_renameable(occurrence.symbol, _views([analysis]))
    return occurrence.span


def rename(workspace: Workspace, path: str, offset: int, new: str) -> dict[str, list[Edit]]:
    """The edits of each file, by its path, that give what stands at a place a new name. Raises
    CallError where that would change what the program says."""
    analysis = workspace.analyse(path)
    renameable(analysis, offset)
    occurrence = analysis.occurrence(offset)
    assert occurrence is not None
    programs = [analysis]
    if not occurrence.symbol.home:
        programs += workspace.importers(occurrence.symbol.file)
        if occurrence.symbol.file != path:
            programs.append(workspace.analyse(occurrence.symbol.file))
    elif occurrence.symbol.file != path or _is_parameter(analysis, occurrence.symbol):
        programs += workspace.importers(occurrence.symbol.file)
    edits: dict[str, list[Edit]] = defaultdict(list)
    for edit in renamed(occurrence.symbol, new, _views(programs)):
        edits[edit.span.source.name].append(edit)
    texts = {name: edited(made[0].span.source.text, made) for name, made in edits.items()}
    for program in programs:
        _verify_same(workspace, program, texts, occurrence.symbol, new)
    return dict(edits)


def _is_parameter(analysis: Analysis, symbol: Symbol) -> bool:
    found = analysis.index.definition(symbol)
    return found is not None and found.defines


def _views(programs: Sequence[Analysis]) -> list[View]:
    return [(p.survey, p.index) for p in programs if p.survey is not None]


def _verify_same(
    workspace: Workspace, before: Analysis, texts: Mapping[str, str], symbol: Symbol, new: str
) -> None:
    """Raises CallError if a program says something else with the new texts."""
    after = workspace.analyse(before.source.name, texts)
    if _meaning(before, symbol, new) != _meaning(after, None, new) or Counter(
        d.code for d in before.diagnostics
    ) != Counter(d.code for d in after.diagnostics):
        raise CallError(f"`{new}` would mean something else here", "choose another name")


def _meaning(analysis: Analysis, symbol: Symbol | None, new: str) -> list[list[tuple[str, ...]]]:
    """What each name stands for, in order, file by file; of a symbol, by its new name."""
    meaning: list[list[tuple[str, ...]]] = []
    for file in analysis.survey.files if analysis.survey is not None else ():
        inside = analysis.index.inside(file.module.source)
        homes = {o.symbol.home for o in inside if ":" in o.symbol.home}
        ordered = sorted(homes, key=lambda home: int(home.rpartition(":")[2]))
        numbers = {home: str(i) for i, home in enumerate(ordered)}
        meaning.append(
            [
                (
                    o.symbol.kind,
                    new if o.symbol == symbol else o.symbol.name,
                    o.symbol.file,
                    _home(o.symbol, symbol, new),
                    numbers.get(o.symbol.home, ""),
                )
                for o in inside
            ]
        )
    return meaning


def _home(of: Symbol, symbol: Symbol | None, new: str) -> str:
    """The function of a variable, or the method of an option; of a renamed one, by its new name."""
    renames_home = (
        symbol is not None
        and symbol.kind in ("function", "program", "query")
        and of.kind == "variable"
        and (of.function, of.file) == (symbol.name, symbol.file)
    )
    return new if renames_home else of.function
