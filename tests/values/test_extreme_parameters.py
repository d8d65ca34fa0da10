"""Distributions over their whole range of parameters, against mpmath: densities to rounding, draws
by their law, and one rule for what is refused."""

import itertools
import math
import sys

import mpmath
import pytest

from fkdsl.api import parse
from fkdsl.base.errors import ProgramError
from fkdsl.base.random import KeyedRng
from fkdsl.values import distributions as d
from fkdsl.values.signatures import BuiltinError

LARGEST, SMALLEST, BELOW_ONE = sys.float_info.max, 5e-324, 1 - 2**-53
SHAPES = (SMALLEST, 0.001, 1.0, 9.9, 37.5, 1e8, LARGEST)


def assert_close(found, true):
    """Relative where the true value is large: no float says it better. Beyond floats it is
    infinite."""
    if math.isinf(float(true)):
        assert found == float(true)
    else:
        assert abs(found - true) <= 1e-12 * max(1.0, abs(true))


@pytest.mark.parametrize("a", SHAPES)
def test_the_log_density_of_beta_is_exact_to_rounding(a):
    with mpmath.workdps(400):
        for b in SHAPES:
            A, B = mpmath.mpf(a), mpmath.mpf(b)
            mean = float(A / (A + B))
            points = {SMALLEST, 0.25, BELOW_ONE, mean, math.nextafter(mean, 0.0), 0.4 * mean}
            for x in points - {0.0, 1.0}:
                X = mpmath.mpf(x)
                norm = mpmath.loggamma(A + B) - mpmath.loggamma(A) - mpmath.loggamma(B)
                true = norm + (A - 1) * mpmath.log(X) + (B - 1) * mpmath.log1p(-X)
                assert_close(d.beta(a, b).log_prob(x), true)


def test_the_density_of_beta_at_its_ends_is_its_limit():
    for x in (0, 1, 0.0, 1.0, True):
        assert d.beta(1, 1).log_prob(x) == d.uniform(0, 1).log_prob(x) == 0.0
    assert d.beta(3, 1).log_prob(1.0) == d.beta(1, 3).log_prob(0.0) == math.log(3.0)
    assert d.beta(2, 1).log_prob(0.0) == d.beta(1, 2).log_prob(1.0) == -math.inf
    assert d.beta(0.5, 1).log_prob(0.0) == math.inf


@pytest.mark.parametrize("rate", [SMALLEST, 1e-10, 2.5, 10.0, 100.0, 10_000.0])
def test_the_log_probability_of_poisson_is_exact_to_rounding(rate):
    with mpmath.workdps(60):
        for k in (0, 1, 9, 10, 11, 99, 100, 10_000, 10**15):
            true = k * mpmath.log(mpmath.mpf(rate)) - rate - mpmath.loggamma(mpmath.mpf(k) + 1)
            assert_close(d.poisson(rate).log_prob(k), true)
    assert d.poisson(rate).log_prob(10**400) == -math.inf


@pytest.mark.parametrize("p", [0.0004, 0.5, BELOW_ONE])
def test_the_log_probability_of_geometric_is_exact_to_rounding(p):
    with mpmath.workdps(60):
        for k in (0, 1, 1000, 10**15):
            assert_close(
                d.geometric(p).log_prob(k),
                mpmath.log(mpmath.mpf(p)) + k * mpmath.log1p(-mpmath.mpf(p)),
            )
    assert d.geometric(p).log_prob(10**400) == -math.inf


@pytest.mark.parametrize("low", [-LARGEST, -1.0, 0.0])
def test_uniform_over_all_floats_draws_inside_and_has_its_density(low):
    dist = d.uniform(low, LARGEST)
    draws = [dist.sample(KeyedRng(1).split(i)) for i in range(400)]
    assert all(low <= x <= LARGEST for x in draws)
    below = sum(x < low / 2 + LARGEST / 2 for x in draws)
    assert abs(below - 200) <= 50  # five standard errors
    with mpmath.workdps(400):
        assert_close(dist.log_prob(LARGEST), -mpmath.log(mpmath.mpf(LARGEST) - mpmath.mpf(low)))
    assert d.uniform(0.0, SMALLEST).log_prob(0.0) == pytest.approx(-math.log(SMALLEST))


