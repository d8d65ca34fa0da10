"""Moves, particle Gibbs and tempering on drawn programs, guided draws among them, by
enumeration."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.logspace import normalised
from fkdsl.inference.samplers.moves import suffix_moves
from fkdsl.inference.samplers.paths import grafted
from fkdsl.inference.samplers.pgibbs import conditional_smc
from fkdsl.inference.samplers.smc import smc
from fkdsl.inference.samplers.tempered import tempered
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing import assert_unbiased, expected_measure, program_texts
from fkdsl.testing.laws import assert_same_masses
from fkdsl.testing.paths import assert_stationary, exact_paths, path_measure

REJECTION = {"enumerated": 0, "head": 2.0, "enough": 0.0}
"""Every tried draw by weighted rejection: potentials are random."""


def guided(text, **bounds):
    return fkdsl.parse(text).feynman_kac(proposals=ProposalSettings(**bounds))


def plain(text):
    return fkdsl.parse(text).without().feynman_kac()


def short(text):
    return text.replace("range(3", "range(2")


@settings(max_examples=15)
@given(program_texts(), st.sampled_from(({}, {"rejection": False}, REJECTION)))
def test_a_move_leaves_the_posterior_of_a_programs_paths_as_it_is(text, bounds):
    model = guided(short(text), **bounds)
    assert_stationary(
        exact_paths(model), lambda rng, path: suffix_moves(model, [rng], [path])[0][0]
    )


@settings(max_examples=25)
@given(program_texts(), st.booleans())
def test_a_sweep_leaves_the_posterior_of_a_programs_paths_as_it_is(text, ancestors):
    model = guided(short(text), rejection=False)

    def sweep(rng, path):
        paths, lw = conditional_smc(model, rng, path, 2, 1.0, ancestors)
        return paths[rng.choice(normalised(lw))]

    assert_stationary(exact_paths(model), sweep)


@settings(max_examples=40)
@given(program_texts(), st.sampled_from((0.5, 2.0)))
def test_guided_draws_leave_the_powered_measure_as_it_is(text, power):
    """p(draws) is that of the program as it is written, whatever its draws look ahead to."""
    assert_same_masses(
        path_measure(guided(text, rejection=False), power), path_measure(plain(text), power)
    )


@settings(max_examples=15)
@given(program_texts(), st.sampled_from((0.5, 2.0)))
def test_tempering_is_unbiased_for_drawn_programs(text, power):
    model = guided(short(text), rejection=False)
    found = expected_measure(model, lambda rng: tempered(model, rng, 1, power, 1, 1))
    assert_same_masses(found, path_measure(plain(short(text)), power))


@settings(max_examples=15)
@given(program_texts())
def test_smc_with_moves_is_unbiased_for_drawn_programs(text):
    model = guided(short(text))
    assert_unbiased(model, lambda rng: smc(model, rng, 1, 1.0, moves=1))


LETTERS = """
model m = table:
    "" -> "a": 0.1, "b": 0.2, "c": 0.3, "d": 0.2, "e": 0.1, "f": 0.05, "g": 0.03, "h": 0.02

program main() -> str:
    lm = prompt("")
    n ~ uniform_int(0, 1)
    t ~ lm
    condition t == "g" or (n == 1 and t == "b")
    u ~ lm
    return str(n) + lm.text
"""


@pytest.mark.parametrize("bounds", [{"enumerated": 32}, {"enumerated": 0}])
def test_a_masked_draw_is_replayed_by_its_token_not_by_its_place_among_those_allowed(bounds):
    model = guided(LETTERS, rejection=False, **bounds)
    found = {model.value(path.last): path for path, _ in exact_paths(model)}
    zero, one = found["0gh"], found["1bc"]
    assert grafted(model, [one.upto(1)], zero, 1)[0] == found["1gh"]
    assert grafted(model, [zero.upto(1)], one, 1) == [None]
