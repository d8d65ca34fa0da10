"""`local` is what everyone else ships: it masks, renormalises and forgets the mass, and is biased
by just that."""

import pytest

import fkdsl
from fkdsl.inference.samplers.smc import importance
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing.laws import expected_measure

FORK = """
model m = table:
    "" -> "a": 0.9, "b": 0.1
    "a" -> "c": 0.01, "d": 0.99
    "b" -> "c": 1.0

program p() -> str:
    lm = prompt("")
    t ~ lm
    u ~ lm
    condition u == "c"
    return lm.text
"""


def test_local_gives_the_fork_its_first_tokens_odds_and_not_the_posteriors():
    """The text "ac" is 0.009 likely and "bc" 0.1; masking the second token alone keeps 0.9 to
    0.1."""
    assert fkdsl.parse(FORK).exact().probability("ac") == pytest.approx(0.009 / 0.109)
    model = fkdsl.parse(FORK).feynman_kac(proposals=ProposalSettings(local=True))
    measure = expected_measure(model, lambda rng: importance(model, rng, 1))
    assert measure == pytest.approx({"ac": 0.9, "bc": 0.1})


def test_a_local_run_says_that_it_has_no_z():
    result = fkdsl.parse(FORK).run("local", particles=200, seed=1)
    assert abs(result.probability("ac") - 0.9) <= 0.1
    assert {round(p.weight * 200, 9) for p in result.particles} == {1.0}
