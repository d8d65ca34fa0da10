"""Automata of languages: what is drawn for a text of a language, up to and behind `until`; and what
is too complex."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import EXPLORED_STATES, MOST_STATES, Automaton
from fkdsl.engine.constraints.language_parts import is_regular
from fkdsl.engine.constraints.languages import (
    Both,
    Complement,
    Contains,
    EndsWith,
    JsonText,
    Length,
    Matches,
    StartsWith,
    Texts,
)
from tests.engine.drawn_texts import cut, member
from tests.engine.languages import NESTED, UNTILS, languages

DRAWN = st.text("aabb\né☃\ufffdz", max_size=8)


@settings(max_examples=150)
@given(languages, st.sampled_from(UNTILS + NESTED), st.lists(DRAWN, min_size=8, max_size=16))
def test_an_automaton_accepts_what_ends_in_the_language(language, until, drawn):
    automaton = Automaton(language, until)
    for u in ["", *"abé☃\n\ufffd", *drawn]:
        text = cut(u, until)
        assert automaton.accepts(u) == member(language, u if text is None else text), (u, text)


@given(languages, st.sampled_from(UNTILS + NESTED), DRAWN)
def test_a_state_that_is_not_live_accepts_no_continuation(language, until, u):
    automaton = Automaton(language, until)
    states = np.array(
        [automaton.read(automaton.start, u[:k]) for k in range(len(u) + 1)], dtype=np.int32
    )
    live = automaton.is_live(states).tolist()
    assert live == sorted(live, reverse=True)
    for state in states[~automaton.is_live(states)].tolist():
        assert not any(
            automaton.accepting[automaton.read(state, v)] for v in ["", "a", "b", "é", "ab", "☃b\n"]
        )


@pytest.mark.parametrize("text", ["\ufffd", "a\ufffd"])
def test_a_text_with_the_replacement_character_is_itself_but_matches_nothing(text):
    assert Automaton(Texts((text,)), "").accepts(text)
    assert not Automaton(Matches(text), "").accepts(text)


EMPTY = [
    Both((Matches("a+"), Matches("b+"))),
    Both((StartsWith("a"), Complement(Contains("a")))),
    Both((StartsWith("ab"), StartsWith("ba"))),
    Both((EndsWith("a"), EndsWith("b"))),
    Both((Length(4, 9), Matches(".{0,3}"))),
    Both((Contains("ab"), Length(0, 1))),
    Texts(()),
    Matches("\ufffd"),
    Matches("a(?!.*)"),
    Length(3, 2),
    Contains("\ud800"),
    Both((Length(1, 1), Complement(Matches("(?s).")), Complement(Contains("\ufffd")))),
    Complement(Length(-1, -1)),
]


@pytest.mark.parametrize("until", ["", "\n", "aba"])
@pytest.mark.parametrize("language", EMPTY, ids=str)
def test_a_contradiction_is_found_to_be_empty(language, until):
    assert Automaton(language, until).is_empty


def test_a_text_that_must_hold_until_is_a_contradiction():
    assert Automaton(Contains("a\nb"), "\n").is_empty
    assert not Automaton(Contains("a\nb"), "\n\n").is_empty


COMPLEX = [
    "(a|b)*a(a|b){30}",
    ".*" * 50,
    ".{0,100}" * 50,
    r"(\w{1,200} ){1,200}",
    r"((\w{1,200} ){1,200}\n){1,100}",
    "(.{0,60}a.{0,60}){0,50}",
    "(((a{0,9}b?){0,9}c?){0,9}d?){0,9}e",
    "a" * 5_000,
    "".join(f"[a-{chr(200 + i)}]" for i in range(300)),
]


@pytest.mark.parametrize("until", ["", "\n"])
@pytest.mark.parametrize("pattern", COMPLEX, ids=lambda p: p[:30])
def test_complex_patterns_take_little_time_and_room_and_refuse_nothing_that_they_match(
    pattern, until
):
    began = time.process_time()
    automaton = Automaton(Matches(pattern), until)
    matching = [
        "a" * 5_000,
        "ab" * 20,
        "a" * 100 + " ",
        "word " * 40,
        "e",
        "x" * 300,
        "ab" * 900,
        "b" * 60 + "a" * 31,
    ]
    language = Matches(pattern)
    for text in matching:
        if len(text) < 200 and member(language, text):
            assert automaton.accepts(text)
        automaton.accepts(text)
    assert time.process_time() - began <= 10.0  # about 0.5 s; more only where the machine is slow
    assert automaton.size <= MOST_STATES
    assert not automaton.explored or automaton.size <= 2 * EXPLORED_STATES


def test_beyond_its_bounds_an_automaton_accepts_too_much_and_never_too_little():
    automaton = Automaton(Matches(r"(\w{1,200} ){1,200}"))
    assert automaton.exact
    assert not automaton.accepts("word " * 40 + ".")
    automaton.algebra.parts = 0
    assert automaton.accepts("word " * 60)
    assert automaton.accepts("word " * 60 + ".")
    assert not automaton.exact
    assert not automaton.accepts("word " * 40 + ".")


def test_a_long_list_of_texts_has_a_small_automaton():
    texts = tuple(f"word{i}" for i in range(5_000))
    automaton = Automaton(Texts(texts))
    assert automaton.explored
    assert automaton.accepts("word4999")
    assert not automaton.accepts("word5000")


def test_schemas_and_grammars_are_not_regular():
    assert is_regular(Both((Matches("a"), Complement(Contains("b")))))
    assert not is_regular(Both((Matches("a"), Complement(JsonText("")))))
