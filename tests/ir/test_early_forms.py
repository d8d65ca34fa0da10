"""Conditions that are no language, seen to fail early: what fails of a beginning fails of every
text that begins so."""

from random import Random

import pytest

import fkdsl
from fkdsl.ir.passes.early import early_form
from fkdsl.ir.passes.inline import inlined
from fkdsl.testing.laws import assert_same_masses, exact_measure
from fkdsl.values.library.languages import complete_lines, complete_sentences
from fkdsl.values.library.text import lines, sentences
from tests.ir.test_conditions_as_languages import Condition, value

SETTLED = [
    "len(distinct(words(s))) == len(words(s))",
    "len(words(s)) <= len(distinct(words(s)))",
    "distinct(lines(s)) == lines(s)",
    "len(sentences(s)) == len(distinct(sentences(s)))",
    "len(distinct(s)) >= len(s)",
    "len(distinct([lower(w) for w in words(s)])) == len([lower(w) for w in words(s)])",
    "len(distinct(words(s))) <= 1",
    "len(distinct([l[:1] for l in lines(s)])) < 2",
    "all(count(s, w) < 2 for w in words(s))",
    "all(count(s, l) <= 2 for l in lines(s) if len(l) > 0)",
    "all(a != b for a, b in zip(words(s), words(s)[1:]))",
    "not any(a == b for a, b in zip(lines(s), lines(s)[1:]))",
    "all(len(w) > i for i, w in enumerate(words(s)))",
    "sum([len(w) for w in words(s) if len(w) > 1]) <= 2",
    "sum([syllables(l) for l in lines(s)]) < 2",
    'len([w for w in words(s) if syllables(w) > 0]) + count(s, "a") <= 3',
    "all(syllables(x) < 2 for x in sentences(s))",
    "all(syllables(w) < 1 for l in lines(s) for w in words(l))",
    "distinct([s[i:i + 2] for i in range(len(s) - 1)]) == [s[i:i + 2] for i in range(len(s) - 1)]",
    "all(count(s, p) < 2 for p in pairs(s))",
    "fresh(s)",
    "min([len(w) for w in words(s)]) > 1",
    "[syllables(w) for w in words(s)] == [1, 0]",
    "lines(s) == sorted(keys)",
    "all(words(s)[i] != words(s)[i + 1] for i in range(len(words(s)) - 1))",
    "all(s[i] != s[i + 1] for i in range(len(s) - 1))",
    'not ("a" in [lower(w) for w in words(s)])',
]
PLACES = [
    "words(s)[0] == words(s)[1]",
    "words(s)[0] != words(s)[2]",
    "not (words(s)[1] == words(s)[0])",
    "len(words(s)[0]) < len(words(s)[1])",
    "lines(s)[0] == lines(s)[1]",
    'split(s, ". ")[0] == split(s, ". ")[1]',
    "split(s)[1] != split(s)[0]",
    "syllables(words(s)[0]) == syllables(words(s)[1]) + 1",
    "words(s) == sorted(words(s))",
    "[len(w) for w in words(s)] == sorted([len(w) for w in words(s)])",
    "all(len(w) <= len(words(s)[0]) or i == 0 for i, w in enumerate(words(s)))",
]
"""Items at fixed places: of texts without them there is an error."""
OPEN = [
    "all(w != last_word(s) for w in words(s)[:-1])",
    "len(distinct([s[i:i + 3] for i in range(len(s) - 1)])) == len(s)",
    "len(distinct(words(s))) >= 2",
    "words(s)[0] == words(s)[-1]",
    "words(s)[0] == last_word(s)",
    'sorted(words(s))[0] == "a"',
]
FRESH = """
def pairs(s: str) -> list[str]:
    return [join(words(s)[i:i + 2], " ") for i in range(len(words(s)) - 1)]

def fresh(s: str) -> bool:
    ws = words(s)
    parts = [join(ws[i:i + 2], " ") for i in range(len(ws) - 1)]
    return len(distinct(parts)) == len(parts)
"""
TOKENS = ("a ", "a ", "b ", "a", "aa", ". ", ".", "\n", "\r\n", "! ", "\r")


class Early(Condition):
    """A condition with its early form, each as the program evaluates it."""

    def __init__(self, text):
        self.test, self.program = self.read(text, FRESH)
        form = early_form(inlined(self.program, self.test), 0)
        self.has_form = form is not None
        self.whole = self.of(inlined(self.program, self.test))
        self.form = self.of(form) if form is not None else None


@pytest.mark.parametrize("text", [*SETTLED, *PLACES])
def test_an_early_form_is_false_only_of_what_is_lost(text):
    condition, rng, failed = Early(text), Random(text), 0
    assert condition.has_form
    for _ in range(250):
        prefix = "".join(rng.choices(TOKENS, k=rng.randint(2, 8)))
        more = "".join(rng.choices(TOKENS, k=rng.randint(0, 4)))
        if value(condition.form, prefix) is False:
            failed += 1
            assert value(condition.whole, prefix + more) is False, (prefix, more)
    assert failed >= 2, "the early form has something to say"


@pytest.mark.parametrize("text", OPEN)
def test_what_may_still_come_right_has_no_early_form(text):
    assert not Early(text).has_form


def test_complete_lines_and_sentences_stay():
    rng = Random(3)
    for _ in range(2_000):
        s, more = ("".join(rng.choices("ab. !)\n\r", k=rng.randint(0, 6))) for _ in range(2))
        for take, complete in ((lines, complete_lines), (sentences, complete_sentences)):
            kept = take(complete(s))
            assert take(s)[: len(kept)] == kept
            assert take(s + more)[: len(kept)] == kept, (s, more)
            assert len(kept) >= len(take(s)) - 1


MODEL = """
model m = table:
    "" -> "a ": 0.3, "b ": 0.3, "a": 0.2, "\\n": 0.1, EOS: 0.1
%s
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=%d)
    condition %s
    return s
"""


@pytest.mark.parametrize("text", SETTLED[::2])
def test_checks_of_the_beginning_keep_the_measure(text):
    program = fkdsl.parse(MODEL % (FRESH, 3, text))
    assert_same_masses(
        exact_measure(program.feynman_kac()), exact_measure(program.without().feynman_kac()), 1e-12
    )


def test_a_text_without_repeats_lives_to_its_end():
    """Four words of four, of which none comes twice: without a check nine in a hundred live."""
    words = "".join(f'"{w} ": 0.25, ' for w in "abcd").rstrip(", ")
    text = MODEL % ("", 4, "distinct(words(s)) == words(s) and len(words(s)) == 4")
    program = fkdsl.parse(
        text.replace(text[text.index('"a "') : text.index("\nprogram")], words + "\n")
    )
    alive = [
        sum(p.weight > 0 for p in q.run("importance", particles=60, seed=1).particles)
        for q in (program, program.without())
    ]
    assert alive[0] == 60
    assert alive[1] <= 15
