"""The tokens that are left: the arithmetic that masks, bounds and look-ahead share."""

import numpy as np
import pytest

from fkdsl.engine.constraints import regular, tokens_left
from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.languages import Length
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.models.vocabulary import Vocabulary

V = Vocabulary((b"a", b"bb", b""), ends=frozenset({2}))


def test_what_is_left_goes_down_to_nothing():
    left = tokens_left.tokens_left(stop=6, length=3)
    seen = []
    while not tokens_left.is_spent(left):
        seen.append(left)
        left = tokens_left.one_later(left)
    assert seen == [2, 1, 0]
    assert tokens_left.one_later(left) == left
    assert tokens_left.one_later(None) is None
    assert not tokens_left.is_spent(None)


def test_a_sum_of_parts_of_tokens_may_round_up():
    thirds = np.array([sum([1 / 3] * 9), 3.1, np.inf])
    assert tokens_left.suffices(thirds, 3).tolist() == [True, False, False]
    assert tokens_left.suffices(thirds, None).tolist() == [True, True, False]


@pytest.mark.parametrize("bug", [0, 1])
def test_a_mask_that_counts_one_token_too_many_is_caught(monkeypatch, bug):
    """Of exactly five characters: after "bb" one token more than the next one is too few, but by
    "bb"."""
    right = tokens_left.suffices
    monkeypatch.setattr(regular, "suffices", lambda n, left: right(n, left and left + bug))
    masks = RegularMasks(automaton(Length(5, 5)), V)
    assert masks.mask(masks.position((1,)), 1).tolist() == [True, True, False]
    assert masks.mask(masks.position((0,)), 1).tolist() == [bool(bug), True, False]
