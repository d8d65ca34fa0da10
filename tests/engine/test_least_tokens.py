"""Bounds on the tokens that are left, for automata that are too large to measure: they refuse
nothing that can be completed, and what is far off they do."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints import regular
from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.expressions import Algebra
from fkdsl.engine.constraints.languages import Both, Complement, Contains, Length, Matches
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.models.vocabulary import Vocabulary
from tests.engine.test_constraint_regular import (
    NESTED,
    UNTILS,
    languages,
    viable,
    vocabularies,
    walks,
)


def unmeasured(language, until, vocabulary, explored):
    """The masks of an automaton that counts as too large to measure, or to explore too."""
    made = Automaton(language, until, most_explored=2_000 if explored else 0)
    masks = RegularMasks(made, vocabulary)
    assert masks.automaton.explored is explored
    return masks


@settings(max_examples=60, deadline=None)
@given(
    st.data(),
    languages,
    st.sampled_from(UNTILS + NESTED),
    vocabularies(pieces=True),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
)
def test_no_token_is_refused_that_can_be_completed(
    data, language, until, vocabulary, left, explored
):
    with patch.object(regular, "MEASURED", 0):
        masks = unmeasured(language, until, vocabulary, explored)
        for ids in walks(data, vocabulary, until):
            mask = masks.mask(masks.position(ids), left)
            assert not (~mask & viable(vocabulary, ids, until, left, language)).any(), ids


def test_a_bound_that_is_too_high_would_be_seen():
    """A planted bug: every character counts as a token."""
    vocabulary = Vocabulary((b"a", b"ab", b"b", b""), frozenset({3}))
    right = RegularMasks(Automaton(Length(5, -1)), vocabulary)
    expected = right.mask(right.position((1,)), 1)
    with (
        patch.object(regular, "MEASURED", 0),
        patch.object(regular, "costs", lambda tree, symbols, *_: np.ones(symbols)),
    ):
        wrong = unmeasured(Length(5, -1), "", vocabulary, False)
        assert (expected & ~wrong.mask(wrong.position((1,)), 1)).any()


@pytest.mark.parametrize(
    ("language", "left", "allowed"),
    [
        (Length(5_000, -1), 1_249, {"abcd"}),
        (Length(5_000, -1), 1_250, {"a", "abc", "abcd", "1"}),
        (Both((Length(5_000, -1), Complement(Contains("ab")))), 4_000, {"a", "1"}),
        (Matches("[a-d]{2500}1{2500}"), 3_123, set()),
        (Matches("[a-d]{2500}1{2500}"), 3_124, {"abcd"}),
        (Matches("[a-d]{2500}1{2500}"), 3_125, {"a", "abc", "abcd"}),
    ],
)
def test_a_large_automaton_looks_ahead_by_what_characters_cost_at_least(language, left, allowed):
    """Of letters a token has four at most, of digits one."""
    texts = ["a", "abc", "abcd", "1"]
    vocabulary = Vocabulary((*(t.encode() for t in texts), b""), frozenset({4}))
    masks = RegularMasks(Automaton(language), vocabulary)
    assert masks.distances() is None
    mask = masks.mask(masks.position(()), left)
    assert {t for t, m in zip(texts, mask, strict=False) if m} == allowed


def test_a_deep_expression_is_bounded_without_a_deep_walk():
    masks = RegularMasks(Automaton(Matches("a" * 4_000)), Vocabulary((b"aa", b"a"), frozenset()))
    start = np.array([masks.automaton.start])
    assert isinstance(masks.automaton.algebra, Algebra)
    assert masks._least_tokens(start) == pytest.approx(2_000)