@pytest.mark.parametrize(
    ("mean", "sd"), [(0.0, SMALLEST), (1e308, 1e300), (-1e308, 7e306), (0.0, 2e307), (5.0, 1e-300)]
)
def test_normal_at_extreme_scales(mean, sd):
    dist = d.normal(mean, sd)
    assert all(math.isfinite(dist.sample(KeyedRng(1).split(i))) for i in range(50))
    with mpmath.workdps(700):
        for x in (mean, mean + 2 * sd, -LARGEST, 0.0):
            z = (mpmath.mpf(x) - mpmath.mpf(mean)) / mpmath.mpf(sd)
            assert_close(
                dist.log_prob(x),
                -z * z / 2 - mpmath.log(mpmath.mpf(sd)) - mpmath.log(2 * mpmath.pi) / 2,
            )


def test_weights_and_probabilities_too_small_or_large_for_a_sum():
    assert d.categorical(("a", "b"), (LARGEST, LARGEST)).log_prob("a") == pytest.approx(
        -math.log(2)
    )
    assert d.categorical(("a", "b"), (SMALLEST, SMALLEST)).log_prob("b") == pytest.approx(
        -math.log(2)
    )
    with mpmath.workdps(60):
        true = mpmath.log(mpmath.mpf(1e-300)) - mpmath.log(mpmath.mpf(1e308))
        assert_close(d.categorical(("a", "b"), (1e308, 1e-300)).log_prob("b"), true)
    assert d.bernoulli(SMALLEST).log_prob(True) == math.log(SMALLEST)
    assert d.bernoulli(BELOW_ONE).log_prob(False) == math.log(2**-53)
    assert d.uniform_int(10**400, 10**400 + 3).log_prob(10**400 + 2) == pytest.approx(-math.log(4))


@pytest.mark.parametrize(
    ("a", "b", "cdf"),
    [
        (0.5, 0.5, lambda x: 2 / math.pi * math.asin(math.sqrt(x))),
        (0.05, 1.0, lambda x: x**0.05),
        (1.0, 1e-3, lambda x: 1 - math.exp(1e-3 * math.log1p(-x)) if x < 1 else 1.0),
        (2.0, 3.0, lambda x: x * x * (6 - x * (8 - 3 * x))),
        (1e8, 1.0, lambda x: x**1e8),
        (40.0, 0.4, lambda x: float(mpmath.betainc(40, 0.4, 0, x, regularized=True))),
    ],
)
def test_draws_of_beta_follow_its_law(a, b, cdf):
    """Kolmogorov and Smirnov at a false-alarm rate of one in a million; draws that round to 0 or 1
    count as one."""
    n = 800
    xs = sorted(d.beta(a, b).sample(KeyedRng(3).split(i)) for i in range(n))
    bound = math.sqrt(-math.log(0.5e-6) / (2 * n))
    for x, same in itertools.groupby(enumerate(xs), key=lambda found: found[1]):
        ranks = [i for i, _ in same]
        assert x in (0.0, 1.0) or abs(cdf(x) - (ranks[0] + 0.5) / n) <= bound
    zeros = xs.count(0.0) / n  # those below the smallest float
    assert abs(zeros - cdf(SMALLEST / 2 or SMALLEST)) <= bound


@pytest.mark.parametrize("shape", [0.001, 0.003, 0.01, 1e-300, SMALLEST])
def test_small_beta_parameters_are_symmetric(shape):
    """With gamma draws that underflow, 0.391 of beta(0.001, 0.001) were above a half."""
    draws = [d.beta(shape, shape).sample(KeyedRng(0).split(i)) for i in range(2_000)]
    error = 0.5 / math.sqrt(len(draws))
    assert abs(sum(draws) / len(draws) - 0.5) <= 5 * error
    assert abs(sum(x < 0.5 for x in draws) / len(draws) - 0.5) <= 5 * error


