"""What people write about words, lines and sentences guides the drawing: the same measure as
without, to the last digit, and particles that live where they would die."""

import numpy as np
import pytest

import fkdsl
from fkdsl.ir.printed import explain
from fkdsl.models.table import TableModel
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.testing.laws import assert_same_masses, exact_measure
from tests.ir.test_conditions_as_languages import FORMS, FURTHER, Condition

MODEL = """
model m = table:
    "" -> "a": 0.3, "b": 0.2, " ": 0.15, ".": 0.1, "\\n": 0.15, "ab": 0.05, EOS: 0.05
    "a" -> "b": 0.3, " ": 0.2, "a. ": 0.1, "\\n": 0.2, EOS: 0.2

program p(n: int = 1, keys: list[str] = ["a", "b"]) -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={tokens})
    condition {condition}
    return s
"""


class Few(TableModel):
    """A few tokens, as likely after any text: a table has tokens for all bytes besides, and what a
    mask allows has no probability."""

    TOKENS = ("a", "b", " ", ".", "\n", "ab")

    def __init__(self):
        super().__init__("few", {"": dict.fromkeys(self.TOKENS, 1 / 6)})
        ends = frozenset({len(self.TOKENS)})
        self.vocabulary = Vocabulary((*(t.encode() for t in self.TOKENS), b""), ends)

    def _row(self, text):
        return np.log([0.3, 0.2, 0.15, 0.1, 0.15, 0.05, 0.05])

    def encode(self, text):
        return tuple(self.TOKENS.index(c) for c in text)


def program_of(condition, tokens):
    return fkdsl.parse(MODEL.replace("{tokens}", str(tokens)).replace("{condition}", condition))


def measure(program):
    """The measure; where a text has no value, the error."""
    try:
        return exact_measure(program.feynman_kac())
    except fkdsl.ProgramError as error:
        return [d.message for d in error.diagnostics]


@pytest.mark.parametrize("form", [*FORMS, *FURTHER[::3]])
def test_a_guided_form_has_the_measure_of_the_plain_one(form):
    """Where a form has no value for some text, the plain program fails, and the guided one has the
    measure of the other texts, or fails too."""
    program = program_of(form, 2)
    guided, plain = measure(program), measure(program.without())
    if isinstance(plain, list):
        condition = Condition(form)
        every = measure(program_of("n == 1", 2).without())
        plain = {s: mass for s, mass in every.items() if condition.holds(s)}
    if isinstance(guided, dict):
        assert not program.warnings
        assert "by an automaton" in explain(program.ir())
        assert_same_masses(guided, plain, 1e-12)
    else:
        assert form in ('count(s, "") == 0', FAILS), guided


FAILS = 'join([l[0] for l in lines(s)]) == "ab"'
"""A form that fails for a text which begins as those do of which it holds: an empty line."""


RARE = [
    'count(s, "ab") == 3',
    "len(lines(s)) == 4 and len(words(s)) >= 3",
    "len(sentences(s)) == 3",
    "3 <= len(words(s)) <= 4",
    'lines(s)[1] == "ab" if len(lines(s)) > 1 else false',
    'len(words(s)) > 2 and words(s)[-1] == "bab"',
    'len(lines(s)) > 1 and words(lines(s)[1]) == ["a", "b"]',
    'len(s) > 5 and s[0] == "b" and s[-1] == "."',
    'len(words(s)) == 3 and all(w[0] == "b" for w in words(s))',
    'len(lines(s)) == 3 and all(starts_with(l, k) for l, k in zip(lines(s), ["a", "b", "a"]))',
    'all(len(l) > 0 for l in lines(s)) and join([l[0] for l in lines(s)]) == "bab"',
    "len(words(s)) > 1 and all(len(w) == 3 for w in words(s))",
    'upper(last_word(s)) == "BAB"',
    'strip(s) == s and s[:3] == "b a" and len(s) > 5',
    'last_word(s) in ["abab", "bb"] and s[-1] not in "ab"',
    'len([w for w in words(s) if w == "b"]) == 3',
    'not contains(s, "a") and len(words(s)) == 3',
    'split(s, ".") == ["b", " a", "b"]',
    'count(s, "b") == count(s, ".") and len(s) > 6',
    'matches(f"ab{s}ab", "(ab|b[.])*") and len(s) == 6',
    's[0] == s[-1] == "b" and len(words(s)) == 3',
    "[len(w) for w in words(s)] == [2, 1, 3]",
    'find(s, ".") == 5',
    'sum([count(s, k) for k in ["b", "."]]) == 6',
    "max([len(w) for w in words(s)]) == 1 and len(words(s)) == 3",
]


@pytest.mark.parametrize("condition", RARE)
def test_particles_live_by_the_mask_that_die_without(condition):
    program = program_of(condition, 6)
    assert not program.warnings
    guided, plain = (sum(lives(p, seed) for seed in range(6)) for p in (program, program.without()))
    assert guided == 6
    assert plain <= 2


def lives(program, seed):
    try:
        program.run("importance", model=Few(), particles=1, seed=seed)
    except fkdsl.PopulationDied:
        return 0
    return 1


LOOPS = [
    'count(lm.text, "a") <= 2',
    "len(lines(lm.text)) <= 2",
    'len(words(lm.text)) < 3 or last_word(lm.text) == "a"',
    'starts_with(lower(lm.text), "a")',
    'all(w[0] != "b" for w in words(lm.text))',
    'all(starts_with(l, k) for l, k in zip(lines(lm.text), ["a", "b"]))',
    "not any(len(w) > 2 for l in lines(lm.text) for w in words(l))",
    'lm.text[:1] != "b" and len(sentences(lm.text)) < n + 1',
    "all(not contains(lm.text, k + k) for k in keys)",
    "strip(lm.text) == lm.text",
]
LOOP = MODEL.replace(
    "    s ~ text(lm, max_tokens={tokens})\n    condition {condition}\n    return s\n",
    "    while not lm.done and lm.tokens < {tokens}:\n        t ~ lm\n"
    "        condition {condition}\n    return lm.text\n",
)


@pytest.mark.parametrize("condition", LOOPS)
def test_of_the_text_so_far_they_keep_the_measure_and_try_nothing(condition):
    program = fkdsl.parse(LOOP.replace("{tokens}", "2").replace("{condition}", condition))
    assert "by an automaton of the text so far" in explain(program.ir())
    assert_same_masses(measure(program), measure(program.without()), 1e-12)
