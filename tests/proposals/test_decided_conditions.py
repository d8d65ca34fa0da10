"""Conditions behind a draw that masks decide: a particle that has drawn by them is past them."""

from unittest.mock import patch

import pytest

import fkdsl
from fkdsl.engine.constraints.constraint import regular_masks
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.inference.samplers.smc import smc
from fkdsl.machine.ops import ConditionOp
from fkdsl.testing import assert_same_measure
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure
from tests.proposals.test_so_far import TABLE, TAKEN, plan_of


def test_a_mask_that_allows_too_much_is_seen_in_the_measure():
    """A planted bug: a particle is past the conditions that its draw's masks decide."""
    text = TABLE.replace("{test}", TAKEN[0]).replace("lm.tokens < 3", "lm.tokens < 2")
    plain = exact_measure(fkdsl.parse(text).without()().feynman_kac())
    mask = RegularMasks._prefix_mask

    def measure():
        regular_masks.cache_clear()
        model = fkdsl.parse(text)().feynman_kac()
        return expected_measure(model, lambda rng: smc(model, rng, 1, 0.5))

    assert_same_masses(measure(), plain)
    with patch.object(RegularMasks, "_prefix_mask", lambda self, place: mask(self, place) | True):
        wrong = measure()
    regular_masks.cache_clear()
    with pytest.raises(AssertionError):
        assert_same_masses(wrong, plain)


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        ("condition {taken}", 1),
        ("condition {taken}\n        condition t != EOS", 2),
        ("condition most > 1\n        condition {taken}", 0),  # no mask has looked at the first
        ("condition {taken}\n        condition lm.tokens < most", 0),
    ],
)
def test_a_particle_passes_the_conditions_behind_its_draw_that_masks_decide(body, passed):
    text = TABLE.replace("condition {test}", body.replace("{taken}", TAKEN[0]))
    assert plan_of(text).passed == passed
    for most in (1, 2):
        program, plain = fkdsl.parse(text)(most=most), fkdsl.parse(text).without()(most=most)
        assert_same_measure(program.feynman_kac(), plain.feynman_kac(), 1e-12)


def test_a_token_on_which_a_mask_fails_is_met_by_its_condition():
    """Nobody knows what the condition says of it but the condition."""
    text = TABLE.replace("condition {test}", "condition 1 / (len(str(t)) - 2) < 9.0")
    asked = []
    run = ConditionOp.run
    with patch.object(ConditionOp, "run", lambda op, *args: asked.append(op) or run(op, *args)):
        with pytest.raises(fkdsl.ProgramError, match="zero"):
            fkdsl.parse(text).run("smc", particles=20, seed=1)
        assert asked
        asked.clear()
        fkdsl.parse(text.replace("- 2", "+ 2")).run("smc", particles=20, seed=1)
        assert not asked