def test_lopsided_small_parameters_share_the_mass_by_their_ratio():
    draws = [d.beta(3e-320, 1e-320).sample(KeyedRng(0).split(i)) for i in range(2_000)]
    assert set(draws) == {0.0, 1.0}
    assert abs(sum(draws) / len(draws) - 0.75) <= 5 * math.sqrt(0.75 * 0.25 / len(draws))


def test_huge_beta_parameters_draw_at_once():
    for a, b, mean in (
        (1e308, 1.0, 1.0),
        (LARGEST, LARGEST, 0.5),
        (1.0, LARGEST, 0.0),
        (1e20, 3e20, 0.25),
    ):
        assert d.beta(a, b).sample(KeyedRng(0)) == pytest.approx(mean, rel=1e-9, abs=1e-300)


REFUSED = {
    d.bernoulli: [(-SMALLEST,), (1.0000001,), (math.nan,), (10**400,), ("a",)],
    d.categorical: [
        (("a",), (math.inf,)),
        (("a",), (math.nan,)),
        (("a", "b"), (1.0, -1.0)),
        (("a",), (10**400,)),
    ],
    d.uniform_int: [(1, 0), (0, 10**400)],
    d.geometric: [(0.0,), (1e-9,), (math.nan,), (1.5,)],
    d.poisson: [(-1.0,), (10_001.0,), (math.inf,), (math.nan,), (10**400,)],
    d.uniform: [(0.0, 0.0), (1.0, 0.0), (-math.inf, 0.0), (0.0, math.nan), (0, 10**400)],
    d.normal: [
        (0.0, 0.0),
        (0.0, -1.0),
        (math.nan, 1.0),
        (0.0, math.inf),
        (0.0, 1e308),
        (LARGEST, 1e307),
        (10**400, 1.0),
    ],
    d.beta: [(0.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (-1.0, 1.0), (1.0, 10**400)],
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda f: f.__name__)
def test_what_no_float_holds_is_refused_with_one_thing_to_try(make):
    for parameters in REFUSED[make]:
        with pytest.raises(BuiltinError) as error:
            make(*parameters)
        assert error.value.help


@pytest.mark.parametrize(
    "dist", [d.uniform(0, 1), d.normal(0, 1), d.beta(2, 2), d.poisson(2.0), d.geometric(0.5)]
)
def test_no_value_weighs_nan(dist):
    for value in (
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        -(10**400),
        "a",
        None,
        (1,),
        LARGEST,
        -LARGEST,
    ):
        assert dist.log_prob(value) == -math.inf or math.isfinite(dist.log_prob(value))


OBSERVED = """
program p() -> int:
    x ~ bernoulli(0.5)
    observe {value} ~ {law}
    return 1
"""


@pytest.mark.parametrize(
    ("value", "law", "log_z"),
    [
        ("0.5", "beta(1e308, 1.0)", 1e308 * math.log(0.5)),
        ("10 ** 400", "normal(0.0, 1.0)", None),
        ("10 ** 400", "poisson(3.0)", None),
        ("0.0", "beta(1, 1)", 0.0),
    ],
)
def test_programs_observe_extreme_values(value, law, log_z):
    program = parse(OBSERVED.format(value=value, law=law))
    if log_z is None:
        with pytest.raises(Exception, match="Z = 0"):
            program.exact()
    else:
        assert program.exact().log_z == pytest.approx(log_z)


def test_an_infinite_density_is_a_mistake_with_its_line():
    with pytest.raises(ProgramError, match=r"FK410(.|\n)*:4:"):
        parse(OBSERVED.format(value="0.0", law="beta(0.5, 0.5)")).exact()
