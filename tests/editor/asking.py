"""Questions about texts that are in no editor."""

from pathlib import Path

from fkdsl.base.errors import CallError
from fkdsl.editor import places
from fkdsl.editor.actions import actions
from fkdsl.editor.completion import completion
from fkdsl.editor.formatting import formatted
from fkdsl.editor.hints import hints
from fkdsl.editor.hover import hover
from fkdsl.editor.outline import folds, outline
from fkdsl.editor.renames import rename, renameable
from fkdsl.editor.signatures import signature_help
from fkdsl.editor.workspace import Workspace

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "programs").glob("*.fk"))
MARK = "|"


def analysed(text, name="a.fk", **others):
    """The analysis of a text that is open, and its workspace; others: further open texts."""
    workspace = Workspace()
    folder = "/nowhere/at/all"
    workspace.change(f"{folder}/{name}", text)
    for other, given in others.items():
        workspace.change(f"{folder}/{other}.fk", given)
    return workspace, workspace.analyse(f"{folder}/{name}")


def at_mark(text, **others):
    """The analysis of a text with one `|` taken out, and its offset."""
    offset = text.index(MARK)
    workspace, analysis = analysed(text[:offset] + text[offset + 1 :], **others)
    return workspace, analysis, offset


def labels(text, **others):
    """What is offered at the `|` of a text."""
    _, analysis, offset = at_mark(text, **others)
    return [item.label for item in completion(analysis, offset)]


def ask_all(workspace, analysis, offset):
    """Every question about a place; none may raise, but for a rename that is refused."""
    hover(analysis, offset)
    completion(analysis, offset)
    signature_help(analysis, offset)
    places.definition(analysis, offset)
    places.references(analysis, offset)
    places.highlights(analysis, offset)
    actions(analysis, offset, offset + 5)
    hints(analysis, offset, offset + 100)
    try:
        renameable(analysis, offset)
    except CallError:
        return


def ask_once(analysis):
    """Every question about a whole text."""
    outline(analysis)
    folds(analysis)
    formatted(analysis.text)
    hints(analysis, 0, len(analysis.text))
    actions(analysis, 0, len(analysis.text))


__all__ = ["PROGRAMS", "ROOT", "analysed", "ask_all", "ask_once", "at_mark", "labels", "rename"]
