"""Every code has a page, and every page's examples do what it says: the bad one gives the code, the
good one runs."""

import re
from pathlib import Path

import pytest

import fkdsl
from fkdsl.base.errors import CallError, PopulationDied, ProgramError
from fkdsl.base.spans import Source
from fkdsl.language.codes import CODES
from fkdsl.language.compile import check_source
from fkdsl.language.syntax.parser import parse, read_source

PAGES = sorted(Path("docs/errors").glob("FK*.md"))
BLOCK = re.compile(r"^```fk (bad|good)( generated)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path):
    return [
        (kind, text)
        for kind, generated, text in BLOCK.findall(path.read_text("utf-8"))
        if not generated
    ]


def codes_of(text, folder):
    """The codes of the errors of a program: as text, checked, and, if it is sound so far, run."""
    try:
        checked = check_source(Source("page.fk", text), folder)
    except ProgramError as error:
        return {d.code for d in error.diagnostics}, set()
    warnings = {d.code for d in checked.warnings}
    if len(checked.programs) == 1:
        try:
            program = fkdsl.parse(text, folder=folder)
            warnings |= {d.code for d in program.warnings}
        except ProgramError as error:
            return {d.code for d in error.diagnostics}, warnings
    if (
        len(checked.programs) == 1
        and all(m.table for m in checked.models.values())
        and not checked.externs
    ):
        try:
            program.run("importance", particles=8)
        except ProgramError as error:
            return {d.code for d in error.diagnostics}, warnings
        except (PopulationDied, CallError):
            # No model is named, or a parameter has no value: the program itself is sound.
            pass
    return set(), warnings


def test_every_code_has_a_page_and_every_page_a_code():
    assert {p.stem for p in PAGES} == set(CODES)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_pages_examples_do_what_it_says(path, tmp_path):
    (tmp_path / "notes.md").write_text("High tide.\n")
    for name in ("words.fk", "critics.py"):
        (tmp_path / name).write_text(
            "" if name.endswith(".py") else "def shout(s: str) -> str:\n    return upper(s)\n"
        )
    code = path.stem
    text = path.read_text("utf-8")
    assert text.startswith(f"# {code}: {CODES[code]}\n")
    kinds = [kind for kind, _, _ in BLOCK.findall(text)]
    assert "bad" in kinds
    assert "good" in kinds
    for kind, program in blocks(path):
        errors, warnings = codes_of(program, tmp_path)
        if kind == "bad":
            assert errors == {code} or (not errors and code in warnings)
        else:
            assert not errors
            assert code not in warnings


def test_bytes_that_are_not_utf8_are_found(tmp_path):
    path = tmp_path / "a.fk"
    path.write_bytes(b"program p() -> int:\n    return 1 # caf\xe9\n")
    with pytest.raises(ProgramError) as error:
        read_source(path)
    (d,) = error.value.diagnostics
    assert (d.code, d.span.line, d.span.column) == ("FK107", 2, 19)


def test_a_line_of_a_million_characters_is_one_short_message():
    with pytest.raises(ProgramError) as error:
        parse(Source("a.fk", "program p() -> int:\n    return 1" + " + 1" * 250_000))
    assert [d.code for d in error.value.diagnostics] == ["FK108"]
    assert len(str(error.value)) < 600
