"""What `fkdsl test` runs and holds to what is to come: the equations hold exactly, and no outcome
exceeds its bound."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import fkdsl
from fkdsl.api.test_blocks import program_lookahead
from fkdsl.base.random import KeyedRng
from fkdsl.inference.assess.lookahead import look_ahead
from fkdsl.inference.assess.variants import variants
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import steps_of
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing import Machine, exact_measure, machines, program_texts

STOPS = Machine(
    M=(((0.4, 0.6), (0.5, 0.5)), ((0.3, 0.7), (0.6, 0.4))),
    G=(((0.2, 0.5), (1.0, 1.0)), ((0.7, 1.5), (0.2, 3.0))),
    stops=frozenset({0}),
)


def of_machine(model):
    """h of Z and of ending at site 0."""

    def ceiling(x):
        most = max(row[x[1]] for row in model.G[x[0] - 1])
        return math.log(most) if most > 0.0 else -math.inf

    return look_ahead(model, lambda value: np.array([1.0, value[1] == 0]), 2, ceiling, 1000)


def test_every_method_is_checked_or_has_no_estimate():
    assert {v.method for v in variants()} == {m for m in METHODS if METHODS[m].estimates_z}
    assert {m for m in METHODS if not METHODS[m].estimates_z} == {"exact", "beam", "local"}


def test_what_is_to_come_agrees_with_a_hand_sum():
    found = of_machine(STOPS)
    # From site 1 at step 1: 0.6 * 0.2 to site 0, 0.4 * 3 to site 1.
    assert np.allclose(found.h[(1, 1)], [0.6 * 0.2 + 0.4 * 3.0, 0.6 * 0.2])
    assert np.allclose(
        found.total_of_start, [0.4 * 0.2 + 0.6 * 0.5 * 1.32, 0.4 * 0.2 + 0.6 * 0.5 * 0.12]
    )
    # In the second step 3 at most, where those that stopped keep what they have.
    assert np.allclose(found.ceilings[2], [3.0, 1.0])


@given(machines(sites=3, steps=3))
def test_what_is_to_come_from_the_start_is_the_whole_measure(model):
    measure = exact_measure(model)
    found = of_machine(replace(model, merge=True)).total_of_start
    assert abs(found[0] - math.fsum(measure.values())) <= 1e-12


STEPWISE = [v for v in variants() if v.stepwise]


@pytest.mark.parametrize("variant", STEPWISE, ids=lambda v: v.name)
@settings(max_examples=12)
@given(model=machines(steps=3))
def test_each_step_keeps_what_is_to_come_on_average_and_below_its_bound_exactly(variant, model):
    """E[quotient | steps before] = 1 wherever it is not 0 / 0: by history, over every outcome of
    the randomness."""
    model = replace(model, merge=True)  # where states have keys
    found = of_machine(model)
    options = {"alive": {"particles": 1, "attempts": 3}}.get(variant.method, variant.settings[0])
    sums, mass = {}, {}
    for p, steps in enumerate_outcomes(
        lambda rng: list(steps_of(model, rng, variant.method, options))
    ):
        history = ()
        for step, (x, bound) in zip(
            steps, found.quotients(steps, variant.checks.reduces_after), strict=True
        ):
            assert (x <= bound * (1.0 + 1e-9)).all()
            sums[history] = sums.get(history, 0.0) + p * x
            mass[history] = mass.get(history, 0.0) + p
            history = (*history, tuple(zip(step.states, step.log_weights, strict=True)))
    assert sums
    for history in sums:
        assert np.allclose(sums[history], mass[history], rtol=1e-9)


@settings(max_examples=20)
@given(program_texts())
def test_draws_that_look_ahead_stay_below_the_bounds_too(text):
    program = fkdsl.parse(text)
    engines = program.engines()
    found = program_lookahead(program, engines, lambda value: np.ones(1), 1, 5000)
    for tested in (0, 32):
        model = program.feynman_kac(engines=engines, proposals=ProposalSettings(enumerated=tested))
        for seed in range(5):
            steps = list(steps_of(model, KeyedRng(seed), "smc", {"particles": 2, "ess": 1.0}))
            for x, bound in found.quotients(steps):
                assert (x <= bound * (1.0 + 1e-6)).all()
