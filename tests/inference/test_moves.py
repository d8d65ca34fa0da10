"""Moves on whole paths leave their law as it is, exactly, early finishers and all; and smc with
moves is unbiased."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.errors import InternalError
from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.run import run
from fkdsl.inference.samplers import moves
from fkdsl.inference.samplers.moves import path_smc, suffix_moves
from fkdsl.inference.samplers.paths import Recorder, Replayer, grafted, may_go_on
from fkdsl.inference.samplers.smc import smc
from fkdsl.testing import Machine, assert_unbiased, exact_measure, machines
from fkdsl.testing.laws import assert_same_masses
from fkdsl.testing.paths import assert_stationary, exact_paths

STOPS = Machine(
    M=(((0.4, 0.6), (0.5, 0.5)), ((0.3, 0.7), (0.6, 0.4)), ((0.9, 0.1), (0.2, 0.8))),
    G=(((2.0, 0.5), (1.0, 1.0)), ((0.7, 1.5), (0.2, 3.0)), ((0.5, 1.0), (0.0, 4.0))),
    stops=frozenset({0}),
)
"""Paths of lengths 1, 2 and 3."""
THREE = Machine(
    M=(((0.2, 0.5, 0.3),) * 3, ((0.6, 0.3, 0.1), (0.1, 0.2, 0.7), (1.0, 0.0, 0.0))),
    G=(((4.0, 0.5, 1.0),) * 3, ((0.2, 1.0, 3.0), (2.0, 0.0, 0.7), (1.0, 1.0, 1.0))),
    stops=frozenset({2}),
)
"""Two ways to run on after the first step, and one to have finished."""


class NoisyMachine:
    """A machine whose potentials are random: doubled or nothing, right in expectation."""

    def __init__(self, machine):
        self.machine = machine

    def __getattr__(self, name):
        return getattr(self.machine, name)

    def step(self, rngs, xp):
        x, log_G = self.machine.step(rngs, xp)
        noise = [(1.5, 0.75, 0.0)[rng.choice([0.5, 0.25, 0.25])] for rng in rngs]
        noise = [n * 16 / 15 for n in noise]
        return x, log_G + np.array([math.log(n) if n else -math.inf for n in noise])


def one_move(model, **options):
    return lambda rng, path: suffix_moves(model, [rng], [path], **options)[0][0]


@given(machines(sites=3, steps=3))
def test_a_move_leaves_the_posterior_of_paths_as_it_is(model):
    assert_stationary(exact_paths(model), one_move(model))


@settings(max_examples=10)
@given(machines(sites=2, steps=2))
def test_a_move_leaves_it_as_it_is_where_potentials_are_random(model):
    noisy = NoisyMachine(model)
    assert_same_masses(exact_measure(noisy), exact_measure(model))
    assert_stationary(exact_paths(noisy), one_move(noisy))


@given(machines(sites=3, steps=3), st.integers(1, 3))
def test_a_move_in_flight_leaves_the_law_of_running_paths_as_it_is(model, t):
    running = [(path, mass) for path, mass in exact_paths(model, until=t) if may_go_on(model, path)]
    assert_stationary(running, one_move(model, until=t))


@given(machines(sites=2, steps=3), st.sampled_from((0.5, 2.0)))
def test_a_move_leaves_a_powered_law_as_it_is(model, power):
    powered = [
        (path, mass * math.exp((power - 1) * path.log_p_after(0)))
        for path, mass in exact_paths(model)
    ]
    assert_stationary(powered, one_move(model, power=power))


def test_moves_are_not_all_refused_and_do_change_the_length():
    paths = exact_paths(STOPS)
    assert {path.T for path, _ in paths} == {1, 2, 3}
    for path, _ in paths:
        lengths = {
            moved.T for _, moved in enumerate_outcomes(lambda rng, p=path: one_move(STOPS)(rng, p))
        }
        assert lengths == {1, 2, 3}


def without_the_lengths(old, new, k, power=1.0):
    return ACCEPTANCE(old, new, k, power) - math.log(old.T) + math.log(new.T)


def the_wrong_way_round(old, new, k, power=1.0):
    return ACCEPTANCE(new, old, k, power)


def with_the_whole_path(old, new, k, power=1.0):
    return ACCEPTANCE(old, new, k, power) + old.log_G_after(0) - old.log_G_after(k)


ACCEPTANCE = moves.log_acceptance


@pytest.mark.parametrize("bug", [without_the_lengths, the_wrong_way_round, with_the_whole_path])
def test_a_planted_bug_in_the_acceptance_is_caught(monkeypatch, bug):
    assert_stationary(exact_paths(STOPS), one_move(STOPS))
    monkeypatch.setattr(moves, "log_acceptance", bug)
    with pytest.raises(AssertionError):
        assert_stationary(exact_paths(STOPS), one_move(STOPS))


# ------------------------------------------------------------------------ smc


@pytest.mark.parametrize(("n", "ess"), [(1, 1.0), (2, 1.0), (2, 0.8), (2, 0.0)])
def test_smc_with_moves_is_unbiased_with_early_finishers(n, ess):
    assert_unbiased(THREE, lambda rng: smc(THREE, rng, n, ess, moves=1))


@settings(max_examples=30)
@given(model=machines(sites=3, steps=2), n=st.integers(1, 2), ess=st.sampled_from((0.0, 0.8, 1.0)))
def test_smc_with_moves_is_unbiased_on_drawn_models(model, n, ess):
    assert_unbiased(model, lambda rng: smc(model, rng, n, ess, moves=1))


@pytest.mark.parametrize("resampling", ["multinomial", "ssp"])
def test_smc_with_two_moves_is_unbiased_by_other_schemes(resampling):
    short = Machine(STOPS.M[:2], STOPS.G[:2])
    assert_unbiased(short, lambda rng: smc(short, rng, 2, 1.0, resampling, moves=2))


def moves_where_it_was_resampled(monkeypatch):
    """The usual way: it looks right, and is not, since resampling tells of the particles that are
    moved."""
    resampled = set()
    offspring = moves.offspring
    monkeypatch.setattr(
        moves, "offspring", lambda x, A, t: (resampled.add(t), offspring(x, A, t))[1]
    )
    monkeypatch.setattr(moves, "due", lambda t: t + 1 in resampled and not resampled.clear())


def moves_into_the_end(monkeypatch):
    """Running paths may become finished ones, which never come back."""

    def suffix_moves(model, rngs, paths, until):
        starts = [
            rng.split("from").choice(np.ones(path.T) / path.T)
            for rng, path in zip(rngs, paths, strict=True)
        ]
        new = moves.completed(
            model, rngs, [p.upto(k) for p, k in zip(paths, starts, strict=True)], until
        )
        ends = []
        for rng, old, proposal, k in zip(rngs, paths, new, starts, strict=True):
            log_a = (
                -math.inf
                if proposal.log_G[-1] == -math.inf
                else min(0.0, ACCEPTANCE(old, proposal, k))
            )
            ends.append(proposal if rng.choice([-math.expm1(log_a), math.exp(log_a)]) == 1 else old)
        return ends, 0

    monkeypatch.setattr(moves, "suffix_moves", suffix_moves)


def moves_that_keep_every_proposal(monkeypatch):
    monkeypatch.setattr(moves, "log_acceptance", lambda *given: 0.0)


@pytest.mark.parametrize(
    "bug", [moves_where_it_was_resampled, moves_into_the_end, moves_that_keep_every_proposal]
)
def test_a_planted_bug_in_smc_with_moves_is_caught(monkeypatch, bug):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        assert_unbiased(THREE, lambda rng: smc(THREE, rng, 2, 0.8, moves=1))


def test_each_step_of_smc_with_moves_has_the_paths_of_its_particles():
    for step, paths in path_smc(STOPS, KeyedRng(3), 6, 1.0, moves=2):
        for path, x, w in zip(paths, step.states, step.log_weights, strict=True):
            assert path.last == x
            assert step.t >= path.T
            assert (w == -math.inf) == (path.log_G[-1] == -math.inf)


def test_smc_without_moves_draws_as_it_did():
    a, b = (
        list(smc(STOPS, KeyedRng(5), 9, 1.0, merge=False)),
        list(path_smc(STOPS, KeyedRng(5), 9, 1.0)),
    )
    assert [s.states for s in a] == [s.states for s, _ in b]
    assert all(
        np.allclose(s.log_weights, r.log_weights, atol=1e-12)
        for s, (r, _) in zip(a, b, strict=True)
    )


def test_moves_give_an_impoverished_population_other_paths():
    """The second step leaves few particles, whose first steps all share; the first step itself was
    worth nothing."""
    even = (0.25,) * 4
    model = Machine(
        M=((even,) * 4,) * 6,
        G=(((1.0,) * 4,) * 4, ((1.0, 1.0, 1.0, 20.0),) * 4, *(((1.0,) * 4,) * 4,) * 4),
        merge=False,
    )

    def error(moves):
        found = []
        for seed in range(40):
            *_, (step, paths) = path_smc(model, KeyedRng(seed), 16, 0.5, moves=moves)
            W = np.exp(step.log_weights - step.log_Z)
            found.append(float(W @ [path.states[1][1] == 0 for path in paths]) - 0.25)
        return float(np.mean(np.square(found)))

    assert error(3) <= 0.7 * error(0)


def test_a_run_with_moves_says_how_many_were_accepted_and_has_no_error_of_its_own():
    result = run(STOPS, "smc", 1, {"moves": 2, "particles": 20})
    assert any("moves" in note and "accepted" in note for note in result.notes)
    assert result.uncertainty.by == "none"
    assert run(STOPS, "smc", 1, {"moves": 2}, islands=3).uncertainty.by == "islands"
    assert not any("moves" in note for note in run(STOPS, "smc", 1).notes)


def test_a_run_with_moves_that_is_resumed_begins_anew_with_the_same_answer():
    steps = []
    whole = run(STOPS, "smc", 4, {"moves": 1}, observer=steps.append)
    again = run(STOPS, "smc", 4, {"moves": 1}, resume={0: steps[:2]})
    assert again.posterior == whole.posterior
    assert again.log_z == whole.log_z
    with pytest.raises(InternalError):
        list(smc(STOPS, KeyedRng(4), 8, moves=1, start=steps[1]))


# ---------------------------------------------------------------- replaying


def test_recorded_draws_are_given_again_and_their_probability_counted():
    recorder = Recorder(KeyedRng(1))
    first = [recorder.split("a").choice([0.2, 0.8]), recorder.split("b").choice([1.0, 3.0])]
    draws = recorder.draws()
    again = Replayer(draws)
    assert [again.choice([0.2, 0.8]), again.choice([1.0, 3.0])] == first
    assert again.draws() == draws
    assert math.isclose(draws.log_M, math.log((0.2, 0.8)[first[0]] * (0.25, 0.75)[first[1]]))
    assert math.isclose(draws.log_p, math.log((0.2, 0.8)[first[0]] * (1.0, 3.0)[first[1]]))


def test_draws_that_cannot_be_had_lead_astray():
    recorder = Recorder(KeyedRng(1))
    recorder.choice([0.0, 1.0])
    for ask in ([[1.0, 0.0]], [[1.0]], [[0.0, 1.0], [1.0]], []):
        replayer = Replayer(recorder.draws())
        for p in ask:
            assert p[replayer.choice(p)] > 0.0
        assert replayer.draws() is None


def test_a_graft_is_the_path_that_the_draws_give_from_there():
    paths = {path.states: path for path, _ in exact_paths(THREE)}
    long, other, ended = (
        paths[(0, 0), (1, 1), (2, 0)],
        paths[(0, 0), (1, 0), (2, 0)],
        paths[(0, 0), (1, 2)],
    )
    assert grafted(THREE, [other.upto(1), long.upto(1), ended], long, 1) == [other, long, None]
