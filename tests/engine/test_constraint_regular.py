"""Masks of regular languages against every way in which a text may go on."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import Automaton, automaton
from fkdsl.engine.constraints.closed import ClosedMasks
from fkdsl.engine.constraints.languages import (
    Complement,
    Contains,
    Length,
    Matches,
    StartsWith,
    Texts,
)
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.models.vocabulary import Vocabulary, decoded_text
from tests.engine.drawn_texts import completions, decoded, finished, member, stopped, unfinished
from tests.engine.languages import NESTED, UNTILS, languages

WHOLE = [
    b"a",
    b"b",
    b"\n",
    b"ab",
    b"aba",
    b"ba",
    b"a\nb",
    b"bb",
    "é".encode(),
    "☃".encode(),
    "\ufffd".encode(),
]
PIECES = [
    b"\xc3",
    b"\xa9",
    b"\xe2\x98",
    b"\x83a",
    b"\xff",
    b"\x98",
    b"\xe2",
    b"a\xe2",
    b"\x83",
    b"\xa9\xc3",
    b"\xa9\xa9",
]
PIECES += [b"\xf0\x9f", b"\xed", b"\xa0", b"\xed\xa0", b"\xa9\xed\xa0", b"\x83\n"]


def vocabularies(pieces):
    """Some tokens, perhaps one without text, and an end."""
    return st.builds(
        lambda whole, broken, silent: Vocabulary(
            (*whole, *broken, *([b""] if silent else []), b""),
            frozenset({len(whole) + len(broken) + silent}),
        ),
        st.lists(st.sampled_from(WHOLE), min_size=1, max_size=3, unique=True),
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=3, unique=True)
        if pieces
        else st.just([]),
        st.booleans(),
    )


def walks(data, vocabulary, until):
    """A text of some tokens that is not finished, and each one on the way to it."""
    ids = ()
    yield ids
    for _ in range(data.draw(st.integers(0, 3))):
        going = unfinished(vocabulary, ids, until)
        if not going:
            return
        ids = (*ids, data.draw(st.sampled_from(going)))
        yield ids


def viable(vocabulary, ids, until, left, language):
    """(V,) the tokens that some draws complete to a text of the language: of at most `left` more
    tokens, or of two and an end that is no budget's."""
    more, budget = (2, False) if left is None else (left, True)
    return [
        any(member(language, s) for s in completions(vocabulary, (*ids, x), until, more, budget))
        for x in range(vocabulary.size)
    ]


def test_the_oracle_finishes_texts_as_by_hand():
    v = Vocabulary((b"a", b"a\nb", b"\xc3", b"\xa9", b""), frozenset({4}))
    assert stopped(b"a\nb", "\n") == "a"
    assert stopped(b"a\xc3", "\n") is None
    assert decoded(b"a\xc3") == "a"
    assert finished(v, (0, 4), "", False) == {"a"}
    assert finished(v, (0, 2, 4), "", False) == {"a\ufffd"}
    assert finished(v, (0, 2), "", False) == set()
    assert finished(v, (0, 2), "", True) == {"a"}
    assert finished(v, (0, 1), "\n", False) == {"aa"}
    assert completions(v, (2,), "\n", 1) == {"\ufffda", "é", "\ufffd"}
    assert completions(v, (0,), "a", 1) == {""}


@settings(max_examples=100)
@given(
    st.data(),
    languages,
    st.sampled_from(UNTILS),
    vocabularies(pieces=False),
    st.sampled_from([0, 1, 2, 3]),
)
def test_with_whole_characters_a_mask_with_a_budget_is_exact(
    data, language, until, vocabulary, left
):
    masks = RegularMasks(Automaton(language, until), vocabulary)
    for ids in walks(data, vocabulary, until):
        expected = viable(vocabulary, ids, until, left, language)
        assert masks.mask(masks.position(ids), left).tolist() == expected, ids


