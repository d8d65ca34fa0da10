"""Tables of automata: what and, or, not and stops make of them, against derivatives, which share
nothing with it but the simple parts."""

from itertools import product as every

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints import automaton as made
from fkdsl.engine.constraints.automaton import DEAD, Automaton
from fkdsl.engine.constraints.languages import Both, Complement, Contains, Length, item_count
from fkdsl.engine.constraints.stops import Ending
from fkdsl.engine.constraints.tables import Table, TooLarge, product
from fkdsl.engine.constraints.transducers import before_stop
from tests.engine.languages import NESTED, UNTILS, languages


@settings(max_examples=60)
@given(languages, st.sampled_from(UNTILS + NESTED), st.sampled_from(Ending))
def test_a_table_has_the_texts_that_derivatives_follow(language, until, ending):
    whole = Automaton(language, until, ending)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "table_of", lambda *given: None)
        plain = Automaton(language, until, ending)
    assert whole.size <= plain.size
    for n in range(4):
        for s in map("".join, every("abé\n\ufffd", repeat=n)):
            assert whole.accepts(s) == plain.accepts(s), s


@given(st.data())
def test_products_and_the_smallest_table_keep_the_language(data):
    tables = [
        Table(
            np.array(data.draw(rows), dtype=np.int32),
            np.array(data.draw(st.lists(st.booleans(), min_size=4, max_size=4))),
        )
        for rows in [
            st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=4, max_size=4)
        ]
        * 2
    ]
    a, b = tables
    small = a.smaller()
    assert len(set(map(signature(small), range(small.size)))) == small.size
    for n in range(6):
        for word in every(range(2), repeat=n):
            in_a, in_b = accepts(a, word), accepts(b, word)
            assert accepts(small, word) == in_a
            assert accepts(product(a, b), word) == (in_a and in_b)
            assert accepts(product(a, b, either=True), word) == (in_a or in_b)
            assert accepts(a.complement(), word) == (not in_a)


def accepts(table, word, state=0):
    for symbol in word:
        state = table.after[state, symbol]
    return bool(table.accepting[state])


def signature(table):
    """What tells the states of a small table apart: the short words that they accept."""
    words = [w for n in range(5) for w in every(range(2), repeat=n)]
    return lambda state: tuple(accepts(table, w, state) for w in words)


def test_what_stands_before_a_stop_is_read_off_the_text():
    stops = [tuple(map(ord, s)) for s in ("b", "aba", "cc")]
    before, has_ended = before_stop(stops)
    for n in range(6):
        for text in map("".join, every("abc", repeat=n)):
            state, written = before.start, []
            for c in map(ord, text):
                ((state, more),) = before.step(state, c)
                written += more
            written += before.final(state)
            at = min((text.find(s) for s in ("b", "aba", "cc") if s in text), default=None)
            assert "".join(map(chr, written)) == text[:at]
            assert has_ended(state) == (at is not None)


def test_large_products_are_explored_whole_and_those_beyond_the_bounds_are_followed_as_they_go():
    words = tuple(Contains(w) for w in ("sea", "wind", "salt"))
    whole = Automaton(Both((*words, Length(60, 70))), "\n\n")
    assert whole.explored
    assert 4_000 < whole.size < 5_000
    assert whole.accepts("sea wind salt".ljust(65))
    assert not whole.accepts("sea wind salt".ljust(59))
    assert not whole.live[DEAD]
    more = Automaton(Both((*words, Complement(Contains("zebra")), Length(0, 900))))
    assert not more.explored
    assert more.accepts("a sea of salt in the wind")
    assert not more.accepts("a sea of salt in the winter")
    ones = Table(np.zeros((5_000, 1), dtype=np.int32), np.ones(5_000, dtype=np.bool_))
    with pytest.raises(TooLarge):
        product(ones, ones)


def test_the_words_of_a_long_text_have_a_small_automaton():
    assert Automaton(item_count("words", 9, 9), "\n").size <= 40
