"""Tempered targets, p^power times potentials over whole paths, exactly."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.value_keys import value_key
from fkdsl.inference.run import run
from fkdsl.inference.samplers import moves
from fkdsl.inference.samplers import tempered as module
from fkdsl.inference.samplers.tempered import tempered
from fkdsl.testing import exact_measure, expected_measure, machines
from fkdsl.testing.laws import assert_same_masses
from fkdsl.testing.paths import path_measure
from tests.inference.test_moves import STOPS, THREE
from tests.inference.test_unbiasedness import TWO


def hand_measure(model, power):
    """Every path by recursion: the product of M^power and G."""
    found = {}

    def walk(t, site, mass):
        if mass == 0.0:
            return
        if model.finished((t, site)):
            key = value_key((t, site))
            found[key] = found.get(key, 0.0) + mass
            return
        for j, p in enumerate(model.M[t][site]):
            if p:
                walk(t + 1, j, mass * p**power * model.G[t][site][j])

    walk(0, 0, model.G0)
    return found


@given(machines(sites=3, steps=3), st.sampled_from((0.5, 1.0, 2.0)))
def test_the_measure_over_paths_agrees_with_an_independent_enumerator(model, power):
    assert_same_masses(path_measure(model, power), hand_measure(model, power), 1e-12)
    if power == 1.0:
        assert_same_masses(path_measure(model), exact_measure(model), 1e-12)


@pytest.mark.parametrize("power", [0.5, 3.0])
@pytest.mark.parametrize("model", [STOPS, THREE, TWO], ids=["stops", "three", "two"])
def test_tempering_is_unbiased_for_the_powered_measure(model, power):
    sampler = lambda rng: tempered(model, rng, 1, power, 2, 1)  # noqa: E731
    assert_same_masses(expected_measure(model, sampler), hand_measure(model, power))


def test_tempering_of_two_particles_is_unbiased():
    sampler = lambda rng: tempered(TWO, rng, 2, 3.0, 1, 1, 0.8)  # noqa: E731
    assert_same_masses(expected_measure(TWO, sampler), hand_measure(TWO, 3.0))


@settings(max_examples=10)
@given(machines(sites=2, steps=2), st.sampled_from((0.5, 2.0)), st.sampled_from((0.0, 0.8, 1.0)))
def test_tempering_of_two_particles_is_unbiased_on_drawn_models(model, power, ess):
    sampler = lambda rng: tempered(model, rng, 2, power, 1, 1, ess)  # noqa: E731
    assert_same_masses(expected_measure(model, sampler), hand_measure(model, power))


def moves_at_power_one(monkeypatch):
    real = module.suffix_moves
    monkeypatch.setattr(module, "suffix_moves", lambda *a, power, **k: real(*a, power=1.0, **k))


def the_power_itself_in_the_acceptance(monkeypatch):
    """The proposal has p already."""
    real = moves.log_acceptance
    monkeypatch.setattr(
        moves, "log_acceptance", lambda old, new, k, power: real(old, new, k, power + 1.0)
    )


def moves_where_it_was_resampled(monkeypatch):
    resampled = set()
    offspring, real = module.offspring, module.suffix_moves
    monkeypatch.setattr(
        module, "offspring", lambda x, A, t: (resampled.add(t), offspring(x, A, t))[1]
    )

    def suffix_moves(model, rngs, paths, **options):
        due = bool(resampled)
        resampled.clear()
        return real(model, rngs, paths, **options) if due else (paths, 0)

    monkeypatch.setattr(module, "suffix_moves", suffix_moves)


@pytest.mark.parametrize(
    ("bug", "n"),
    [
        (moves_at_power_one, 1),
        (the_power_itself_in_the_acceptance, 1),
        (moves_where_it_was_resampled, 2),
    ],
)
def test_a_planted_bug_in_tempering_is_caught(monkeypatch, bug, n):
    bug(monkeypatch)
    sampler = lambda rng: tempered(TWO, rng, n, 3.0, 1, 1, 0.8)  # noqa: E731
    with pytest.raises(AssertionError):
        assert_same_masses(expected_measure(TWO, sampler), hand_measure(TWO, 3.0))


def test_tempering_runs_as_a_method_and_counts_its_moves():
    steps = []
    result = run(
        TWO,
        "tempered",
        2,
        {"particles": 30, "power": 2.0, "temperatures": 4, "moves": 3},
        observer=steps.append,
    )
    assert [s.t for s in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert any("of 360 accepted" in note for note in result.notes)
    exact = hand_measure(TWO, 2.0)
    assert abs(result.log_z - math.log(sum(exact.values()))) <= 0.3
