"""Betting against a mean: fair under the null, exactly; and able to tell when it is not."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.inference.assess import sequential
from fkdsl.inference.assess.sequential import (
    MeanTest,
    RoundPlan,
    interval,
    ratio_interval,
    smallest_error,
)

LAWS = [
    ([0.0, 1.0], [0.64, 0.36], 1.0),
    ([0.0, 0.25, 2.0], [0.5, 0.3, 0.2], 2.0),
    ([0.1, 3.0], [0.9, 0.1], 4.0),
    ([1.0], [1.0], 1.0),
]
"""(values, probabilities, bound)."""


def mean_of(values, p):
    return math.fsum(x * q for x, q in zip(values, p, strict=True))


def taken(history, mean, bound):
    test = MeanTest(mean, bound)
    for x in history:
        test.take(x)
    return test


@pytest.mark.parametrize("with_bound", [True, False])
@pytest.mark.parametrize(("values", "p", "bound"), LAWS)
def test_under_the_null_the_wealth_is_a_martingale_exactly(values, p, bound, with_bound):
    """E[K_{n+1} | history] = K_n for every history of up to three observations."""
    m, B = mean_of(values, p), bound if with_bound else None
    for n in range(4):
        for history in itertools.product(values, repeat=n):
            now = taken(history, m, B).wealth
            after = math.fsum(
                q * taken((*history, x), m, B).wealth for x, q in zip(values, p, strict=True)
            )
            assert abs(after - now) <= 1e-12 * max(1.0, now)


@pytest.mark.parametrize("with_bound", [True, False])
@pytest.mark.parametrize(("values", "p", "bound"), LAWS[:3])
def test_it_ever_alarms_with_probability_at_most_alpha_exactly(values, p, bound, with_bound):
    """Ville's inequality, over every path of seven observations; and it does alarm at times."""
    m, B = mean_of(values, p), bound if with_bound else None
    highest = []
    for path in itertools.product(range(len(values)), repeat=7):
        test = MeanTest(m, B)
        top = max(test.take(values[i]) for i in path)
        highest.append((math.prod(p[i] for i in path), top))
    for alpha in (0.5, 0.2, 0.05):
        assert math.fsum(q for q, top in highest if top >= 1.0 / alpha) <= alpha
    assert any(top >= 2.0 for _, top in highest)


def test_bets_that_are_not_fair_would_show_here(monkeypatch):
    """A planted bug: stakes on the sum instead of the difference from the mean."""

    def unfair(x, mean, bound):
        over, under = FACTORS(x, mean, bound)
        return over + 0.05, under

    FACTORS = sequential.factors
    monkeypatch.setattr(sequential, "factors", unfair)
    with pytest.raises(AssertionError):
        test_under_the_null_the_wealth_is_a_martingale_exactly(*LAWS[0], True)


@settings(max_examples=15)
@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.booleans())
def test_a_wrong_mean_is_found_by_many_observations(true, claimed, with_bound):
    rng = np.random.default_rng(3)
    x = (rng.random(800) < true).astype(float)
    test = MeanTest(claimed, 1.0 if with_bound else None)
    top = max(test.take(y) for y in x)
    if abs(true - claimed) > 0.25 and (with_bound or true > claimed):
        assert top >= 1e6
    if true == claimed or (not with_bound and true < claimed):
        assert top < 1e6


def test_an_observation_above_its_bound_ends_the_matter():
    assert MeanTest(0.5, 1.0).take(1.0 + 1e-9) < 10.0
    assert MeanTest(0.5, 1.0).take(1.5) > 1e100
    assert MeanTest(0.5).take(1.5, 1.4) > 1e100


def test_bounds_may_differ_from_one_observation_to_the_next():
    test, fixed = MeanTest(1.0, own_bounds=True), MeanTest(1.0, 2.0)
    for x in (0.5, 2.0, 0.0):
        assert test.take(x, 2.0) == fixed.take(x)
    assert test.take(0.0, 1.01) > 2 * fixed.take(0.0)


def test_where_the_mean_is_zero_any_observation_above_it_ends_the_matter():
    assert MeanTest(0.0, 1.0).take(0.0) == 1.0
    assert MeanTest(0.0, 1.0).take(1e-9) > 1e100
    assert smallest_error([0.0, 0.0], 0.0, 1.0, 1e-6, RoundPlan(2)) is None


def test_a_plan_goes_on_only_while_the_wealth_is_promising():
    plan = RoundPlan(3, times=2)
    assert [plan.goes_on(n, 0.1) for n in range(4)] == [True, True, True, False]
    assert [plan.goes_on(n, 10.0) for n in range(3, 7)] == [True, True, True, False]
    longer = RoundPlan(1, times=9, promising=1.2)
    assert [longer.goes_on(n, 1.5) for n in range(1, 5)] == [True, True, False, False]


@pytest.mark.parametrize("bound", [2.0, None])
def test_the_smallest_error_is_where_the_alarm_begins(bound):
    rng = np.random.default_rng(5)
    x = rng.binomial(4, 0.3, 400) / 4
    x *= 0.3 / x.mean()
    bounds = None if bound is None else [bound] * 400
    d = smallest_error(x.tolist(), 0.3, bounds, 1e-6, RoundPlan(400, times=1))
    assert smallest_error(x.tolist(), 0.3, bounds, 1e-6, RoundPlan(400)) < 0.6 * d
    assert 0.0 < d < 0.5

    def alarms(y):
        test = MeanTest(0.3, bound)
        return max(test.take(v) for v in y) >= 1e6

    # In the end, that is, and perhaps a little before it.
    assert alarms(x * (1 + 1.02 * d))
    assert not (alarms(x * (1 + 0.85 * d)) and (bound is None or alarms(x * (1 - 0.85 * d))))
    if bound is not None:
        assert alarms(x * (1 - 1.02 * d))


def test_the_interval_is_what_the_tests_have_not_ruled_out():
    rng = np.random.default_rng(6)
    x = rng.binomial(3, 0.4, 300) / 3
    low, high = interval(x.tolist(), 1.0, 1e-3)
    assert 0.25 < low < 0.4 < high < 0.55
    for m, out in (
        (low * 0.99, True),
        (low * 1.01, False),
        (high * 0.99, False),
        (high * 1.01, True),
    ):
        test = MeanTest(m, 1.0)
        assert (max(test.take(y) for y in x) >= 0.999e3) == out
    assert interval(x.tolist(), None, 1e-3)[1] == math.inf


def test_a_ratio_of_means_lies_in_its_interval_also_where_the_weights_are_small():
    rng = np.random.default_rng(7)
    Z = rng.random(500) * 0.4
    A = Z * (rng.random(500) < 0.7)
    low, high = ratio_interval(A.tolist(), Z.tolist(), 0.4, 1e-6)
    assert 0.5 < low < 0.7 < high < 0.85
