"""Distributions: probabilities that sum to one, samples that follow them, densities that integrate
to one."""

import math

import pytest

from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.values import distributions as d
from fkdsl.values.signatures import BuiltinError

DISCRETE = [
    d.bernoulli(0.3),
    d.bernoulli(1.0),
    d.categorical(("a", "b", "a"), (1.0, 2.0, 3.0)),
    d.uniform_int(-2, 3),
    d.geometric(0.4),
    d.geometric(1.0),
    d.poisson(2.5),
    d.poisson(0.0),
]


@pytest.mark.parametrize("dist", DISCRETE, ids=lambda x: x.name)
def test_a_discrete_law_sums_to_one_and_is_what_is_drawn(dist):
    drawn = {}
    for p, value in enumerate_outcomes(dist.sample):
        drawn[value] = drawn.get(value, 0.0) + p
    assert abs(sum(p for _, p in dist.support()) - 1.0) <= 1e-13
    for value, p in drawn.items():
        assert abs(math.exp(dist.log_prob(value)) - p) <= 1e-12


def test_figures_by_hand():
    assert math.isclose(d.geometric(0.4).log_prob(2), math.log(0.4 * 0.36))
    assert math.isclose(d.poisson(2.5).log_prob(3), math.log(2.5**3 * math.exp(-2.5) / 6))
    assert math.isclose(
        d.categorical(("a", "b", "a"), (1.0, 2.0, 3.0)).log_prob("a"), math.log(4 / 6)
    )
    assert math.isclose(
        d.normal(1.0, 2.0).log_prob(2.0), -0.125 - math.log(2.0 * math.sqrt(2 * math.pi))
    )
    assert d.uniform(0.0, 2.0).log_prob(3.0) == -math.inf
    assert d.geometric(0.5).log_prob(-1) == -math.inf


CONTINUOUS = [
    (d.uniform(-1.0, 3.0), lambda x: (x + 1) / 4, -1.0, 3.0),
    (
        d.normal(0.5, 2.0),
        lambda x: 0.5 * (1 + math.erf((x - 0.5) / (2.0 * math.sqrt(2)))),
        -20.0,
        20.0,
    ),
    (d.beta(2.0, 1.0), lambda x: x * x, 0.0, 1.0),
]


@pytest.mark.parametrize(("dist", "cdf", "low", "high"), CONTINUOUS, ids=lambda x: type(x).__name__)
def test_a_continuous_sample_follows_its_law(dist, cdf, low, high):
    """Kolmogorov and Smirnov at a false-alarm rate of one in a million."""
    n = 4_000
    xs = sorted(dist.sample(KeyedRng(5).split(i)) for i in range(n))
    gap = max(max((i + 1) / n - cdf(x), cdf(x) - i / n) for i, x in enumerate(xs))
    assert gap <= math.sqrt(-math.log(0.5e-6) / (2 * n))
    steps = 20_000
    width = (high - low) / steps
    area = sum(math.exp(dist.log_prob(low + (i + 0.5) * width)) for i in range(steps)) * width
    assert abs(area - 1.0) <= 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: d.bernoulli(-0.1),
        lambda: d.categorical(("a",), (1.0, 2.0)),
        lambda: d.categorical((), ()),
        lambda: d.uniform_int(3, 2),
        lambda: d.geometric(0.0),
        lambda: d.poisson(-1.0),
        lambda: d.normal(0.0, 0.0),
        lambda: d.beta(0.0, 1.0),
        lambda: d.uniform(1.0, 1.0),
    ],
)
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(BuiltinError) as error:
        make()
    assert error.value.help