@settings(max_examples=150)
@given(
    st.data(),
    languages,
    st.sampled_from(UNTILS + NESTED),
    vocabularies(pieces=True),
    st.sampled_from([None, 0, 1, 2]),
)
def test_no_token_is_refused_that_can_be_completed(data, language, until, vocabulary, left):
    masks = RegularMasks(Automaton(language, until), vocabulary)
    for ids in walks(data, vocabulary, until):
        mask, expected = (
            masks.mask(masks.position(ids), left),
            viable(vocabulary, ids, until, left, language),
        )
        assert not (~mask & expected).any(), ids
        assert [mask[x] for x in vocabulary.ends] == [expected[x] for x in vocabulary.ends]


@settings(max_examples=60)
@given(
    st.data(),
    languages,
    st.sampled_from(UNTILS),
    vocabularies(pieces=True),
    st.sampled_from([None, 0, 1, 2]),
)
def test_none_is_refused_where_the_automaton_is_too_large_to_know(
    data, language, until, vocabulary, left
):
    automaton = Automaton(language, until, most_explored=0)
    masks = RegularMasks(automaton, vocabulary)
    assert masks.distances() is None
    for ids in walks(data, vocabulary, until):
        expected = viable(vocabulary, ids, until, left, language)
        assert not (~masks.mask(masks.position(ids), left) & expected).any(), ids


@given(st.data(), languages, st.sampled_from(["", "\n", "ab"]))
def test_without_a_budget_a_mask_of_whole_characters_is_exact(data, language, until):
    letters = [c.encode() for c in "ab\né☃z\ufffdA \r"]
    vocabulary = Vocabulary((*letters, b"ab", b"a\nb", b""), frozenset({len(letters) + 2}))
    automaton = Automaton(language, until)
    masks = RegularMasks(automaton, vocabulary)
    for ids in walks(data, vocabulary, until):
        mask = masks.mask(masks.position(ids), None)
        for x in np.flatnonzero(mask).tolist():
            if x not in vocabulary.ends:
                assert reaches(masks, vocabulary, (*ids, x), until, language), (ids, x)


def reaches(masks, vocabulary, ids, until, language):
    """Whether some tokens finish the text in the language: breadth first, one text for each state
    of the automaton."""
    seen, todo = set(), [ids]
    while todo:
        ids = todo.pop(0)
        text = stopped(vocabulary.raw(ids), until)
        if member(language, decoded(vocabulary.raw(ids)) if text is None else text):
            return True
        if text is None and masks.position(ids) not in seen:
            seen.add(masks.position(ids))
            todo += [(*ids, x) for x in range(vocabulary.size) if vocabulary.tokens[x]]
    return False


@given(languages, vocabularies(pieces=True))
def test_distances_are_never_too_long(language, vocabulary):
    masks = RegularMasks(Automaton(language), vocabulary)
    distances = masks.distances()
    tokens = [x for x in range(vocabulary.size) if x not in vocabulary.ends]
    for length in range(4):
        for ids in product(tokens, repeat=length) if len(tokens) < 6 else []:
            if member(language, decoded(vocabulary.raw(ids))):
                assert distances[masks.automaton.start] <= length
                return


def test_distances_are_the_fewest_tokens():
    vocabulary = Vocabulary((b"a", b"b", b"ab", b"\xc3", b"\xa9", b""), frozenset({5}))
    for language, fewest in [
        (Matches("(ab){3}"), 3),
        (Matches("aab"), 2),
        (Texts(("é",)), 1),
        (StartsWith("z"), np.inf),
    ]:
        masks = RegularMasks(Automaton(language), vocabulary)
        assert masks.distances()[masks.automaton.start] == fewest


@given(languages, vocabularies(pieces=True))
def test_tokens_of_equal_classes_are_followed_as_one(language, vocabulary):
    """The tree of classes is the tree of the tokens with equal ones merged."""
    masks = RegularMasks(Automaton(language), vocabulary)
    automaton = masks.automaton
    assert masks.classes.size <= len(masks.tree.parent)
    for state in range(min(automaton.size, 5)):
        after = masks.after_tokens(state)
        for i, raw in enumerate(vocabulary.tokens):
            if masks.tree.node[i] >= 0:
                assert after[i] == automaton.read(state, raw.decode())


