"""The checker's rules, as the Markdown files of spec/ state them.

Each ```fk block is one file. A comment `# error: [FK203]` or `# warning: [FK310]` beside a line
says that exactly this diagnostic begins on this line; a block has no others. ```fk name=words.fk
blocks are files that the block after them imports.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.rendering import render_all
from fkdsl.base.spans import Source
from fkdsl.language.codes import CODES
from fkdsl.language.compile import check_source

SPEC = Path(__file__).parent / "spec"
BLOCK = re.compile(r"^```fk(?: name=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"\b(error|warning): \[(FK\d+)\]")
Found = set[tuple[int, str, str]]


def blocks() -> list[tuple[str, str, dict[str, str]]]:
    """(title, text, files beside it) of every block to check."""
    found = []
    for path in sorted(SPEC.glob("*.md")):
        text = path.read_text("utf-8")
        beside: dict[str, str] = {}
        for block in BLOCK.finditer(text):
            if block[1]:
                beside[block[1]] = block[2]
                continue
            line = text.count("\n", 0, block.start()) + 1
            found.append((f"{path.stem}:{line}", block[2], beside))
            beside = {}
    return found


def diagnostics(text: str, folder: Path) -> tuple[Diagnostic, ...]:
    try:
        return check_source(Source("spec.fk", text), folder).warnings
    except ProgramError as error:
        return error.diagnostics


BLOCKS = blocks()


@pytest.mark.parametrize(("title", "text", "beside"), BLOCKS, ids=[b[0] for b in BLOCKS])
def test_a_block_has_exactly_the_diagnostics_beside_its_lines(
    title: str, text: str, beside: dict[str, str], tmp_path: Path
) -> None:
    for name, content in beside.items():
        (tmp_path / name).write_text(content, "utf-8")
    expected: Found = {
        (number, kind, code)
        for number, line in enumerate(text.split("\n"), 1)
        for kind, code in EXPECTED.findall(line.partition("#")[2])
    }
    given = diagnostics(text, tmp_path)
    # Warnings are reported only for a program without errors.
    found: Found = {
        (d.span.line, d.severity, d.code) for d in given if d.span.source.name == "spec.fk"
    }
    assert found == expected, render_all(given)


def test_every_code_of_the_checker_is_in_the_specification() -> None:
    said = {code for _, text, _ in BLOCKS for _, code in EXPECTED.findall(text)}
    ours = {code for code in CODES if code[:3] in ("FK2", "FK3")}
    assert ours - said == set()
