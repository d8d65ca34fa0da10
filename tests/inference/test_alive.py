"""The alive particle filter: unbiased however its steps stop, N alive at every step, the same
answer in any batches."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import PopulationDied
from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import enumerate_outcomes, expectation
from fkdsl.inference.run import run
from fkdsl.inference.samplers import alive as module
from fkdsl.inference.samplers.alive import alive, likely_needed
from fkdsl.inference.samplers.smc import smc
from fkdsl.inference.search.exact import exact
from fkdsl.testing import Machine, assert_unbiased, exact_measure, machines, program_texts
from fkdsl.testing.laws import assert_same_masses

MORTAL = Machine(
    M=(((0.5, 0.5), (0.5, 0.5)), ((0.3, 0.7), (0.6, 0.4))),
    G=(((0.0, 2.0), (1.0, 1.0)), ((1.0, 0.5), (0.0, 3.0))),
)
ABSORBED = Machine(
    M=(((0.5, 0.3, 0.2),) * 3,) * 2,
    G=(((0.5, 1.5, 0.0),) * 3,) * 2,
    stops=frozenset({1}),
)
"""Some have finished after the first step, others die."""
NARROW = Machine(M=(((0.9, 0.1),) * 2,) * 6, G=(((0.0, 1.0),) * 2,) * 6)
"""One draw of ten lives."""
LONG = Machine(
    M=(((0.3, 0.5, 0.2), (0.2, 0.4, 0.4), (0.6, 0.2, 0.2)),) * 5,
    G=(((1.0, 0.0, 2.0), (0.5, 1.5, 0.0), (0.9, 3.0, 0.2)),) * 5,
    stops=frozenset({2}),
)
seeds = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("model", "n", "attempts"),
    [
        *((m, *c) for m in (MORTAL, ABSORBED) for c in [(1, 1), (1, 3), (1, 5), (2, 2)]),
        (MORTAL, 2, 3),
    ],
)
def test_alive_is_unbiased_whichever_way_its_steps_stop(model, n, attempts):
    assert_unbiased(model, lambda rng: alive(model, rng, n, attempts, batch=1))


@settings(max_examples=30)
@given(model=machines(), attempts=st.integers(1, 4))
def test_alive_with_one_particle_is_unbiased_on_drawn_models(model, attempts):
    assert_unbiased(model, lambda rng: alive(model, rng, 1, attempts, batch=1))


@settings(max_examples=30)
@given(model=machines(steps=1, sites=3), n=st.integers(2, 3), attempts=st.integers(3, 4))
def test_alive_with_more_is_unbiased_on_drawn_models_of_one_step(model, n, attempts):
    assert_unbiased(model, lambda rng: alive(model, rng, n, attempts, batch=1))


@pytest.mark.parametrize("batch", [2, 3, None])
def test_alive_is_unbiased_in_batches(batch):
    assert_unbiased(MORTAL, lambda rng: alive(MORTAL, rng, 1, 3, batch=batch))


@pytest.mark.parametrize(("n", "attempts"), [(1, 3), (1, 5), (2, 4)])
def test_one_step_stops_all_three_ways_and_the_rules_masses_add_up(n, attempts):
    """N + 1 alive before the bound, N + 1 at the bound, fewer at it (none among them): each with
    its own divisor."""
    one = Machine(M=(((0.4, 0.6),) * 2,), G=(((0.0, 1.0),) * 2,))
    ways, Z = set(), 0.0
    for p, last in enumerate_outcomes(lambda rng: list(alive(one, rng, n, attempts, batch=1))[-1]):
        made, lived = len(last.particles), last.alive
        ways.add((made < attempts - 1, lived == n))
        assert math.isclose(math.exp(last.log_Z), lived / made, abs_tol=1e-12)
        assert lived <= n
        Z += p * math.exp(last.log_Z)
    assert {(True, True), (False, True), (False, False)} <= ways
    assert math.isclose(Z, 0.6, rel_tol=1e-12)


@settings(max_examples=15)
@given(program_texts().map(lambda text: text.replace("range(3", "range(2")))
def test_alive_is_unbiased_for_drawn_programs(text):
    model = fkdsl.parse(text).feynman_kac()
    assert_unbiased(model, lambda rng: alive(model, rng, 1, 2, batch=1))


def test_the_filtering_measure_is_right_at_every_step():
    levels = list(exact(ABSORBED))
    found = [{} for _ in levels]
    for p, steps in enumerate_outcomes(lambda rng: list(alive(ABSORBED, rng, 1, 3, batch=1))):
        for t, masses in enumerate(found):
            step = steps[min(t, len(steps) - 1)]
            for particle, w in zip(step.particles, step.log_weights, strict=True):
                if w > -math.inf:
                    masses[particle.state] = masses.get(particle.state, 0.0) + p * math.exp(w)
    for level, masses in zip(levels, found, strict=True):
        assert_same_masses(
            masses, dict(zip(level.states, map(math.exp, level.log_weights), strict=True))
        )


# ------------------------------------------------------------------------------------- planted bugs

UNTIL = module.trials_until


def divided_by_all(model, rng, step, wanted, attempts, batch, observer=None):
    """S / T_t in place of S / (T_t - 1)."""
    x, log_G, A, trials = UNTIL(model, rng, step, wanted, attempts, batch, observer)
    stopped = int(np.isfinite(log_G).sum()) == wanted - 1 and trials < attempts
    return x, log_G, A, trials + stopped


def last_one_kept(model, rng, step, wanted, attempts, batch, observer=None):
    """Stops at N alive and keeps them all: x / n, which a walk that ends on a success has not on
    average."""
    x, log_G, A, trials = UNTIL(model, rng, step, wanted, attempts, batch, observer)
    lived = np.flatnonzero(np.isfinite(log_G))
    if len(lived) == wanted - 1:
        trials = int(lived[-1]) + 1
    return x[:trials], log_G[:trials], A[:trials], trials


def one_less_at_the_bound(model, rng, step, wanted, attempts, batch, observer=None):
    """S / (attempts - 1) where the attempts ended it."""
    x, log_G, A, trials = UNTIL(model, rng, step, wanted, attempts, batch, observer)
    return x, log_G, A, trials - (trials == attempts)


def finished_ones_tried_for_nothing(model, rng, step, wanted, attempts, batch, observer=None):
    """Trials from finished particles are not counted."""
    x, log_G, A, trials = UNTIL(model, rng, step, wanted, attempts, batch, observer)
    done = sum(model.finished(step.particles[a].state) for a in A)
    return x, log_G, A, max(trials - done, 1)


@pytest.mark.parametrize(
    ("bug", "n", "attempts"),
    [
        (divided_by_all, 1, 3),
        (last_one_kept, 1, 3),
        (one_less_at_the_bound, 1, 3),
        (finished_ones_tried_for_nothing, 2, 2),
    ],
)
def test_a_planted_bug_in_alive_is_caught(monkeypatch, bug, n, attempts):
    """In a case in which `test_alive_is_unbiased_whichever_way_its_steps_stop` finds none."""
    monkeypatch.setattr(module, "trials_until", bug)
    with pytest.raises(AssertionError):
        assert_unbiased(ABSORBED, lambda rng: alive(ABSORBED, rng, n, attempts, batch=1))


# ----------------------------------------------------------------------------------------- the loop


@given(model=machines(sites=3, steps=4), seed=seeds, n=st.integers(1, 6))
def test_n_live_after_every_step_unless_the_attempts_ended_it(model, seed, n):
    for drawn in (model, LONG):
        for step in list(alive(drawn, KeyedRng(seed), n, 60))[1:]:
            assert step.alive == n or (step.alive < n and len(step.particles) == 60)


@given(model=machines(sites=3, steps=4), seed=seeds, batch=st.integers(1, 70))
def test_the_size_of_a_batch_changes_no_answer(model, seed, batch):
    for drawn in (model, LONG):
        a, b = (list(alive(drawn, KeyedRng(seed), 5, 50, batch=size)) for size in (batch, None))
        assert [s.particles for s in a] == [s.particles for s in b]
        assert [s.ancestors for s in a] == [s.ancestors for s in b]
        assert all(np.array_equal(s.log_weights, r.log_weights) for s, r in zip(a, b, strict=True))


@given(model=machines(sites=3, steps=4), seed=seeds)
def test_it_goes_on_from_any_of_its_steps_as_if_it_had_not_stopped(model, seed):
    for drawn in (model, LONG):
        steps = list(alive(drawn, KeyedRng(seed), 5, 50))
        for k, step in enumerate(steps):
            again = list(alive(drawn, KeyedRng(seed), 5, 50, start=step))
            assert [s.particles for s in again] == [s.particles for s in steps[k:]]
            assert [s.log_Z for s in again] == [s.log_Z for s in steps[k:]]


@given(seed=seeds)
def test_lineages_are_unique_over_all_steps_and_ancestors_lived(seed):
    steps = list(alive(LONG, KeyedRng(seed), 9, 200))
    lineages = [p.lineage for s in steps for p in s.particles]
    assert len(set(lineages)) == len(lineages)
    for before, step in pairwise(steps):
        assert all(before.log_weights[a] > -math.inf for a in step.ancestors)


def test_a_narrow_condition_leaves_every_particle_alive_where_smc_dies():
    died = 0
    for seed in range(20):
        *_, last = alive(NARROW, KeyedRng(seed), 8)
        assert last.alive == 8
        *_, other = smc(NARROW, KeyedRng(seed), 8)
        died += other.alive == 0
    assert died > 10


def test_z_hat_is_right_on_average_with_many_particles_and_the_test_could_tell():
    """150 runs; a true mean stays within 4.9 standard errors but once in a million."""
    narrow = Machine(M=(((0.8, 0.2),) * 2,) * 3, G=(((0.0, 1.0),) * 2,) * 3)
    found = (
        np.array(
            [math.exp(run(narrow, "alive", seed, {"particles": 20}).log_z) for seed in range(150)]
        )
        / 0.2**3
    )
    bound = 4.9 * found.std(ddof=1) / math.sqrt(len(found))
    assert abs(found.mean() - 1.0) <= bound <= 0.15


def test_a_step_that_nothing_lives_through_ends_the_run_and_says_where():
    dead = Machine(M=(((0.5, 0.5),) * 2,) * 2, G=((((1.0, 1.0),) * 2), ((0.0, 0.0),) * 2))
    with pytest.raises(
        PopulationDied, match=r"none of 40 draws of step 2 lived(.|\n)*died at site"
    ):
        run(dead, "alive", options={"attempts": 40})


@given(wanted=st.integers(1, 400), lived=st.integers(0, 399), dead=st.integers(0, 10**6))
def test_a_batch_is_never_empty_and_never_huge(wanted, lived, dead):
    if lived < wanted:
        assert (
            wanted - lived
            <= likely_needed(wanted, lived, lived + dead)
            <= max(wanted, module.BATCH)
        )


def test_programs_and_the_command_line_have_it():
    text = 'model m = table:\n    "" -> "a": 0.25, "b": 0.75\n\n'
    text += 'program main() -> str:\n    lm = prompt("")\n    t ~ lm\n    condition t == "a"\n'
    text += "    return t\n\ninfer alive(particles=4, attempts=100)\n"
    program = fkdsl.parse(text)
    result = program.without().run(seed=1)
    assert result.method == "alive"
    assert len(result.particles) == 4
    Z = expectation(
        lambda rng: math.exp(
            list(alive(program.without().feynman_kac(), rng, 1, 3, batch=1))[-1].log_Z
        ),
        lambda z: z,
    )
    assert math.isclose(Z, sum(exact_measure(program.feynman_kac()).values()), rel_tol=1e-12)
