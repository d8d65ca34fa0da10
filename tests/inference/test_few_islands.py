"""Intervals of few islands of a skewed method cover what they are to cover, and what rests on one
ancestor says so."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fkdsl.api import parse
from fkdsl.api.trace.file import read_trace
from fkdsl.api.trace.replay import Replay
from fkdsl.cli.main import main
from fkdsl.cli.report import result_json, result_text, table
from fkdsl.inference.assess.quantiles import quantile_interval
from fkdsl.inference.assess.uncertainty import Islands, t_quantile
from fkdsl.inference.result import Answer
from fkdsl.report.data import report_data

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


def two_values(A, B):
    """Islands in which event mass A and other mass B lie, (R,) each, and the event's indicator."""
    R = len(A)
    f = np.array([1.0, 0.0] * R)
    log_weights = np.log(np.stack([A, B], axis=1).ravel())
    return Islands(np.repeat(np.arange(R), 2), log_weights, np.log(A + B)), f


RATIOS = {
    # A and B independent: an island that is heavy is heavy by one of them.
    "log-normal": lambda rng, R: (
        0.3 * rng.lognormal(-0.5, 1.0, R), 0.7 * rng.lognormal(-0.5, 1.0, R), 0.3,
    ),
    "rare": lambda rng, R: (
        0.1 * rng.lognormal(-0.5, 1.0, R), 0.9 * rng.lognormal(-0.5, 1.0, R), 0.1,
    ),
    "gamma": lambda rng, R: (rng.gamma(0.3, 1.0, R), rng.gamma(0.6, 1.0, R), 1.0 / 3.0),
    "even": lambda rng, R: (rng.uniform(0.5, 1.5, R), rng.uniform(0.5, 1.5, R), 0.5),
}  # fmt: skip


@pytest.mark.parametrize("R", [4, 8])
@pytest.mark.parametrize("law", RATIOS)
def test_the_interval_of_a_probability_covers_nineteen_times_in_twenty(law, R):
    """Two standard errors cover 0.62 to 0.85 of the skewed ones."""
    rng = np.random.default_rng(R)
    covered = by_two = 0
    for _ in range(RUNS):
        A, B, truth = RATIOS[law](rng, R)
        found, f = two_values(A, B)
        low, high = found.mean_interval(f)
        mean = A.sum() / (A + B).sum()
        assert low <= mean <= high
        covered += low <= truth <= high
        by_two += abs(mean - truth) <= 2 * found.mean_se(f)
    assert covered / RUNS >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / RUNS)
    assert law == "even" or by_two / RUNS <= 0.88  # what the interval is for


def test_fiellers_interval_by_hand():
    """The ends are the m at which the mean of A_r - m Z_r is t standard errors from 0."""
    A, B = np.array([1.0, 2.0, 1.5, 1.2]), np.array([2.0, 2.5, 3.0, 1.9])
    found, f = two_values(A, B)
    for m in found.mean_interval(3.0 * f - 1.0):  # of any f, not of indicators alone
        d = (3.0 * A - (A + B)) - m * (A + B)
        assert abs(abs(d.mean()) - t_quantile(3) * d.std(ddof=1) / 2.0) <= 1e-9
    low, high = found.mean_interval(f)
    assert np.allclose(found.mean_interval(3.0 * f - 1.0), (3.0 * low - 1.0, 3.0 * high - 1.0))


def test_a_constant_has_no_width_and_one_heavy_island_no_ends():
    found, f = two_values(np.array([1e-9, 1e-9, 1e-9, 1.0]), np.array([2e-9, 1e-9, 3e-9, 2.0]))
    assert found.mean_interval(f) == (-math.inf, math.inf)
    assert found.mean_interval(np.ones(8)) == pytest.approx((1.0, 1.0))
    assert (
        Islands(np.zeros(1, dtype=int), np.zeros(1), np.zeros(1)).mean_interval(np.ones(1)) is None
    )


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
    assert first.startswith("unknown ")
    assert "█" not in first
    assert str(result).startswith("unknown ")
    assert '<td style="text-align:right">unknown</td>' in result._repr_html_()
    assert result_json(result)["posterior"][0]["probability"] == result.posterior[0].probability
    assert result_json(result)["sole"] == "ancestor"
    assert "the percentages are those of about as many independent draws" in result.notes[0]


