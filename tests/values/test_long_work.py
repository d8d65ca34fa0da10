"""A deadline ends the library's own long loops, and those of automata, well before they would end;
what they give is what it was."""

import time
from contextlib import contextmanager
from functools import cache
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fkdsl
from fkdsl.base import deadline
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.random import KeyedRng
from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.languages import Both, Length, Matches, Texts
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.machine.particle import Executable, RunningParticle
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.values.library import sequences, text
from fkdsl.values.nesting import nesting, verify_nesting
from fkdsl.values.values import Record, Token, show, show_beginning

SHORT = 0.005


@contextmanager
def ended_at_once(seconds=SHORT):
    """What is done inside passes a deadline, and ends within a second of CPU time."""
    began = time.thread_time()
    with pytest.raises(DeadlinePassed), until(Deadline(seconds)):
        yield
    assert time.thread_time() - began < 1.0


LONG = "Él vio. La casa " * 300_000


@cache
def mixed():
    """Many numbers in no order, made when a test first wants them."""
    draw = Random(7).random
    return tuple(draw() for _ in range(1_500_000))


CALLS = {
    "words": lambda: text.words(LONG),
    "sentences": lambda: text.sentences(LONG),
    "letters": lambda: text.letters(LONG),
    "syllables": lambda: text.syllables(LONG),
    "sorted, of a text": lambda: sequences.sorted_(LONG * 2, False),
    "sorted, of numbers": lambda: sequences.sorted_(mixed(), False),
    "max": lambda: sequences.max_(LONG),
    "sum": lambda: sequences.sum_(mixed() * 2),
    "zip": lambda: sequences.zip_(mixed(), mixed()),
    "enumerate": lambda: sequences.enumerate_(mixed(), 0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_deadline_ends_a_function_of_a_long_text_or_list(call):
    mixed()
    with ended_at_once():
        call()


PIECES = st.lists(
    st.integers(0, 3) | st.sampled_from([Token(0, "b", False), Token(1, "a", False), "a", "c"])
)


@given(items=PIECES, reverse=st.booleans())
def test_in_pieces_the_answers_are_the_same(items, reverse):
    texts = [x for x in items if not isinstance(x, int)]
    numbers = tuple(x for x in items if isinstance(x, int))
    string = ".".join(map(str, texts)) + ". é'a b-c "
    whole = _answers(tuple(texts), numbers, string, reverse)
    with pytest.MonkeyPatch.context() as patch:
        for module in (deadline, text, sequences):
            patch.setattr(module, "PIECE", 3)
        assert _answers(tuple(texts), numbers, string, reverse) == whole


def _answers(texts, numbers, string, reverse):
    found = [
        sequences.sorted_(texts, reverse), sequences.sorted_(numbers, reverse),
        sequences.sorted_(string, reverse), sequences.zip_(numbers, string),
        sequences.enumerate_(string, 2), sequences.sum_(numbers), text.all_words(string),
        text.sentences(string), text.letters(string), text.syllables(string),
    ]  # fmt: skip
    found += [f(xs) for f in (sequences.min_, sequences.max_) for xs in (texts, numbers) if xs]
    # Tokens of one text are equal: which of them comes first is part of the answer.
    return [[(repr(x), type(x)) for x in f] if isinstance(f, tuple) else f for f in found]


def test_a_deadline_ends_the_making_of_an_automaton():
    texts = tuple("".join(Random(i).choices("abcdefgh", k=14)) for i in range(6_000))
    with ended_at_once():
        Automaton(Texts(texts))


def test_a_deadline_ends_the_reading_of_a_long_text_and_leaves_the_automaton_whole():
    automaton = Automaton(Matches("(a|b)*a(a|b){14}"))
    with ended_at_once():
        automaton.read(automaton.start, "aabab" * 1_000_000)
    assert automaton.accepts("a" * 15)
    assert not automaton.accepts("b" * 15)


def test_a_deadline_ends_the_search_for_distances_and_they_are_found_afterwards():
    draw = Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz "
    tokens = {"".join(draw.choices(letters, k=draw.randint(1, 9))).encode() for _ in range(30_000)}
    tokens |= {bytes([b]) for b in range(256)}
    vocabulary = Vocabulary((b"", *sorted(tokens)), frozenset({0}))
    automaton = Automaton(Both((Length(0, 90), Matches("[a-z ]*"))))
    masks = RegularMasks(automaton, vocabulary)
    with ended_at_once(0.0):
        masks.distances()
    assert masks.distances()[automaton.start] == 0.0


def test_a_deadline_ends_the_walk_of_a_value_of_many_parts():
    value = tuple((i, (i,)) for i in range(50_000))
    assert nesting(value).parts == 4 * 50_000 + 1
    with ended_at_once(0.0):
        verify_nesting(value)


SHARED = """
model m = table:
    "" -> "a": 0.5, "b": 0.5

program main() -> int:
    lm = prompt("")
    xs = [[1], [2], [3]]
    for i in range(14):
        xs = xs + xs
    while lm.tokens < 9:
        t ~ lm
        condition t == "a" or len(xs) > lm.tokens
    return len(xs)
"""


def test_a_deadline_ends_a_step_of_particles_that_each_hold_a_value_of_many_parts():
    model = fkdsl.parse(SHARED).feynman_kac()
    rngs = [KeyedRng(i) for i in range(300)]
    states, _ = model.initial(rngs)
    with ended_at_once(0.4):  # so that the first round has begun
        model.step(rngs, states)


def test_what_is_told_of_a_cut_run_is_short_where_values_are_long():
    model = fkdsl.parse(SHARED).feynman_kac()
    (state,), _ = model.initial([KeyedRng(0)])
    began = time.thread_time()
    texts = {model.describe(state) for _ in range(300)}
    assert time.thread_time() - began < 1.0
    assert texts == {f"xs={show(((1,), (2,), (3,)) * 99)[:400]}..., i=13"}


NESTED = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda v: (
        st.lists(v, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab", max_size=2), v, max_size=2).map(Record)
    ),
)


@given(NESTED, st.integers(0, 20))
def test_the_beginning_of_what_is_shown_is_that(value, most):
    whole = show(value)
    assert show_beginning(value, 10_000) == whole
    assert show_beginning(value, most) == (whole if len(whole) <= most else whole[:most] + "...")


def test_a_large_text_is_a_reason_to_look_at_the_deadline():
    """The interpreter looks at every sixteenth instruction, each of which may make 10 MB."""
    particle = RunningParticle(Executable("main", {}, False), {}, KeyedRng())
    with until(Deadline(0.0)):
        particle.charge(1000)
    with ended_at_once(0.0):
        particle.charge(10_000_000)
