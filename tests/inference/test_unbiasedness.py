"""E[Z_hat] = Z and E[sum w f] = Z E[f], for every method and scheme, by enumeration of all
randomness."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.rejection import rejection
from fkdsl.inference.samplers.resampling import RESAMPLING
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.inference.samplers.steer import steer
from fkdsl.inference.search.exact import exact
from fkdsl.testing import Machine, assert_unbiased, exact_measure, machines
from fkdsl.testing.laws import assert_same_masses

TWO = Machine(
    M=(((0.2, 0.8), (0.5, 0.5)), ((0.7, 0.3), (0.1, 0.9))),
    G=(((2.0, 0.5), (1.0, 1.0)), ((0.25, 3.0), (1.5, 0.4))),
)
"""Asymmetric everywhere: a sign or an index that is wrong shows."""


def hand_measure(model):
    """A second, independent enumerator: every path by recursion, multiplied out."""
    found = {}

    def walk(t, site, mass):
        state = (t, site)
        if mass == 0.0:
            return
        if model.finished(state):
            key = value_key(state)
            found[key] = found.get(key, 0.0) + mass
            return
        for j, p in enumerate(model.M[t][site]):
            walk(t + 1, j, mass * p * model.G[t][site][j])

    walk(0, 0, model.G0)
    return found


def test_exact_agrees_with_a_hand_sum():
    # Z = sum over (i, j) of M1(i) G1(i) M2(j|i) G2(i, j)
    z = 0.2 * 2.0 * (0.7 * 0.25 + 0.3 * 3.0) + 0.8 * 0.5 * (0.1 * 1.5 + 0.9 * 0.4)
    *_, last = exact(TWO)
    assert abs(math.exp(last.log_Z) - z) <= 1e-14


@given(machines(sites=3, steps=4))
def test_exact_agrees_with_an_independent_enumerator(model):
    assert_same_masses(exact_measure(model), hand_measure(model), 1e-12)


FULL = machines().filter(lambda model: model.G0 > 0.0 and model.T == len(model.M[0]) == 2)
"""Two sites and two steps. Most that Hypothesis draws are smaller: of 40, none was resampled."""


@pytest.mark.parametrize("scheme", RESAMPLING)
@pytest.mark.parametrize(("n", "ess"), [(1, 1.0), (2, 1.0), (3, 0.7), (3, 1.0)])
def test_smc_is_unbiased_on_an_asymmetric_model(scheme, n, ess):
    assert_unbiased(TWO, lambda rng: smc(TWO, rng, n, ess, scheme))


@pytest.mark.parametrize("scheme", RESAMPLING)
@given(model=machines(), n=st.integers(1, 3), ess=st.sampled_from((0.0, 0.6, 1.0)))
def test_smc_is_unbiased_on_drawn_models(scheme, model, n, ess):
    assert_unbiased(model, lambda rng: smc(model, rng, n, ess, scheme))


@pytest.mark.parametrize("scheme", RESAMPLING)
@settings(max_examples=12)
@given(model=FULL, n=st.integers(2, 3), ess=st.sampled_from((0.6, 1.0)))
def test_smc_is_unbiased_where_it_resamples(scheme, model, n, ess):
    assert_unbiased(model, lambda rng: smc(model, rng, n, ess, scheme))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 3), (2, 2), (3, 1), (3, 2)])
def test_steer_is_unbiased_on_an_asymmetric_model(n, k):
    assert_unbiased(TWO, lambda rng: steer(TWO, rng, n, k))


@given(model=machines(), n=st.integers(1, 3), k=st.integers(1, 2))
def test_steer_is_unbiased_on_drawn_models(model, n, k):
    assert_unbiased(model, lambda rng: steer(model, rng, n, k))


@settings(max_examples=12)
@given(model=FULL)
def test_steer_is_unbiased_where_it_reduces(model):
    assert_unbiased(model, lambda rng: steer(model, rng, 2, 2))


@pytest.mark.slow
@settings(max_examples=15)
@given(model=machines(sites=3, steps=1), n=st.integers(3, 4))
def test_steer_is_unbiased_with_three_sites(model, n):
    assert_unbiased(model, lambda rng: steer(model, rng, n, 2))


@given(model=machines(steps=3), n=st.integers(1, 3))
def test_importance_is_unbiased(model, n):
    assert_unbiased(model, lambda rng: importance(model, rng, n))


@given(model=machines(steps=2, bounded=True), batch=st.sampled_from((1, 2, 5)))
def test_rejection_is_unbiased_whichever_way_it_stops(model, batch):
    assert_unbiased(model, lambda rng: rejection(model, rng, samples=2, attempts=3, batch=batch))


@given(model=machines(steps=2), n=st.integers(1, 3))
def test_the_filtering_measure_is_right_at_every_step(model, n):
    """E[sum_i w_i 1{x_i = x}] = E_M[prod_{s<=t} G_s 1{X_t = x}] for every t, not only the last."""
    levels = list(exact(model))
    found = [{} for _ in levels]
    for p, steps in enumerate_outcomes(lambda rng: list(smc(model, rng, n, 1.0, "systematic"))):
        for step in steps:
            for particle, w in zip(step.particles, step.log_weights, strict=True):
                if w > -math.inf:
                    at = found[step.t]
                    at[particle.state] = at.get(particle.state, 0.0) + p * math.exp(w)
        # A population that has finished, or died, early stays as it is.
        for t in range(steps[-1].t + 1, len(levels)):
            for particle, w in zip(steps[-1].particles, steps[-1].log_weights, strict=True):
                if w > -math.inf:
                    found[t][particle.state] = found[t].get(particle.state, 0.0) + p * math.exp(w)
    for level, masses in zip(levels, found, strict=True):
        wanted = {}
        for x, w in zip(level.states, level.log_weights, strict=True):
            wanted[x] = wanted.get(x, 0.0) + math.exp(w)
        assert_same_masses(masses, wanted)


def ideal(model):
    """The model with the kernel that looks ahead, M'(i, j) = M(i, j) G(i, j) h(j) / h(i), and all
    of Z in G_0."""
    h = [[1.0] * len(model.M[0]) for _ in range(model.T + 1)]
    for t in reversed(range(model.T)):
        for i, row in enumerate(model.M[t]):
            done = [
                1.0 if (t + 1 >= model.T or j in model.stops) else h[t + 1][j]
                for j in range(len(row))
            ]
            h[t][i] = sum(p * model.G[t][i][j] * done[j] for j, p in enumerate(row))
    M = []
    for t in range(model.T):
        M.append([])
        for i, row in enumerate(model.M[t]):
            done = [
                1.0 if (t + 1 >= model.T or j in model.stops) else h[t + 1][j]
                for j in range(len(row))
            ]
            masses = [p * model.G[t][i][j] * done[j] for j, p in enumerate(row)]
            M[t].append(tuple(m / h[t][i] for m in masses) if h[t][i] > 0 else row)
    G = tuple(tuple((1.0,) * len(row) for row in rows) for rows in model.M)
    return Machine(tuple(map(tuple, M)), G, model.G0 * h[0][0], model.stops, model.merge)


@settings(max_examples=12)
@given(model=machines(sites=2, steps=3), n=st.integers(1, 3))
def test_with_the_ideal_kernel_every_single_run_gives_z(model, n):
    twisted = ideal(model)
    z = sum(exact_measure(model).values())
    assert_same_masses(exact_measure(twisted), exact_measure(model))
    for method in (
        lambda rng: smc(twisted, rng, n, 1.0),
        lambda rng: importance(twisted, rng, n),
        lambda rng: steer(twisted, rng, 2, 2),
    ):
        for _, last in enumerate_outcomes(lambda rng, m=method: list(m(rng))[-1]):
            assert abs(math.exp(last.log_Z) - z) <= 1e-10 * max(1.0, z)
