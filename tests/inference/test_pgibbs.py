"""A sweep of particle Gibbs leaves the law of paths as it is, exactly; answers are unbiased as
those of smc are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.errors import PopulationDied
from fkdsl.base.logspace import normalised
from fkdsl.base.random import KeyedRng
from fkdsl.inference.result import total_variation
from fkdsl.inference.run import run
from fkdsl.inference.samplers import pgibbs as module
from fkdsl.inference.samplers.moves import path_smc
from fkdsl.inference.samplers.paths import Path, completed
from fkdsl.inference.samplers.pgibbs import conditional_smc, pgibbs
from fkdsl.testing import Machine, assert_unbiased, machines
from fkdsl.testing.paths import assert_stationary, exact_paths
from tests.inference.test_moves import STOPS, THREE, NoisyMachine

LONG = Machine(
    M=(((0.4, 0.6), (0.5, 0.5)), ((0.3, 0.7), (0.9, 0.1)), ((0.9, 0.1), (0.2, 0.8))),
    G=(((2.0, 0.5), (1.0, 1.0)), ((0.2, 1.5), (4.0, 3.0)), ((0.5, 1.0), (0.0, 4.0))),
)


def sweep(model, n, ess, ancestors):
    """The next reference after a given one."""

    def kernel(rng, path):
        paths, lw = conditional_smc(model, rng, path, n, ess, ancestors)
        return paths[rng.choice(normalised(lw))]

    return kernel


@pytest.mark.parametrize("ancestors", [False, True])
@pytest.mark.parametrize("ess", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("model", [STOPS, THREE, LONG], ids=["stops", "three", "long"])
def test_a_sweep_leaves_the_posterior_of_paths_as_it_is(model, ess, ancestors):
    assert_stationary(exact_paths(model), sweep(model, 2, ess, ancestors))


@settings(max_examples=40)
@given(machines(sites=2, steps=3), st.sampled_from((0.7, 1.0)), st.booleans())
def test_a_sweep_leaves_it_as_it_is_on_drawn_models(model, ess, ancestors):
    assert_stationary(exact_paths(model), sweep(model, 2, ess, ancestors))


@settings(max_examples=5)
@given(machines(sites=2, steps=2), st.booleans())
def test_a_sweep_of_three_particles_leaves_it_as_it_is(model, ancestors):
    assert_stationary(exact_paths(model), sweep(model, 3, 1.0, ancestors))


@settings(max_examples=8)
@given(machines(sites=2, steps=2), st.booleans())
def test_a_sweep_leaves_it_as_it_is_where_potentials_are_random(model, ancestors):
    noisy = NoisyMachine(model)
    assert_stationary(exact_paths(noisy), sweep(noisy, 2, 1.0, ancestors))


@settings(max_examples=10)
@given(machines(sites=2, steps=2), st.sampled_from((0.7, 1.0)), st.booleans())
def test_pgibbs_is_unbiased(model, ess, ancestors):
    assert_unbiased(model, lambda rng: pgibbs(model, rng, 2, 1, ancestors, ess))


def forget_the_reference(monkeypatch):
    """A sweep that is an ordinary run of smc."""

    def unconditional(model, rng, reference, n, ess=0.5, ancestors=True, max_steps=None):
        *_, (step, paths) = path_smc(model, rng, n, ess)
        return (paths, step.log_weights) if step.alive else ([reference], np.zeros(1))

    monkeypatch.setitem(globals(), "conditional_smc", unconditional)


def ancestors_by(change):
    past = module.past

    def changed(model, paths, lw, reference, t):
        grafts, log_w = past(model, paths, lw, reference, t)
        return grafts, log_w + [
            0.0 if g is None else change(g, w, t) for g, w in zip(grafts, lw, strict=True)
        ]

    return lambda monkeypatch: monkeypatch.setattr(module, "past", changed)


BUGS = {
    "the reference is not kept": forget_the_reference,
    "ancestors weigh what they weigh so far": ancestors_by(
        lambda g, w, t: -g.log_M_after(t) - g.log_G_after(t)
    ),
    "ancestors without the draws": ancestors_by(lambda g, w, t: -g.log_M_after(t)),
    "ancestors without the potentials": ancestors_by(lambda g, w, t: -g.log_G_after(t)),
    "ancestors without their weights": ancestors_by(lambda g, w, t: -w),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_in_a_sweep_is_caught(monkeypatch, bug):
    BUGS[bug](monkeypatch)
    with pytest.raises(AssertionError):
        assert_stationary(exact_paths(LONG), lambda rng, path: sweep(LONG, 2, 0.9, True)(rng, path))


def test_the_first_reference_must_be_taken_by_weight(monkeypatch):
    """A planted bug: the first particle, whatever it weighs."""
    assert_unbiased(LONG, lambda rng: pgibbs(LONG, rng, 2, 1, ess=0.0))
    monkeypatch.setattr(
        module, "normalised", lambda lw: np.eye(len(lw))[int(np.argmax(lw > -math.inf))]
    )
    with pytest.raises(AssertionError):
        assert_unbiased(LONG, lambda rng: pgibbs(LONG, rng, 2, 1, ess=0.0))


def test_more_sweeps_bring_the_posterior_nearer():
    exact = run(LONG, "exact").posterior

    def error(sweeps):
        return total_variation(
            exact, run(LONG, "pgibbs", 3, {"particles": 3, "sweeps": sweeps}).posterior
        )

    assert error(300) <= 0.05
    assert error(300) < error(1)


def test_a_run_of_particle_gibbs_has_a_step_for_each_sweep_and_its_own_notes():
    steps = []
    result = run(LONG, "pgibbs", 1, {"particles": 4, "sweeps": 5}, observer=steps.append)
    smc = [s for s in steps if not s.proposed]
    assert [s.t for s in steps] == list(range(len(smc) + 5))
    assert all(abs(s.log_Z - smc[-1].log_Z) <= 1e-12 for s in steps[len(smc) :])
    assert any("of 5 accepted" in note for note in result.notes)
    assert all(len({p.lineage for p in s.particles}) == len(s.particles) for s in steps)


def test_particle_gibbs_on_what_dies_says_so():
    dead = Machine(M=(((0.5, 0.5), (0.5, 0.5)),), G=(((0.0, 0.0), (0.0, 0.0)),))
    with pytest.raises(PopulationDied):
        run(dead, "pgibbs")


def test_ancestor_sampling_renews_early_steps_more_often():
    even = (0.5, 0.5)
    model = Machine(M=((even, even),) * 12, G=(((1.0, 6.0), (6.0, 1.0)),) * 12)

    def renewed(ancestors):
        path, count = completed(model, [KeyedRng(1)], [Path(((0, 0),), (0.0,))])[0], 0
        for s in range(60):
            kernel = sweep(model, 3, 1.0, ancestors)
            after = kernel(KeyedRng(s), path)
            count, path = count + (after.states[1] != path.states[1]), after
        return count

    assert renewed(True) > 2 * renewed(False)
