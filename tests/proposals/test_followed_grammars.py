"""Grammars in programs: what is ignored at the ends, keywords beside names, weaker terminals; help
for a dialect."""

import pytest

import fkdsl
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import exact_measure

NAMES = """
model m = table:
    "" -> "class": 0.5, "classy": 0.2, " x": 0.3
    "class" -> " ": 0.4, "Foo": 0.3, " = 1": 0.3
    "classy" -> " = 1": 0.6, "=1": 0.4
    "x" -> " = 1": 0.5, "=": 0.5
    " " -> "Foo": 0.6, "class": 0.2, "classy": 0.2
    "Foo" -> "{}": 0.5, " {}": 0.5
    "=" -> "1": 1
    "1" -> EOS: 0.75, " ": 0.25
    "1 " -> EOS: 1
    "}" -> EOS: 1
    " class" -> "{}": 1
    " classy" -> "{}": 1
"""
PLAIN = (
    r"start: \"class\" NAME \"{\" \"}\" | NAME \"=\" INT\nNAME: /[A-Za-z_]+/\n"
    r"INT: /[0-9]+/\n%ignore \" \""
)
AROUND = PLAIN.replace("/[A-Za-z_]+/", r"/(?!class\\b)[A-Za-z_]+/")


def masses(grammar):
    source = f'{NAMES}\nprogram p() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=6)\n'
    program = fkdsl.parse(f'{source}    condition parses(s, grammar="{grammar}")\n    return s\n')
    found = []
    for p in (program, program.without()):
        measure = exact_measure(p.feynman_kac())
        found.append(
            {key[-1] if isinstance(key, tuple) else key: mass for key, mass in measure.items()}
        )
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    return found[0], program


def test_ignored_text_stands_at_both_ends_and_terminals_are_read_as_far_as_they_go():
    found, program = masses(PLAIN)
    assert sum(found.values()) == pytest.approx(0.85)
    assert found[" x=1 "] == pytest.approx(0.3 * 0.5 * 0.25)
    assert "classFoo{}" not in found
    assert not program.warnings


def test_a_terminal_that_looks_ahead_is_followed_by_a_weaker_one_and_decided_by_lark():
    found, program = masses(AROUND)
    assert found["class Foo{}"] == pytest.approx(0.5 * 0.4 * 0.6 * 0.5)
    assert not {"class = 1", "class class{}"} & set(found)
    (warning,) = program.warnings
    assert (warning.code, warning.label) == (
        "FK501",
        "no mask follows the terminal `NAME` beyond a weaker pattern",
    )
    assert "by a weaker automaton or grammar" in explain(program.ir())


def test_a_terminal_that_refers_back_is_followed_by_a_weaker_one():
    found, _ = masses(r"start: /(class) \\1[{][}]/")
    assert found == {"class class{}": pytest.approx(0.5 * 0.4 * 0.2)}


@pytest.mark.parametrize(
    ("grammar", "help"),
    [
        ("start: D{3,5}\nD: /[0-9]/", "`x~3..5` for `x{3,5}`"),
        ('start: "a"{2}', "`x~2` for `x{2}`"),
        ('start: ("a" "b"){2,}', "`x~2 x*` for `x{2,}`"),
        ("start: %regex { }", "a terminal `NAME: /pattern/` for `%regex`"),
        ("start: %json { }", "`valid_json(s, schema=...)` in place of `%json`"),
        ('start: "a"\n%llguidance { }', "a grammar without `%llguidance`"),
    ],
)
def test_a_grammar_in_another_dialect_is_told_larks_own_form(grammar, help):
    quoted = grammar.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(f'program p() -> bool:\n    return parses("a", grammar="{quoted}")\n').run()
    (found,) = error.value.diagnostics
    assert found.code == "FK242"
    assert help in found.help


def test_a_repeat_in_a_pattern_or_a_text_is_no_dialect():
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(
            'program p() -> bool:\n    return parses("a", grammar="start: x /a{3,5}/ \\"b{2}\\"")\n'
        ).run()
    assert "Lark's own form" not in error.value.diagnostics[0].help
