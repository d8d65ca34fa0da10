"""The fit of a learned twist finds the log of the mean of what is still to come."""

import math

import numpy as np
import pytest

from fkdsl.inference.assess import twist_fit
from fkdsl.inference.assess.twist_fit import (
    Flock,
    best_penalty,
    deviance,
    explained,
    fit,
    tempered,
    thinned,
    with_bias,
)


def drawn_flock(n=4000, runs=8, seed=3):
    """Particles of two features, weights that differ, and R = exp(0.7 x0 - 1.1) times a noise of
    mean 1 that is 0 three times in four."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    log_w = rng.normal(size=n)
    noise = np.where(rng.random(n) < 0.25, 4.0 * rng.exponential(size=n), 0.0)
    d = np.exp(log_w + 0.7 * x[:, 0] - 1.1) * noise
    return Flock(x, log_w, d, np.arange(n) % runs)


def test_the_fit_is_the_log_of_the_mean_where_most_are_dead():
    flock = drawn_flock()
    theta = fit(with_bias(flock.x), flock, penalty=1e-6)
    assert np.abs(theta - [0.7, 0.0, -1.1]).max() < 0.12
    living = flock.descendants > 0
    ratios = np.log(flock.descendants[living]) - flock.log_w[living]
    of_logs, *_ = np.linalg.lstsq(with_bias(flock.x[living]), ratios, rcond=None)
    assert abs(of_logs[-1] + 1.1) > 0.5  # a regression of the logs of those that live is not


def test_at_the_fit_the_gradient_is_zero_and_the_level_is_right():
    flock = drawn_flock(500)
    phi = with_bias(flock.x)
    theta = fit(phi, flock, penalty=2.0)
    mu = np.exp(flock.log_w + phi @ theta)
    assert math.isclose(mu.sum(), flock.descendants.sum(), rel_tol=1e-6)
    gradient = phi.T @ (mu - flock.descendants) + [2.0, 2.0, 0.0] * theta
    assert np.abs(gradient).max() < 1e-2


def test_the_fit_does_not_depend_on_where_it_starts():
    flock = drawn_flock(500)
    phi = with_bias(flock.x)
    a = fit(phi, flock, penalty=1.0)
    b = fit(phi, flock, penalty=1.0, start=np.array([3.0, -2.0, 4.0]))
    assert np.abs(a - b).max() < 1e-3


def test_what_explains_nothing_explains_nothing_of_runs_left_out():
    flock = drawn_flock()
    noise = np.random.default_rng(1).normal(size=(len(flock), 2))
    assert explained(with_bias(flock.x), flock, 1.0) > 0.05
    assert explained(with_bias(noise), flock, 1.0) < 0.0
    penalty, share = best_penalty(with_bias(noise), flock)
    assert (penalty, share) == (math.inf, 0.0)
    constant = fit(with_bias(noise), flock, penalty)
    assert not constant[:-1].any()
    penalty, share = best_penalty(with_bias(flock.x), flock)
    assert penalty in twist_fit.PENALTIES
    assert share == explained(with_bias(flock.x), flock, penalty)


def test_one_run_alone_cannot_say_what_a_fit_explains():
    flock = drawn_flock(100, runs=1)
    penalty, share = best_penalty(with_bias(flock.x), flock)
    assert penalty == max(twist_fit.PENALTIES)
    assert math.isnan(share)


def test_a_deviance_is_zero_only_where_every_mean_is_what_came():
    flock = Flock(np.zeros((3, 1)), np.zeros(3), np.array([1.0, 2.0, 0.5]), np.arange(3))
    assert deviance(np.log(flock.descendants), flock) == pytest.approx(0.0, abs=1e-12)
    assert deviance(np.zeros(3), flock) > 0.1


def test_fewer_particles_keep_every_sum_on_average():
    flock = drawn_flock(2000)
    sums = []
    for seed in range(200):
        thin = thinned(flock, 400, np.random.default_rng(seed))
        assert len(thin) < 600
        sums.append([np.exp(thin.log_w).sum(), thin.descendants @ thin.x[:, 0]])
    means, errors = np.mean(sums, axis=0), np.std(sums, axis=0) / math.sqrt(len(sums))
    whole = [np.exp(flock.log_w).sum(), flock.descendants @ flock.x[:, 0]]
    assert (np.abs(means - whole) <= 5 * errors).all()


def test_one_heavy_path_is_flattened_and_its_sum_kept():
    weights = np.full(20, 0.05)
    heavy = np.full(20, 1e-6)
    heavy[3] = 1.0
    flat, power = tempered(heavy, weights, 4.0)
    assert power < 1.0
    assert math.isclose(flat.sum(), heavy.sum())
    assert flat.sum() ** 2 / (flat**2).sum() > 1.5
    even, one = tempered(weights, weights, 4.0)
    assert (even, one) == (pytest.approx(weights), 1.0)
