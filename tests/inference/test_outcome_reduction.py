"""The reduction among all outcomes of a population, against that of plain lists and by enumeration
of its one uniform."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.outcome_reduction import Scored, reduce_outcomes
from fkdsl.inference.samplers.resampling import optimal_reduction

scores = st.lists(
    st.one_of(st.just(0.0), st.sampled_from([0.25, 0.5, 1.0]), st.floats(1e-6, 1.0)),
    min_size=1,
    max_size=5,
)
populations = st.lists(
    st.tuples(scores, st.sampled_from([0.0, -1.0, 2.5, -10.0])).map(
        lambda pair: Scored(np.array(pair[0]), pair[1])
    ),
    min_size=1,
    max_size=4,
)


def flat(scored):
    """(the log score of every outcome, whose it is)."""
    with np.errstate(divide="ignore"):
        logs = [np.log(s.scores) + s.log_scale for s in scored]
    return np.concatenate(logs), [
        (k, i) for k, s in enumerate(scored) for i in range(len(s.scores))
    ]


@given(populations, st.integers(1, 6))
def test_each_outcome_is_kept_with_its_probability_and_at_its_inverse(scored, N):
    """E[1{j is kept} S_j exp(log_factor)] = S_j."""
    logs, names = flat(scored)
    kept_with = dict.fromkeys(names, 0.0)
    for p, kept in enumerate_outcomes(lambda rng: reduce_outcomes(rng, scored, N)):
        assert len(kept) == min(N, np.count_nonzero(logs > -np.inf))
        assert kept == sorted(kept)
        for k in kept:
            kept_with[k.particle, k.outcome] += p * math.exp(k.log_factor)
    for name, score in zip(names, np.exp(logs).tolist(), strict=True):
        assert kept_with[name] * score == pytest.approx(score, abs=1e-13)


@given(populations, st.integers(1, 6), st.integers(0, 10**6))
def test_it_keeps_what_the_reduction_of_plain_lists_keeps(scored, N, seed):
    logs, names = flat(scored)
    kept = reduce_outcomes(KeyedRng(seed), scored, N)
    indices, weights = optimal_reduction(KeyedRng(seed), logs, N)
    # The two lay the same outcomes end to end, and shift one uniform in the same way.
    assert [(k.particle, k.outcome) for k in kept] == [names[j] for j in indices]
    log_factors = [w - logs[j] for j, w in zip(indices, weights, strict=True)]
    assert [k.log_factor for k in kept] == pytest.approx(log_factors, abs=1e-9)


def test_a_vocabulary_of_outcomes_keeps_the_heavy_ones_for_certain():
    tail = np.full(50_000, 0.3 / 49_998, dtype=np.float32)
    tail[[7, 40_000]] = 0.5, 0.2
    kept = reduce_outcomes(KeyedRng(3), [Scored(tail, 0.0), Scored(tail[:3], -50.0)], 8)
    assert [(k.particle, k.outcome) for k in kept if k.log_factor == 0.0] == [(0, 7), (0, 40_000)]
    others = [k for k in kept if k.log_factor > 0.0]
    assert len(others) == 6
    assert [math.exp(k.log_factor) * tail[k.outcome] for k in others] == pytest.approx([0.05] * 6)


def test_nothing_is_kept_where_nothing_has_a_score():
    assert reduce_outcomes(KeyedRng(1), [Scored(np.zeros(3), 0.0)], 2) == []
    assert reduce_outcomes(KeyedRng(1), [], 2) == []


def test_no_more_than_a_few_rows_are_held_beside_the_scores():
    scores = np.random.default_rng(1).gamma(0.05, size=20_000).astype(np.float32)
    scores[5] = scores.sum()
    scored = [Scored(scores, -0.01 * k) for k in range(64)]
    tracemalloc.start()
    try:
        kept = reduce_outcomes(KeyedRng(1), scored, 200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert any(k.log_factor == 0.0 for k in kept)
    assert any(k.log_factor > 0.0 for k in kept)
    assert peak < 6 * 8 * len(scores)


def test_scores_near_the_smallest_float_are_kept_at_their_inverse():
    scored = [Scored(np.ones(1), 0.0), Scored(np.full(20, 0.05), -743.0)]
    _, (k, _, log_factor) = reduce_outcomes(KeyedRng(1), scored, 2)
    assert k == 1
    assert log_factor == pytest.approx(math.log(20), abs=0.5)  # such floats have few digits
