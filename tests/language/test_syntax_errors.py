"""Broken text gets a message, whatever the text: never another exception, never nothing."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.errors import CallError, ProgramError
from fkdsl.base.spans import Source
from fkdsl.language.compile import check_source
from fkdsl.language.syntax.parser import parse, read_source
from fkdsl.testing import program_texts

PROGRAMS = [p.read_text("utf-8") for p in sorted(Path("programs").glob("*.fk"))]
PIECES = [
    "(",
    ")",
    "[",
    "{",
    '"',
    "'",
    "\n",
    "    ",
    "\t",
    "~",
    "=",
    ":",
    "if",
    "else",
    " ",
    "\\",
    'f"{',
    "é",
    "\0",
    "9",
    ",",
]


def diagnose(text):
    """The program, or its diagnostics; anything else that is raised fails the test."""
    try:
        return check_source(Source("a.fk", text), Path("programs")), ()
    except ProgramError as error:
        return None, error.diagnostics


@settings(max_examples=300)
@given(
    text=st.sampled_from(PROGRAMS),
    edits=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3), st.sampled_from(PIECES)),
        min_size=1,
        max_size=3,
    ),
)
def test_any_mutation_of_a_program_is_a_program_or_a_rendered_error(text, edits):
    for at, cut, piece in edits:
        at %= len(text)
        text = text[:at] + piece + text[at + cut :]
    _, diagnostics = diagnose(text)
    for d in diagnostics:
        assert re.fullmatch(r"FK\d{3}", d.code)
        assert d.span.line >= 1
        assert d.message
        assert d.help
    shown = str(ProgramError(diagnostics))
    for own in ("model=NAME", ".lark"):  # of a signature, and of files that programs name
        shown = shown.replace(own, "")
    for word in ("LPAR", "RPAR", "NAME", "Traceback", "lark", "__ANON", "Token("):
        assert word not in shown


@given(program_texts())
def test_drawn_programs_have_no_errors(text):
    assert diagnose(text)[0] is not None


MISTAKES = {
    "(" * 10_000: "FK109",
    "not " * 3_000 + "true": "FK109",
    "1" + " + 1" * 3_000: "FK109",
    "x" + "[0]" * 3_000: "FK109",
    "- " * 3_000 + "1": "FK109",
    "1 if true else " * 3_000 + "2": "FK109",
    "2 ** " * 3_000 + "2": "FK109",
    '"' + "a" * 200_000: "FK108",
    'f"{' + "(" * 5_000 + '}"': "FK112",
}


@pytest.mark.parametrize("expression", MISTAKES, ids=lambda e: e[:12])
def test_nesting_without_end_is_one_short_error(expression):
    _, diagnostics = diagnose(f"program p() -> int:\n    return {expression}\n")
    assert [d.code for d in diagnostics] == [MISTAKES[expression]]
    assert len(str(ProgramError(diagnostics))) < 800


def test_a_program_of_ten_thousand_statements_parses():
    module = parse(
        Source("a.fk", "program p() -> int:\n" + "    x = 1\n" * 10_000 + "    return x\n")
    )
    assert len(module.declarations[0].body) == 10_001


def test_every_lexical_mistake_is_reported_at_once():
    _, diagnostics = diagnose(
        'program p() -> int:\n    x = "abc\n    y = 3 @ 4\n    z = 1a\n    return x ; y\n'
    )
    assert [d.code for d in diagnostics] == ["FK101", "FK104", "FK110", "FK104"]


def test_a_file_of_rubbish_is_not_reported_line_by_line():
    _, diagnostics = diagnose("program p() -> int:\n    return " + "$ " * 5_000)
    assert len(diagnostics) <= 21


def test_a_missing_file_names_a_near_one(tmp_path):
    (tmp_path / "short_words.fk").write_text("")
    with pytest.raises(CallError, match=r"did you mean .*short_words\.fk"):
        read_source(tmp_path / "short_wrods.fk")
    with pytest.raises(CallError, match="folder"):
        read_source(tmp_path)


def test_windows_files_are_read(tmp_path):
    path = tmp_path / "a.fk"
    path.write_bytes(b"\xef\xbb\xbfprogram p() -> int:\r\n    return 3\r\n")
    assert parse(read_source(path)).declarations[0].name == "p"


GOLDEN = {
    "program p() -> int:\n    x = (1\n    return x\n": """\
error[FK102]: `(` is never closed
  --> a.fk:2:9
 2 |     x = (1
   |         ^ opened here
   = help: close it with `)`""",
    "program p() -> int:\n    if x = 3:\n        pass\n": """\
error[FK123]: `=` in a line that begins with `if`
  --> a.fk:2:10
 2 |     if x = 3:
   |          ^ `=` assigns
   = help: write `==` to compare""",
    "program p() -> int\n    return 1\n": """\
error[FK122]: a `program` line ends with `:`
  --> a.fk:1:19
 1 | program p() -> int
   |                   ^ expected `:`
   = help: add `:`""",
    "program p(max_letters: int = 5) -> int:\n    return max_leters\n": """\
error[FK203]: unknown name `max_leters`
  --> a.fk:2:12
 2 |     return max_leters
   |            ^^^^^^^^^^ not defined here
   = help: did you mean `max_letters`, a parameter of line 1?""",
}


@pytest.mark.parametrize("text", GOLDEN, ids=lambda t: t[:30])
def test_golden_messages(text):
    _, diagnostics = diagnose(text)
    assert str(ProgramError(diagnostics)) == GOLDEN[text]