def test_a_trace_knows_that_its_answer_rests_on_one_ancestor(tmp_path, capsys):
    path = str(tmp_path / "run.jsonl")
    ONE_LEFT.run(method="smc", particles=16, seed=1, ess=1.0, trace=path)
    assert main(["replay", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["sole"] == "ancestor"
    answer = report_data(Replay(read_trace(path)))["result"]
    assert (answer["posterior"][0]["probability"], answer["sole"]) == (None, "ancestor")


def test_what_four_decimals_cannot_show_is_no_0_and_no_1():
    answers = (Answer("a", 0.99997), Answer("b", 0.00002), Answer("c", 0.00001))
    assert table(answers, 2) == [
        ">0.9999  ██████████  a",
        "<0.0001              b",
        "<0.0001              (1 more values)",
    ]
    assert table((Answer("a", 1.0 - 1e-13),), 1) == [" 1.0000  ██████████  a"]


def test_a_single_particle_knows_no_probability():
    result = ALL_ALIKE.run(method="importance", particles=1, seed=1)
    assert result_json(result)["posterior"] == [{"value": 1, "probability": 1.0}]
    assert (result_json(result)["sole"], str(result).split()[0]) == ("particle", "unknown")
    assert ALL_ALIKE.exact().sole == ""


def test_a_certain_answer_is_not_doubted():
    result = ALL_ALIKE.run(method="smc", particles=16, seed=1, ess=1.0)
    assert result.sole == ""
    assert "surviving" not in result_text(result, {"particles": 16})


SKEW = parse("""
program p() -> float:
    x ~ normal(0.0, 1.0)
    factor -1.5 * x * x + x
    return x

query positive = value > 0
query mean = value
query middle = quantile(value, 0.5)
""")


def test_a_quantiles_interval_is_that_of_its_level():
    y, w = np.arange(1.0, 11.0), np.full(10, 0.1)
    found = quantile_interval(y, w, 0.5, lambda f: (float(w @ f) - 0.2, float(w @ f) + 0.1))
    assert found == (4.0, 7.0)  # the quantiles at 0.4 and at 0.7
    assert quantile_interval(y, w, 0.9, lambda f: (0.5, 0.95)) == (9.0, math.inf)
    assert quantile_interval(y, w, 0.5, lambda f: (-math.inf, math.inf)) == (-math.inf, math.inf)
    assert quantile_interval(y, w, 0.5, lambda f: None) is None


def test_queries_of_islands_have_intervals_in_python_in_text_and_in_json():
    result = SKEW.run(method="importance", particles=8, islands=6, seed=2)
    for answer in result.queries.values():
        low, high = answer.interval
        assert low < answer.mean < high
    low, high = result.queries["positive"].interval
    assert 0.0 <= low < high <= 1.0
    assert result.mean(lambda v: v > 0) == result.queries["positive"]
    lines = [line for line in result_text(result, {}).splitlines() if "95% in" in line]
    assert any(line.startswith("positive") for line in lines)
    interval = result_json(result)["queries"]["positive"]["interval"]
    assert interval == [low, high]
    alone = SKEW.run(method="importance", particles=8, seed=2)
    assert {answer.interval for answer in alone.queries.values()} == {None}
    assert result_json(alone)["queries"]["positive"]["interval"] is None


def test_islands_that_differ_too_much_say_that_they_do_not_say():
    uneven = parse(ONE_LEFT.checked.module.source.text.replace("-5.0 * x", "-0.02 * x"))
    result = uneven.run(method="importance", particles=1, islands=4, seed=3)
    answer = result.mean(float)
    assert answer.interval == (-math.inf, math.inf)
    text = result_text(replace(result, queries={"x": answer}), {})
    assert "(95%: the islands differ too much to say)" in text
    found = result_json(replace(result, queries={"x": answer}))
    assert found["queries"]["x"]["interval"] == [None, None]


UNEVEN = parse("""
program p() -> bool:
    x ~ bernoulli(0.3)
    y ~ normal(0.0, 1.0)
    factor 1.2 * y + (0.8 if x else 0.0)
    return x

query event = value
""")


@pytest.mark.slow
@pytest.mark.parametrize("R", [4, 8])
def test_the_interval_of_a_query_covers_in_runs_of_a_program(R):
    """Islands of four particles with uneven weights: two standard errors cover 0.72 of four, and
    0.82 of eight."""
    mass = 0.3 * math.exp(0.8)
    truth = mass / (mass + 0.7)
    covered = by_two = 0
    for seed in range(200):
        answer = UNEVEN.run("importance", particles=4, islands=R, seed=seed).queries["event"]
        low, high = answer.interval
        covered += low <= truth <= high
        by_two += abs(answer.mean - truth) <= 2 * answer.se
    assert covered / 200 >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 200)
    assert by_two / 200 <= 0.88
