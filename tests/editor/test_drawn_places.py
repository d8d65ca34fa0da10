"""Every question at every kind of place, of whole programs and of programs cut anywhere; and
renaming, which is undone by renaming back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.diagnostics import edited
from fkdsl.base.errors import CallError
from fkdsl.editor.renames import rename
from fkdsl.editor.workspace import Workspace
from fkdsl.language.navigation.symbols import DECLARED
from fkdsl.testing.programs import program_texts
from tests.editor.asking import PROGRAMS, analysed, ask_all, ask_once

NEW = "quite_new"


def opened(path, text=None):
    """A workspace in which a program is open, where it lies, perhaps with another text."""
    workspace = Workspace()
    workspace.change(str(path), path.read_text("utf-8") if text is None else text)
    return workspace, workspace.analyse(str(path))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_every_question_has_an_answer_everywhere(path):
    workspace, analysis = opened(path)
    assert analysis.survey.checked is not None
    ask_once(analysis)
    for offset in range(random.Random(path.name).randrange(11), len(analysis.text) + 1, 11):
        ask_all(workspace, analysis, offset)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_a_program_that_is_cut_has_answers_too(path):
    rng = random.Random(path.name)
    text = path.read_text("utf-8")
    for _ in range(8):
        a, b = sorted(rng.randrange(len(text)) for _ in range(2))
        broken = rng.choice([text[:a], text[:a] + text[b:], text[:a] + "(" + text[a:]])
        workspace, analysis = opened(path, broken)
        ask_once(analysis)
        for offset in [a, a + 1, len(broken), *(rng.randrange(len(broken) + 1) for _ in range(8))]:
            ask_all(workspace, analysis, offset)


@given(st.text(st.sampled_from("abx\n\t :=~()[]{}\"'#.,\\f0é😀\r"), max_size=60), st.data())
def test_no_text_at_all_is_too_odd(text, data):
    workspace, analysis = analysed(text)
    ask_once(analysis)
    ask_all(workspace, analysis, data.draw(st.integers(0, len(text) + 1)))


def renamed_texts(workspace, path, offset, new):
    """The texts after a rename, by path, or None if it is refused."""
    try:
        edits = rename(workspace, path, offset, new)
    except CallError:
        return None
    return {name: edited(made[0].span.source.text, made) for name, made in edits.items()}


def rename_and_undo(workspace, analysis, most=4):
    """Renames some of the names that a text declares, and back again."""
    path, before = analysis.source.name, analysis.text
    places = {
        o.symbol: o.span.start
        for o in analysis.index.inside(analysis.source)
        if o.symbol.kind in DECLARED and o.symbol.kind != "extern"
    }
    some = random.Random(before).sample(
        sorted(places.items(), key=lambda p: p[1]), k=min(most, len(places))
    )
    for symbol, offset in some:
        texts = renamed_texts(workspace, path, offset, NEW)
        assert texts is not None, symbol
        assert texts[path] != before
        for name, text in texts.items():
            workspace.change(name, text)
        after = workspace.analyse(path)
        assert [d.code for d in after.diagnostics] == [d.code for d in analysis.diagnostics]
        assert after.survey.checked is not None
        where = next(o.span.start for o in after.index.inside(after.source) if o.symbol.name == NEW)
        back = renamed_texts(workspace, path, where, symbol.name)
        assert back[path] == before
        workspace.change(path, before)
    return len(places)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.name)
def test_a_renamed_program_checks_and_renaming_back_undoes_it(path):
    assert rename_and_undo(*opened(path)) > 0


@given(program_texts())
def test_drawn_programs_are_renamed_and_back(program):
    workspace, analysis = analysed(str(program))
    rename_and_undo(workspace, analysis, most=1)
