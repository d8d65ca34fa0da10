r"""Patterns of every kind guide a text: by a mask where they are regular, else by a larger one and
by the `regex` library at every token; the measure stays that of the program as it is written."""

import pytest

import fkdsl
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure

MODEL = """
model m = table:
    "" -> "a": 0.3, "b": 0.2, "<a>": 0.2, " ": 0.1, "ab": 0.1, "\\n": 0.1
    ">" -> "a": 0.3, "b": 0.3, "</a>": 0.2, "</b>": 0.2
    "a" -> "a": 0.2, "b": 0.3, " ": 0.1, "-a": 0.1, "</a>": 0.1, EOS: 0.2
    "\\n" -> "a": 0.5, "\\n": 0.3, EOS: 0.2
    "</a>" -> EOS: 0.7, "a": 0.3
"""
MASKED = [
    r"(a|b)\w*\1",
    r"(?:(?<x>a)|b)+(?(x)b|a)",
    r"(?>ab|a)b?",
    r"[ab]++",
    r".*(?<=a )a.*",
    r".*(?<!ab)",
    r"(?m)^a$(?:\n^a$)*\n*",
    r"(?x) a [b ]*  # and more",
    r"(?V1)[\w--[b]]+",
    r"[[:alpha:]-]+",
    r"(?!.*(a|b)\1)[ab]+",
    r"\b(?!ab\b)\w+\b",
]
IN_PART = {
    r"<(\w+)>.*</\1>": "a back-reference",
    r"(\w+)[ -]\1": "a back-reference",
    r"(?!.*(.)\1)[ab<>/]+": "a back-reference",
    r"(?=(a|ab))\1b?": "a group inside a look-around that is referred to outside",
    r"a(?:[^a]|(?R))*a": "a recursion",
}
LEFT = {r"(?:ab){e<=1}": "a fuzzy match"}


def program_of(condition, parameters=""):
    return fkdsl.parse(
        f'{MODEL}\nprogram p({parameters}) -> str:\n    lm = prompt("")\n'
        f'    s ~ text(lm, until="", max_tokens=3)\n    condition {condition}\n    return s\n'
    )


def verify(program):
    guided = exact_measure(program.feynman_kac())
    assert_same_masses(guided, exact_measure(program.without().feynman_kac()), 1e-12)
    assert guided


@pytest.mark.parametrize("pattern", [*MASKED, *IN_PART, *LEFT])
def test_a_text_guided_by_a_pattern_has_the_measure_of_the_plain_one(pattern):
    verify(program_of(f"matches(s, r'{pattern}')"))
    verify(program_of(f"not matches(s, r'{pattern}')"))


@pytest.mark.parametrize(
    "condition",
    [
        r'all(matches(w, r"(\w+)-\1") for w in words(s))',
        r'len([w for w in words(s) if matches(w, r"(\w+)-\1")]) <= 1',
        r'matches(upper(s), r"(\w+)[ -]\1")',
        r'matches(strip(s), r"(\w+)[ -]\1") or find(s, "a") > 0',
        r'matches(replace(s, "-", " "), r"(\w+) \1")',
        r'matches(s, r"(\w+)-\1") or len(words(s)) == 2',
        r'find(s, "<") * 2 == 2',
    ],
)
def test_patterns_in_other_places_are_tried_at_every_token(condition):
    program = program_of(condition)
    assert "at every token of the text" in explain(program.ir())
    assert not program.warnings
    verify(program)


@pytest.mark.parametrize("pattern", MASKED)
def test_a_regular_pattern_is_a_mask_alone(pattern):
    program = program_of(f"matches(s, r'{pattern}')")
    text = explain(program.ir())
    assert "by an automaton or a grammar: a mask" in text
    assert "trial" not in text
    assert not program.warnings


@pytest.mark.parametrize(("pattern", "reason"), IN_PART.items())
def test_what_the_mask_leaves_out_is_tried_at_every_token(pattern, reason):
    program = program_of(f"matches(s, r'{pattern}')")
    text = explain(program.ir())
    assert f"by an automaton of a larger language, which leaves out: {reason}" in text
    assert "at every token of the text" in text
    assert not program.warnings


def test_a_back_reference_whose_automaton_may_grow_too_large_is_tried_as_well():
    program = program_of(r'matches(s, r"(?!.*([a-z]).*\1)[a-z]+")')
    text = explain(program.ir())
    assert "an automaton with more than 2,000 states" in text
    assert "at every token of the text" in text
    verify(program)
    assert "more than" not in explain(program_of(r'matches(s, r"(?:[a-c]\B)+(a|b)\1")').ir())


def test_what_the_library_does_not_say_early_is_left_to_the_end_and_said():
    for pattern, reason in LEFT.items():
        program = program_of(f"matches(s, r'{pattern}')")
        assert f"trials of the tokens that may end the text: {reason}" in explain(program.ir())
        assert [w.code for w in program.warnings] == ["FK501"]


def test_a_pattern_that_no_automaton_follows_is_tried_at_every_token():
    program = program_of("matches(s, r'ab?(*PRUNE)a*')")
    assert "at every token of the text" in explain(program.ir())
    verify(program)


def test_a_pattern_that_is_known_when_the_program_runs_guides_as_well():
    program = program_of("matches(s, given)", r'given: str = r"<(\w+)>.*</\1>"')
    assert "at every token of the text" in explain(program.ir())
    verify(program)


@pytest.mark.parametrize("pattern", [r"<(\w+)>\w*</\1>", r"(?!.*(.)\1)[ab<>/]+", "ab?(*PRUNE)a*"])
def test_what_cannot_match_any_more_is_never_drawn(pattern):
    """A particle dies only where no token is left that could still lead to a text that matches:
    the texts of three tokens are told apart before the last."""
    program = program_of(f"matches(s, r'{pattern}')")
    guided, plain = (lives(p) for p in (program, program.without()))
    assert guided > 1.5 * plain


def lives(program):
    """How many of 30 particles live to the end."""
    alive = 0
    for seed in range(30):
        try:
            program.run("importance", particles=1, seed=seed)
        except fkdsl.PopulationDied:
            continue
        alive += 1
    return alive
