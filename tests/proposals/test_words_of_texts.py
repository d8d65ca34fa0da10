"""Conditions on words at a place, on how many there are, and over lists of keys: guided, with the
measure unchanged."""

from itertools import product

import pytest

import fkdsl
from fkdsl.engine.constraints.automaton import automaton, kept_automaton
from fkdsl.engine.constraints.expressions import Algebra
from fkdsl.engine.constraints.languages import Cased, Texts, item_at, item_count, last_word
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure
from fkdsl.values.library.text import all_words

MODEL = """
model m = table:
    "" -> "the ": 0.4, "sea ": 0.3, "a": 0.3
    " " -> "sea": 0.3, "again": 0.3, "A": 0.2, "the": 0.2
    "a" -> " ": 0.5, EOS: 0.5
    "n" -> " ": 0.2, EOS: 0.8
    "e" -> " ": 0.5, EOS: 0.5
    "A" -> EOS: 0.5, " ": 0.5
"""
CONDITIONS = [
    'last_word(s) == "again"',
    'last_word(s) != "again"',
    'starts_with(last_word(s), "a")',
    'len(words(s)) == 3 and words(s)[1] == "sea"',
    'len(words(s)) >= 2 and words(s)[-1] in ["sea", "A"]',
    "len(words(s)) == 2",
    '"the" not in words(s)',
    "all(contains(s, k) for k in keys)",
    "not any(contains(s, k) for k in keys)",
    'any(contains(s, k) for k in ["again", "A"])',
    "all(k in words(lower(s)) for k in keys)",
    'all(k in words(lower(s)) for k in ["sea", "a"])',
    'not all(k in words(lower(s)) for k in keys if k != "sea")',
    "any(k in words(s) for k in keys)",
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_guided_condition_on_words_has_the_measure_of_the_plain_one(condition):
    program = fkdsl.parse(
        f'{MODEL}\nprogram p(keys: list[str] = ["sea", "a"]) -> str:\n    lm = prompt("")\n'
        f"    s ~ text(lm, max_tokens=4)\n    condition {condition}\n    return s\n"
    )
    assert "by an automaton" in explain(program.ir())
    assert not program.warnings
    assert_same_masses(
        exact_measure(program.feynman_kac()), exact_measure(program.without().feynman_kac())
    )


def test_a_list_of_keys_guides_more_particles_to_the_end():
    program = fkdsl.parse(
        f'{MODEL}\nprogram p() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=5)\n'
        '    condition all(k in words(lower(s)) for k in ["sea", "a", "the"])\n    return s\n'
    )
    guided, plain = (
        sum(lives(p, seed) for seed in range(40)) for p in (program, program.without())
    )
    assert guided > 4 * plain


def lives(program, seed):
    try:
        program.run("importance", particles=1, seed=seed)
    except fkdsl.PopulationDied:
        return 0
    return 1


@pytest.mark.parametrize("index", [0, 1, 2, -1, -2])
def test_languages_of_words_are_those_of_the_library(index):
    at = automaton(item_at("words", index, Texts(("a", "a-b"))))
    last = automaton(last_word(Texts(("a", ""))))
    count = automaton(item_count("words", 1, 2))
    for n in range(6):
        for text in map("".join, product("ab '-"[: 5 if n < 5 else 3], repeat=n)):
            words = all_words(text)
            here = words[index] if -len(words) <= index < len(words) else None
            assert at.accepts(text) == (here in ("a", "a-b")), text
            assert last.accepts(text) == ((words[-1] if words else "") in ("a", "")), text
            assert count.accepts(text) == (1 <= len(words) <= 2), text


@pytest.mark.parametrize("word", ["k", "sea", "i"])
def test_a_word_in_lower_case_is_followed_exactly(word):
    language = automaton(Cased("lower", Texts((word,))))
    for text in [word, word.upper(), word.title(), "\u212a", "\u017fea", "\u0130", "i\u0307", "x"]:
        assert language.accepts(text) == (text.lower() == word), text


LATE = """
model m = table:
    "" -> "a": 1

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=64)
    condition starts_with(s, "a")
    condition {}
    return s
"""


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ('str(len(s)) == "2"', "this is checked"),
        ("len(distinct(s)) >= 2", "this is checked"),
        ("contains(s, str(len(s)))", "this is checked"),
        ('contains(s, "b") and contains(s, str(len(s)))', "a part of this is checked"),
        ('contains(s, "b") and str(len(s)) == "2" or s == "a"', "a part of this is checked"),
        ('matches(s, r"(?:ab){e<=1}") or s == "a"', "a part of this is checked"),
    ],
)
def test_each_condition_that_is_late_is_told_of_whatever_else_guides(condition, message):
    program = fkdsl.parse(LATE.format(condition))
    (warning,) = program.warnings
    assert (warning.code, warning.span.line) == ("FK501", 9)
    assert warning.message.startswith(message)
    explained = explain(program.ir())
    assert "line 8  by an automaton" in explained
    assert "by a weaker automaton" in explained or "decides the last token only" in explained


