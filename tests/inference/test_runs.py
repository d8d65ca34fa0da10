"""Runs as a user sees them: seeds, results, reports, options."""

import math
import statistics

import numpy as np
import pytest

import fkdsl
from fkdsl.base.errors import BudgetEnded, CallError, InternalError, PopulationDied
from fkdsl.base.random import KeyedRng
from fkdsl.inference.run import run
from fkdsl.inference.samplers import smc as smc_module
from fkdsl.inference.samplers.smc import smc
from fkdsl.testing import Machine, exact_measure

WALK = Machine(
    M=(((0.2, 0.8), (0.5, 0.5)),) * 4,
    G=(((2.0, 0.5), (1.0, 0.3)),) * 4,
)
DEAD = Machine(M=(((0.5, 0.5), (0.5, 0.5)),), G=(((0.0, 0.0), (0.0, 0.0)),))
METHODS = ["smc", "steer", "importance", "exact"]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_answer(method):
    a, b = (run(WALK, method, seed=5) for _ in range(2))
    assert a.posterior == b.posterior
    assert a.log_z == b.log_z


def test_watching_does_not_change_the_draws():
    seen = []
    quiet, watched = run(WALK, "smc", 3), run(WALK, "smc", 3, observer=seen.append, filtering=True)
    assert watched.posterior == quiet.posterior
    assert [s.t for s in seen] == list(range(5))


def test_a_particles_draws_do_not_depend_on_its_neighbours():
    few, many = (list(smc(WALK, KeyedRng(9), n, 0.0))[-1] for n in (3, 30))
    assert [p.state for p in few.particles] == [p.state for p in many.particles[:3]]


def error_and_bound(method, model):
    """|mean of Z_hat - Z| / Z over 400 seeds, and the bound on it that fails by chance once in a
    million."""
    z = sum(exact_measure(model).values())
    estimates = [math.exp(run(model, method, seed, {"particles": 8}).log_z) for seed in range(400)]
    return abs(statistics.fmean(estimates) - z) / z, 4.9 * statistics.stdev(estimates) / math.sqrt(
        len(estimates)
    ) / z


@pytest.mark.parametrize("method", ["smc", "steer", "importance"])
def test_z_hat_is_right_on_average_and_the_test_could_tell(method):
    error, bound = error_and_bound(method, WALK)
    assert error <= bound
    assert bound <= 0.2


def test_the_statistical_test_catches_a_planted_bug(monkeypatch):
    """Resampling that takes the mean weight for 0.8 of itself: a bias of a fifth at each
    resampling."""
    real = smc_module.make_step

    def biased(model, t, x, lw, A, *, resampled):
        return real(model, t, x, lw + (math.log(0.8) if resampled else 0.0), A, resampled=resampled)

    monkeypatch.setattr(smc_module, "make_step", biased)
    error, bound = error_and_bound("smc", WALK)
    assert error > bound


@pytest.mark.parametrize("method", ["smc", "steer", "importance", "exact", "rejection"])
def test_a_dead_population_says_so_and_where(method):
    with pytest.raises(PopulationDied) as error:
        run(DEAD, method)
    assert error.value.log_z == -math.inf
    assert "help" in str(error.value)
    if method in ("smc", "steer", "importance", "exact"):
        assert "step 1" in str(error.value)
        assert "site" in str(error.value)


def test_rejection_refuses_potentials_above_one():
    with pytest.raises(CallError, match="at most 1"):
        run(WALK, "rejection")


def test_unknown_methods_and_options_get_a_near_name():
    with pytest.raises(CallError, match="did you mean `smc`"):
        run(WALK, "smcc")
    with pytest.raises(CallError, match="did you mean `particles`"):
        run(WALK, "smc", options={"particels": 3})
    with pytest.raises(CallError, match="did you mean `systematic`"):
        run(WALK, "smc", options={"resampling": "sytematic"})


def test_steps_are_bounded():
    class Forever:
        def initial(self, rngs):
            return [0] * len(rngs), np.zeros(len(rngs))

        def step(self, rngs, xp):
            return [x + 1 for x in xp], np.zeros(len(xp))

        def finished(self, x):
            return False

        def value(self, x):
            return x

        def key(self, x):
            return x

        def describe(self, x):
            return str(x)

    with pytest.raises(BudgetEnded, match="20 steps"):
        run(Forever(), "smc", max_steps=20)
    with pytest.raises(BudgetEnded, match="time ran out"):
        run(Forever(), "smc", timeout=0.01)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinite_potentials_are_our_bug_and_raised_as_one(bad):
    class Bad:
        def __getattr__(self, name):
            return getattr(WALK, name)

        def step(self, rngs, xp):
            x, g = WALK.step(rngs, xp)
            g[0] = bad
            return x, g

    with pytest.raises(InternalError):  # of our own models; others are checked
        run(Bad(), "smc")


def test_results_have_weights_that_sum_to_one_and_no_zero_weight():
    result = fkdsl.run(WALK, "steer", particles=5, factor=2)
    assert abs(sum(p.weight for p in result.particles) - 1.0) <= 1e-12
    assert abs(sum(a.probability for a in result.posterior) - 1.0) <= 1e-12
    assert all(p.log_weight > -math.inf for p in result.particles)
    assert (
        abs(math.fsum(math.exp(p.log_weight) for p in result.particles) - math.exp(result.log_z))
        <= 1e-12
    )


def test_one_and_true_are_different_values():
    class Mixed:
        def initial(self, rngs):
            return [None] * len(rngs), np.zeros(len(rngs))

        def step(self, rngs, xp):
            return [(1, True)[rng.choice([0.25, 0.75])] for rng in rngs], np.zeros(len(xp))

        def finished(self, x):
            return x is not None

        def value(self, x):
            return x

        def key(self, x):
            return (type(x), x)

        def describe(self, x):
            return repr(x)

    result = fkdsl.run(Mixed(), "exact")
    assert abs(result.probability(1) - 0.25) <= 1e-12
    assert abs(result.probability(True) - 0.75) <= 1e-12
