"""Draws from what `continues` has left: shares of a part of the row, against the row that is
restricted and renormalised in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.probability_blocks import BLOCK, masked_sums
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.proposals.outcomes import FollowingOutcomes
from fkdsl.values.token_distributions import following, mask_following
from fkdsl.values.values import ContextRef


def vocabulary(size):
    return Vocabulary(tuple(b" %d" % i if i % 3 else b"%d" % i for i in range(size)), frozenset())


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([7, BLOCK, 3 * BLOCK + 7, 5 * BLOCK]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([None, 0.0, 0.3, 0.95, 1.0]),
    st.sampled_from([0.0, -40.0, -90.0, -2000.0, -np.inf]),
    st.booleans(),
)
def test_what_continues_leaves_is_the_renormalised_row(seed, size, dtype, refused, less, goes_on):
    """less: how unlikely all that is left may be, nats."""
    rng = np.random.default_rng(seed)
    words = vocabulary(size)
    row = np.log(rng.dirichlet(np.full(size, 0.5)) + 1e-9)
    row = np.where(mask_following(words, goes_on), row + less, row).astype(dtype)
    mask = None if refused is None else rng.random(size) >= refused
    expected = np.exp(following(row, goes_on, words))
    left = mask_following(words, goes_on) & (True if mask is None else mask)
    for sums in (None, masked_sums(row, left)):
        outcomes = FollowingOutcomes(row, goes_on, ContextRef(0), words, mask, sums)
        p = np.zeros(size)
        p[slice(None) if outcomes.ids is None else outcomes.ids] = np.asarray(outcomes.blocks)
        tolerance = 1e-5 if dtype == np.float32 else 1e-11
        assert p == pytest.approx(np.where(left, expected, 0.0), rel=tolerance, abs=1e-30)
        mass = float(expected[left].sum())
        assert outcomes.blocks.mass() == pytest.approx(mass, rel=tolerance, abs=1e-30)
        n = size if outcomes.ids is None else len(outcomes.ids)
        for i in {0, n // 2, n - 1} & set(range(n)):
            token = outcomes.token(i)
            assert outcomes.probability(i) == pytest.approx(p[token], rel=tolerance, abs=1e-30)
            if expected[token]:
                log_p = outcomes.log_probability(i)
                assert log_p == pytest.approx(np.log(expected[token]), rel=tolerance)
        assert outcomes.unmasked() == pytest.approx(expected, rel=tolerance, abs=1e-30)