def test_of_two_late_conditions_each_has_a_warning():
    program = fkdsl.parse(LATE.format('str(len(s)) == "2"\n    condition str(s) == strip(str(s))'))
    assert [w.span.line for w in program.warnings] == [9, 10]


def test_what_the_automaton_of_all_conditions_leaves_out_is_told(monkeypatch):
    """Each of these has an automaton; that of both is too complex."""
    monkeypatch.setattr(Algebra.__init__, "__defaults__", (200, 1_000_000))
    kept_automaton.cache_clear()
    a, b = (f'contains(s, "{c * 70}")' for c in "ab")
    program = fkdsl.parse(LATE.format(f"{a}\n    condition {b}"))
    (warning,) = program.warnings
    kept_automaton.cache_clear()
    assert warning.span.line == 10
    assert "more than 200 states" in warning.label
    assert "line 10  by a weaker automaton" in explain(program.ir())


def test_a_text_of_too_few_words_is_not_drawn_where_the_program_would_fail():
    """Written as `if len(words(s)) > 1 and words(s)[1] == "b"`, it has the same figures."""
    table = """
model m = table:
    "" -> "a": 0.5, " b": 0.3, EOS: 0.2

program p() -> str:
    lm = prompt("", model=m)
    s ~ text(lm, max_tokens=4)
    condition {}
    return s
"""
    for bare, tested in [
        ('words(s)[1] == "b"', 'len(words(s)) > 1 and words(s)[1] == "b"'),
        ('not (words(s)[-2] == "b")', 'len(words(s)) > 1 and words(s)[-2] != "b"'),
        ('s == "" or s[2] == "b"', 's == "" or len(s) > 2 and s[2] == "b"'),
    ]:
        found = fkdsl.parse(table.format(bare)).exact()
        expected = fkdsl.parse(table.format(tested)).without().exact()
        assert found.log_z == pytest.approx(expected.log_z, abs=1e-12)
        assert {a.value for a in found.posterior} == {a.value for a in expected.posterior}
        with pytest.raises(fkdsl.ProgramError, match="index"):
            fkdsl.parse(table.format(bare)).without().exact()


@pytest.mark.parametrize(
    "condition",
    ['s == "\\ufffd"', 's != "a"', 's in ["a", "\\ufffd\\ufffd"]', 'contains(s, "\\ufffd")'],
)
def test_the_replacement_character_is_a_character_of_equal_texts(condition):
    """`matches` is false of a text that has it; equality is not."""
    program = fkdsl.parse(rf"""
model m = table:
    "" -> "a": 0.5, "\ufffd": 0.3, EOS: 0.2

program p() -> str:
    lm = prompt("", model=m)
    s ~ text(lm, max_tokens=2)
    condition {condition}
    return s
""")
    assert_same_masses(*(exact_measure(p.feynman_kac()) for p in (program, program.without())))
