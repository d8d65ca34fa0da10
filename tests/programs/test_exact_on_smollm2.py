"""Exact inference on a real model, where conditions leave few texts: with -m smollm2."""

import math

import pytest

import fkdsl

pytestmark = pytest.mark.smollm2
YES_OR_NO = """
program yes_or_no() -> str:
    lm = prompt("Question: Is the sky blue on a clear day? Answer yes or no.\\nAnswer:")
    a ~ choice(lm, [" yes", " no"])
    return a
"""
LABEL = """
program label() -> str:
    lm = prompt("Review: The room was spotless.\\nSentiment (positive, negative or neutral):")
    s ~ text(lm, until="\\n", max_tokens=2)
    condition s in [" positive", " negative", " neutral"]
    return s
"""


@pytest.fixture
def model(smollm2):
    return smollm2


def test_a_yes_or_no_question_takes_three_states(model):
    result = fkdsl.parse(YES_OR_NO).exact(model=model)
    assert result.states == 3
    assert abs(result.log_z) <= 1e-6
    assert {a.value for a in result.posterior} == {" yes", " no"}


def test_a_label_is_known_to_four_places_and_smc_agrees(model):
    program = fkdsl.parse(LABEL)
    exact = program.exact(model=model)
    low, high = exact.log_z_bounds or (exact.log_z, exact.log_z)
    assert high - low <= 1e-4
    assert exact.states <= 400
    smc = program.run("smc", model=model, particles=64)
    assert abs(smc.log_z - exact.log_z) <= 5 * max(smc.log_z_se or 0.0, 0.02)
    for a in smc.posterior:
        assert abs(a.probability - exact.probability(a.value)) <= 0.3


def test_a_search_of_a_date_that_is_ended_encloses_smc(model):
    program = fkdsl.load("programs/iso_date.fk")
    exact = program.exact(model=model, max_tokens=300)
    low, high = exact.log_z_bounds
    smc = program.run("smc", model=model, particles=32)
    assert low - 0.1 <= smc.log_z <= high + 0.1
    assert high < math.inf
    assert exact.posterior[0].low <= exact.posterior[0].probability <= exact.posterior[0].high


def test_a_beam_covers_part_of_what_exact_finds(model):
    program = fkdsl.parse(LABEL)
    beam = program.run("beam", model=model, width=4)
    low, high = beam.log_z_bounds
    exact = program.exact(model=model)
    assert low <= exact.log_z + 1e-4
    assert exact.log_z <= high + 1e-6
