"""Laws of every resampling scheme, path by path, and of their expectations, by enumeration of their
randomness."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import enumerate_outcomes, expectation
from fkdsl.inference.samplers.resampling import RESAMPLING, optimal_reduction

weights = st.lists(
    st.sampled_from((0.0, 1.0, 1.0, 2.0, 0.5, 3.3, 1e-9, 1e3)), min_size=1, max_size=5
).filter(any)
seeds = st.integers(0, 10_000)


def normal(ws):
    W = np.array(ws)
    return W / W.sum()


@pytest.mark.parametrize("scheme", RESAMPLING)
@given(ws=weights, n=st.integers(1, 3))
def test_expected_offspring_is_n_times_the_weight(scheme, ws, n):
    W = normal(ws)
    for j in range(len(W)):
        mean = expectation(lambda rng: RESAMPLING[scheme](rng, W, n), lambda A, j=j: A.count(j))
        assert abs(mean - n * W[j]) <= 1e-9


@pytest.mark.parametrize("scheme", RESAMPLING)
@given(ws=weights, n=st.integers(1, 20), seed=seeds)
def test_the_count_is_n_the_dead_stay_dead_and_survivors_come_in_order(scheme, ws, n, seed):
    W = normal(ws)
    A = RESAMPLING[scheme](KeyedRng(seed), W, n)
    assert len(A) == n
    assert sorted(A) == A
    assert all(W[a] > 0.0 for a in A)


@pytest.mark.parametrize("scheme", ["systematic", "stratified", "residual", "ssp"])
@given(ws=weights, n=st.integers(1, 20), seed=seeds)
def test_low_variance_schemes_stay_near_the_expected_count(scheme, ws, n, seed):
    W = normal(ws)
    A = RESAMPLING[scheme](KeyedRng(seed), W, n)
    for j, w in enumerate(W):
        if scheme in ("systematic", "ssp"):
            assert math.floor(n * w - 1e-9) <= A.count(j) <= math.ceil(n * w + 1e-9)
        else:
            assert A.count(j) >= math.floor(n * w - 1e-9) - (2 if scheme == "stratified" else 0)


wide = st.lists(
    st.one_of(
        st.just(0.0),
        st.floats(-300, 0).map(lambda e: 10.0**e),
        st.sampled_from((1.0, 1 / 3, 1e-300, 5e-324)),
    ),
    min_size=1,
    max_size=60,
).filter(lambda ws: max(ws) > 1e-250)


@pytest.mark.parametrize("scheme", RESAMPLING)
@given(ws=wide, n=st.sampled_from((1, 2, 7, 64, 1000)), seed=seeds)
def test_weights_that_span_all_of_float64_keep_the_count_and_the_dead_dead(scheme, ws, n, seed):
    W = normal(ws)
    A = RESAMPLING[scheme](KeyedRng(seed), W, n)
    assert len(A) == n
    assert sorted(A) == A
    assert all(ws[a] > 0.0 for a in A)


@given(ws=wide, n=st.integers(1, 59), seed=seeds)
def test_the_reduction_holds_its_laws_where_weights_span_all_of_float64(ws, n, seed):
    kept, lw = optimal_reduction(KeyedRng(seed), logs(ws), n)
    assert len(set(kept)) == len(kept) == min(n, sum(w > 0 for w in ws))
    assert all(ws[j] > 0.0 for j in kept)
    assert abs(np.exp(lw).sum() - sum(ws)) <= 1e-9 * sum(ws)
    # No weight is lowered, so the heaviest are never lost for a light one.
    assert all(new >= old - 1e-9 for new, old in zip(lw, logs(ws)[kept], strict=True))


@pytest.mark.parametrize("scheme", RESAMPLING)
def test_equal_weights_and_one_certain_weight(scheme):
    if scheme not in ("multinomial",):
        assert RESAMPLING[scheme](KeyedRng(1), np.full(7, 1 / 7), 7) == list(range(7))
    assert RESAMPLING[scheme](KeyedRng(1), np.array([0.0, 1.0, 0.0]), 4) == [1] * 4


def logs(ws, scale=1.0):
    with np.errstate(divide="ignore"):
        return np.log(np.array(ws) * scale)


@given(ws=weights, n=st.integers(1, 4), seed=seeds)
def test_the_reduction_conserves_the_sum_on_every_path(ws, n, seed):
    kept, lw = optimal_reduction(KeyedRng(seed), logs(ws), n)
    live = sum(w > 0 for w in ws)
    assert len(kept) == min(n, live)
    assert kept == sorted(set(kept))
    assert all(ws[j] > 0 for j in kept)
    assert abs(np.exp(lw).sum() - sum(ws)) <= 1e-9 * sum(ws)


@given(ws=weights, n=st.integers(1, 4))
def test_the_reduction_keeps_every_weight_in_expectation(ws, n):
    for j, w in enumerate(ws):
        mean = expectation(
            lambda rng: optimal_reduction(rng, logs(ws), n),
            lambda r, j=j: math.exp(r[1][r[0].index(j)]) if j in r[0] else 0.0,
        )
        assert abs(mean - w) <= 1e-9 * sum(ws)


@given(
    ws=weights, n=st.integers(1, 4), seed=seeds, scale=st.sampled_from((1e-200, 1e-3, 7.0, 1e200))
)
def test_the_reduction_does_not_depend_on_the_weights_scale(ws, n, seed, scale):
    kept, lw = optimal_reduction(KeyedRng(seed), logs(ws), n)
    kept2, lw2 = optimal_reduction(KeyedRng(seed), logs(ws) + math.log(scale), n)
    assert kept == kept2
    assert np.allclose(lw + math.log(scale), lw2, rtol=0, atol=1e-9)


def test_at_most_n_live_weights_are_kept_unchanged():
    lw = np.array([-1.0, -np.inf, -300.0, -np.inf])
    kept, new = optimal_reduction(KeyedRng(0), lw, 3)
    assert kept == [0, 2]
    assert list(new) == [-1.0, -300.0]


def test_weights_beyond_the_reach_of_floats_are_reduced_without_losing_the_largest():
    lw = np.array([0.0, -800.0, -900.0, -1000.0, -2000.0])
    for seed in range(20):
        kept, new = optimal_reduction(KeyedRng(seed), lw, 3)
        assert len(kept) == 3
        assert kept[0] == 0
        assert np.isfinite(new).all()


def test_large_weights_are_kept_for_certain():
    # With N = 3, c solves min(1, .5c) + ... = 3: .5 and .2 are certain; see inference.md.
    ws = [0.5, 0.2, 0.1, 0.1, 0.05, 0.05]
    for _, (kept, _) in enumerate_outcomes(lambda rng: optimal_reduction(rng, logs(ws), 3)):
        assert 0 in kept
        assert len(kept) == 3
