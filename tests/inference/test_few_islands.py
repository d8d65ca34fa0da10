"""Intervals of few islands of a skewed method cover what they are to cover, and what rests on one
ancestor says so."""

import math

import numpy as np
import pytest

from fkdsl.api import parse
from fkdsl.cli.report import result_text
from fkdsl.inference.assess.uncertainty import Islands, t_quantile

RUNS = 400
SKEWED = {
    "log-normal": lambda rng, R: 1.2 * rng.normal(size=R) - 0.72,
    "gamma": lambda rng, R: np.log(rng.gamma(0.5, 2.0, size=R)),
    "uniform": lambda rng, R: np.log(rng.uniform(0.5, 1.5, size=R)),
}


def islands(log_Z):
    return Islands(np.arange(len(log_Z)), np.asarray(log_Z), np.asarray(log_Z))


@pytest.mark.parametrize("R", [4, 8])
@pytest.mark.parametrize("law", SKEWED)
def test_the_interval_of_few_skewed_islands_covers_nine_times_in_ten(law, R):
    """Two standard errors cover 0.72 of four log-normal islands, and 0.79 of eight; the true log Z
    is 0."""
    rng = np.random.default_rng(R)
    covered = by_two = 0
    for _ in range(RUNS):
        found = islands(SKEWED[law](rng, R))
        low, high = found.log_z_interval()
        center = np.logaddexp.reduce(found.log_Z) - math.log(R)
        covered += low <= 0.0 <= high
        by_two += abs(center) <= 2 * found.log_z_se()
        assert low <= center - 2 * found.log_z_se() < center + 2 * found.log_z_se() <= high
    assert covered / RUNS >= 0.9 - 4 * math.sqrt(0.09 / RUNS)
    assert law == "uniform" or by_two / RUNS <= 0.87  # what the interval is for


def test_dead_islands_leave_the_interval_finite():
    low, high = islands([-1.0, -math.inf, -0.5, -math.inf, -0.8, -1.2]).log_z_interval()
    assert -math.inf < low < -1.3 < high < math.inf


def test_students_quantiles():
    for df, exact in (
        (1, 12.7062),
        (7, 2.3646),
        (11, 2.2010),
        (15, 2.1314),
        (31, 2.0395),
        (10_000, 1.9602),
    ):
        assert abs(t_quantile(df) - exact) <= 3e-3


def test_one_island_with_most_of_the_weight_is_doubted():
    (note,) = islands([0.0, -2.0, -3.0, -2.0, -4.0, -3.0, -2.5, -3.0]).notes
    assert "of the weight: the percentages and log Z" in note
    assert islands([0.0, -0.1, 0.1, 0.2]).notes == ()


ONE_LEFT = parse("""
program p() -> int:
    x ~ uniform_int(1, 1000)
    factor -5.0 * x
    y ~ bernoulli(0.5)
    factor 0.0
    return x
""")
ALL_ALIKE = parse("""
program p() -> int:
    x ~ bernoulli(0.5)
    y ~ bernoulli(0.5)
    return 1
""")


def test_a_posterior_of_one_surviving_ancestor_says_so_on_its_line():
    result = ONE_LEFT.run(method="smc", particles=16, seed=1, ess=1.0)
    assert (result.posterior[0].probability, result.sole) == (
        pytest.approx(1.0, abs=1e-4),
        "ancestor",
    )
    first = result_text(result, {"particles": 16}).splitlines()[0]
    assert "(this rests on one surviving ancestor)" in first
    assert "the percentages are those of about as many independent draws" in result.notes[0]


def test_a_certain_answer_is_not_doubted():
    result = ALL_ALIKE.run(method="smc", particles=16, seed=1, ess=1.0)
    assert result.sole == ""
    assert "surviving" not in result_text(result, {"particles": 16})
