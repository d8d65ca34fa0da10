"""Parts of a text that are compared with each other, and numbers that are read of it: a mask asks
that they are there, and the test is asked as soon as both are."""

import pytest

from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure
from tests.proposals.test_forms_of_conditions import lives, program_of

GUARDED = {
    "words(s)[0] == words(s)[1]": "len(words(s)) > 1",
    "words(s)[0] != words(s)[1]": "len(words(s)) > 1",
    "words(s)[0] == words(s)[-1]": "len(words(s)) > 0",
    "len(words(s)[0]) < len(words(s)[1])": "len(words(s)) > 1",
    "not (lines(s)[0] == lines(s)[1])": "len(lines(s)) > 1",
    'split(s, ".")[0] == split(s, ".")[1]': 'contains(s, ".")',
    "words(s) == sorted(words(s))": "true",
}
"""Tests, and what must hold for them to have a value."""


@pytest.mark.parametrize("test", GUARDED)
def test_the_measure_is_that_of_the_texts_for_which_it_has_a_value(test):
    guided = exact_measure(program_of(test, 3).feynman_kac())
    plain = program_of(f"{GUARDED[test]} and {test}", 3).without()
    assert plain
    assert_same_masses(guided, exact_measure(plain.feynman_kac()), 1e-12)


@pytest.mark.parametrize("test", [*GUARDED][:2])
def test_explain_says_what_is_left_to_trial(test):
    told = explain(program_of(test, 3).ir())
    assert "by an automaton of a larger language" in told
    assert "what it says of the parts that it looks at" in told


def test_what_refuses_nothing_is_not_said_to_guide():
    told = explain(program_of('s in "ab" * 60 or len(s) / 2 > 9', 3).ir())
    assert "by an automaton" not in told
    assert "by an automaton" in explain(program_of("s != lower(s)", 3).ir())


def test_more_particles_live():
    test = "words(s)[0] == words(s)[2] and words(s)[0] != words(s)[1]"
    program = program_of(test, 6)
    assert sum(lives(program, seed) for seed in range(8)) >= 5
    guarded = program_of(f"len(words(s)) > 2 and {test}", 6).without()
    assert sum(lives(guarded, seed) for seed in range(8)) <= 1