@pytest.mark.parametrize("until", ["", "\n"])
def test_positions_of_long_texts_need_no_deep_stack(until):
    vocabulary = Vocabulary((b"a", b"\xc3", b"\xa9"), frozenset())
    masks = RegularMasks(Automaton(Length(0, -1), until), vocabulary)
    ids = (0, 1, 2, 1) * 3_000
    assert masks.position(ids) == (masks.automaton.start, b"\xc3")
    assert masks.position(ids) == RegularMasks(masks.automaton, vocabulary).position(ids)


def test_half_a_surrogate_is_held_back_as_python_does():
    vocabulary = Vocabulary((b"ab", b"\xed", b"\xa0", b"\xed\xa0", b""), frozenset({4}))
    masks = RegularMasks(Automaton(Length(2, -1), ""), vocabulary)
    for ids in [(1, 2), (3,)]:
        assert masks.mask(masks.position(ids), 0).tolist() == [True, True, True, True, True]


def test_masks_do_not_change_when_they_are_asked_again():
    vocabulary = Vocabulary((b"a", b"b", b"\xc3", b"\xa9", b""), frozenset({4}))
    masks = RegularMasks(Automaton(Matches("(a|é){1,3}b"), "\n"), vocabulary)
    texts = [ids for n in range(4) for ids in product(range(4), repeat=n)]
    first = [
        masks.mask(masks.position(ids), left).copy() for ids in texts for left in (None, 0, 1, 2)
    ]
    again = [
        masks.mask(masks.position(ids), left) for ids in reversed(texts) for left in (2, 1, 0, None)
    ]
    assert all((a == b).all() for a, b in zip(first, reversed(again), strict=True))


def bytes_of_texts(tokens, is_in, until, most, closed):
    """Every sequence of at most `most` tokens, the last of which ends texts, that the text of a
    language may be, and where a stop or the budget ends it."""
    good, ended, end = set(), set(), len(tokens) - 1

    def walk(ids):
        raw = b"".join(tokens[i] for i in ids)
        text = decoded_text(raw)
        if ids[-1:] == (end,):
            if is_in(decoded_text(raw, True)):
                good.add(ids)
        elif until and until in text:
            ended.add(ids)
            if is_in(text[: text.index(until)]):
                good.add(ids)
        elif len(ids) == most:
            if not closed and is_in(text):
                good.add(ids)
        else:
            for i in range(end + 1):
                walk((*ids, i))

    walk(())
    return good, ended


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("until", [".", ""])
@pytest.mark.parametrize(
    ("tokens", "exact"),
    [
        ((b"a", b".", b"\xc3", b"\xa9", b""), True),
        ((b"a", b".", b"\xe2\x82", b"\xac", b"\xac.", b""), False),
        ((b"\xac.", b"\xa9", b"\xf0\x9f", b"\xf0", b""), False),
        ((b"a", b"\xc3", b"\xe2", b"\x82", b"\x82\xac", b""), False),
    ],
)
def test_masks_of_bytes_know_how_many_an_unfinished_character_needs(tokens, exact, until, closed):
    """Exactly, where each token is one byte and characters have two. Else no token is refused after
    which the text can still be completed, or be left by its budget in the middle of a character."""
    most, end = 4, len(tokens) - 1
    vocabulary = Vocabulary(tokens, ends=frozenset({end}))
    for language, is_in in (
        (Matches("[aé€]*"), lambda s: set(s) <= set("aé€")),
        (Length(2, 2), lambda s: len(s) == 2),
        (Complement(Contains("\ufffd")), lambda s: "\ufffd" not in s),
    ):
        good, ended = bytes_of_texts(tokens, is_in, until, most, closed)
        masks = (
            ClosedMasks(language, until, vocabulary)
            if closed
            else RegularMasks(automaton(language, until), vocabulary)
        )
        beginnings = {ids[:k] for ids in good for k in range(len(ids) + 1)}
        for ids in beginnings - ended:
            if len(ids) < most and ids[-1:] != (end,):
                mask = masks.mask(masks.position(ids), most - len(ids) - 1)
                going_on = [(*ids, i) in beginnings for i in range(end + 1)]
                assert all(m or not g for m, g in zip(mask, going_on, strict=True)), (ids, language)
                assert not exact or mask.tolist() == going_on, (ids, language)
