"""What a parameter or a draw makes of a condition is followed within bounds: past them the
condition guides nothing, decides as ever, and the run says so."""

from itertools import product
from time import thread_time

import pytest

import fkdsl
from fkdsl.base.errors import PopulationDied
from fkdsl.engine.constraints import automaton as automata
from fkdsl.engine.constraints import bounds
from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.languages import Both, Complement, Contains, Either, Letters, Matches
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.testing.laws import assert_same_masses, exact_measure

SOURCE = """
model m = table:
    "" -> "a": 0.5, "b": 0.4, EOS: 0.1

program p(word: str = "bb", words: list[str] = ["bb"]) -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=4)
    condition TEST
    return s
"""
LONG = "a" * (bounds.MOST_CHARACTERS + 1)
VOCABULARY = Vocabulary((b"a", b"b", b""), ends=frozenset({2}))


def parsed(test):
    return fkdsl.parse(SOURCE.replace("TEST", test), name="p.fk")


@pytest.mark.parametrize(
    ("language", "why"),
    [
        (Contains(LONG), "100,000 characters"),
        (Contains("".join(map(chr, range(0x4E00, 0x4E00 + 1001)))), "1,000 kinds"),
        (Both(tuple(Complement(Letters(n, n)) for n in range(5_001))), "10,000 parts"),
    ],
)
def test_large_languages_are_refused_before_any_work(language, why):
    begun = thread_time()
    with pytest.raises(TooComplex, match=why):
        automaton(language)
    assert thread_time() - begun < 1.0


def test_work_has_an_end_and_is_not_begun_again(monkeypatch):
    monkeypatch.setattr(bounds, "SECONDS", -1.0)
    automata.kept_automaton.cache_clear()
    language = Matches("(a|b)*a(a|b){9}")
    with pytest.raises(TooComplex, match="s of work"):
        automaton(language)
    monkeypatch.setattr(automata, "Automaton", None)  # it would be called
    with pytest.raises(TooComplex, match="s of work"):
        automaton(language)
    automata.kept_automaton.cache_clear()


def test_masks_that_take_too_long_allow_all(monkeypatch):
    monkeypatch.setattr(bounds, "SECONDS", -1.0)
    constraint = make_constraint.function(Contains("abb"), "", VOCABULARY)
    assert constraint.mask((), None) is None
    assert "s of work" in constraint.left_out[0]


@pytest.mark.parametrize("n", [300, 25_000])
def test_a_value_in_a_long_text_is_asked_when_it_is_complete_or_else_warned_of(n):
    """Masks follow its beginning at most."""
    schema = '{"type": "object", "properties": {"a": {"type": "string"}}}'
    text = ("by the sea, " * n)[:n]
    test = f"valid_json(s, schema='{schema}') and parse_json(s).a in \"{text}\""
    source = SOURCE.replace("max_tokens=4", "max_tokens=40").replace("TEST", test)
    program = fkdsl.parse(source)
    assert program.warnings == ()
    assert {w.code for w in program.without("early").warnings} == {"FK501"}


def test_many_words_are_one_automaton():
    words = ["".join(w) for w in product("abcdefgh", repeat=3)]
    one_of = Either(tuple(map(Contains, words)))
    found = automaton(one_of)
    assert found.explored
    for text in ("", "ab", "aba", "xxabxcab", "x" * 9 + "hgf", "hhxhhxhh"):
        assert found.accepts(text) == any(w in text for w in words)
    banned = Both(tuple(Complement(Contains(w)) for w in words))
    constraint = make_constraint(banned, "", VOCABULARY)
    assert not constraint.left_out
    assert constraint.mask((0, 1), None).tolist() == [False, False, True]
    assert constraint.mask((0,), None).tolist() == [True, True, True]


@pytest.mark.parametrize(
    ("test", "given"),
    [
        ("not contains(s, word)", {"word": LONG}),
        ("not any(contains(s, w) for w in words)", {"words": [LONG, "b"]}),
        ("matches(s, word) or s == 'ab'", {"word": "(a|b)*a(a|b){25}"}),
    ],
)
def test_a_condition_past_the_bounds_decides_as_ever(test, given):
    program = parsed(test)(**given)
    result = program.run("smc", particles=8)
    model, written = program.feynman_kac(), program.without().feynman_kac()
    assert_same_masses(exact_measure(model), exact_measure(written), 1e-12)
    late = [note for note in result.notes if "FK501" in note]
    if "matches" in test:  # it is tried at every token
        assert not late
    else:
        (note,) = late
        assert note.startswith("p.fk:8: this is checked only when the text is complete")


def test_a_run_that_died_says_what_guided_nothing():
    with pytest.raises(PopulationDied) as died:
        parsed("contains(s, word)")(word=LONG).run("smc", particles=4)
    assert sum("FK501" in fact for fact in died.value.facts) == 1


def test_a_small_condition_is_not_spoken_of():
    notes = parsed("contains(s, word)")().run("smc", particles=8).notes
    assert not any("FK501" in note for note in notes)


def test_what_is_made_of_a_long_list_is_made_once(monkeypatch):
    made = []
    whole = make_constraint.function

    def counted(*args):
        made.append(whole(*args))
        return made[-1]

    monkeypatch.setattr("fkdsl.proposals.text_masks.make_constraint", counted)
    program = parsed("not any(contains(s, w) for w in words)")(words=["bb", "aaa"])
    result = program.run("smc", particles=8, seed=3)
    assert result.log_z == pytest.approx(program.exact().log_z, abs=1.0)
    assert len(made) == 1
