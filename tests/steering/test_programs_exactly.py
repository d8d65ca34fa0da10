"""Drawn programs mean what their text says, and every method is unbiased for them, by
enumeration."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.inference.samplers.rejection import rejection
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.inference.samplers.steer import steer
from fkdsl.inference.search.exact import exact
from fkdsl.testing import assert_unbiased, exact_measure, program_texts
from fkdsl.testing.laws import assert_same_masses
from tests.steering.oracle import oracle_measure


@settings(max_examples=150)
@given(program_texts())
def test_exact_agrees_with_the_program_read_as_python(text):
    assert_same_masses(exact_measure(fkdsl.parse(text).feynman_kac()), oracle_measure(text), 1e-12)


def short(text):
    """The program with at most two draws in its loop, so that whole populations can be
    enumerated."""
    return text.replace("range(3", "range(2")


@settings(max_examples=25)
@given(text=program_texts().map(short), n=st.integers(1, 2))
def test_smc_is_unbiased_for_drawn_programs(text, n):
    program = fkdsl.parse(text)
    model = program.feynman_kac()
    assert_unbiased(program, lambda rng: smc(model, rng, n, 1.0))


@settings(max_examples=25)
@given(text=program_texts().map(short))
def test_steer_is_unbiased_for_drawn_programs(text):
    program = fkdsl.parse(text)
    model = program.feynman_kac()
    assert_unbiased(program, lambda rng: steer(model, rng, 1, 2))


@settings(max_examples=25)
@given(text=program_texts())
def test_importance_is_unbiased_for_drawn_programs(text):
    program = fkdsl.parse(text)
    model = program.feynman_kac()
    assert_unbiased(program, lambda rng: importance(model, rng, 1))


HARD = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2

program main() -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < 2:
        t ~ lm
        condition t != "b"
    return lm.text
"""


@pytest.mark.parametrize(
    "method",
    [
        lambda m, rng: smc(m, rng, 3, 1.0, "ssp"),
        lambda m, rng: steer(m, rng, 3, 1),
        lambda m, rng: steer(m, rng, 2, 2),
        lambda m, rng: rejection(m, rng, samples=2, attempts=2),
    ],
)
def test_methods_are_unbiased_for_a_program_with_three_particles(method):
    program = fkdsl.parse(HARD)
    model = program.feynman_kac()
    assert_unbiased(program, lambda rng: method(model, rng))


def test_z_of_a_hidden_markov_model_is_the_forward_algorithms():
    result = fkdsl.load("programs/hidden_state.fk").exact()
    assert abs(math.exp(result.log_z) - 0.05581265) <= 1e-12


def test_a_checkpoint_changes_the_steps_and_not_the_measure():
    coarse = HARD.replace('condition t != "b"', 'condition t != "b"\n        checkpoint')
    coarser = HARD.replace("    return", "    checkpoint\n    return")
    fine = exact_measure(fkdsl.parse(HARD).feynman_kac())
    for text in (coarse, coarser):
        assert_same_masses(exact_measure(fkdsl.parse(text).feynman_kac()), fine)
    assert len(list(exact(fkdsl.parse(coarser).feynman_kac()))) == 2
    assert len(list(exact(fkdsl.parse(HARD).feynman_kac()))) == 3


def test_a_finished_particle_is_never_stepped_and_a_dead_one_neither():
    model = fkdsl.parse(HARD).feynman_kac()
    real, seen = model.step, []

    def watched(rngs, xp):
        seen.extend(xp)
        return real(rngs, xp)

    model.step = watched
    fkdsl.run(model, "smc", particles=50)
    assert seen
    assert all(x.status.value == "running" for x in seen)
