"""A Feynman-Kac model of a user's that breaks a law is told so by its own names."""

import numpy as np
import pytest

import fkdsl
from fkdsl.inference.checked_model import CheckedModel
from fkdsl.inference.interface import Bounded, Charged
from fkdsl.testing import assert_unbiased


class Letters:
    """Three letters, of which b weighs half."""

    def initial(self, rngs):
        return [""] * len(rngs), np.zeros(len(rngs))

    def step(self, rngs, xp):
        x = [x + "ab"[rng.choice([0.4, 0.6])] for rng, x in zip(rngs, xp, strict=True)]
        return x, np.log([0.5 if s.endswith("b") else 1.0 for s in x])

    def finished(self, x):
        return len(x) == 3

    def value(self, x):
        return x

    key = describe = value


class Fewer(Letters):
    def step(self, rngs, xp):
        x, log_G = super().step(rngs, xp)
        return x[1:], log_G


class OneWeight(Letters):
    def step(self, rngs, xp):
        return super().step(rngs, xp)[0], 0.0


class OfZero(Letters):
    def step(self, rngs, xp):
        return super().step(rngs, xp)[0], np.full(len(xp), np.nan)


class Infinite(Letters):
    def initial(self, rngs):
        return [""] * len(rngs), np.full(len(rngs), np.inf)


class StatesAlone(Letters):
    def step(self, rngs, xp):
        return super().step(rngs, xp)[0]


class InPlace(Letters):
    def initial(self, rngs):
        return [[] for _ in rngs], np.zeros(len(rngs))

    def step(self, rngs, xp):
        for rng, x in zip(rngs, xp, strict=True):
            x.append("ab"[rng.choice([0.4, 0.6])])
        return list(xp), np.zeros(len(xp))

    def key(self, x):
        return tuple(x)


class Listed(InPlace):
    def key(self, x):
        return x


BROKEN = [
    (Fewer, r"`step` of Fewer was given 4 particles, and gave 3 states and log potentials of"),
    (OneWeight, r"gave 4 states and log potentials of shape \(\)"),
    (OfZero, r"`step` of OfZero gave the log potential nan to the state '[ab]'"),
    (Infinite, r"`initial` of Infinite gave the log potential inf to the state ''"),
    (StatesAlone, "`step` of StatesAlone gave no pair of states and log potentials"),
    (InPlace, r"`step` of InPlace changed the state that it was given: \(\) became \('[ab]',\)"),
    (Listed, r"`key` of Listed gave \[\], which is not hashable"),
]


@pytest.mark.parametrize(("model", "message"), BROKEN)
def test_a_model_that_breaks_a_law_is_told_which(model, message):
    with pytest.raises(fkdsl.CallError, match=message) as raised:
        fkdsl.run(model(), "smc", particles=4)
    assert raised.value.help


def test_a_state_that_is_changed_in_place_is_no_endless_enumeration():
    with pytest.raises(fkdsl.CallError, match="changed the state that it was given"):
        assert_unbiased(InPlace(), "smc", particles=2)


def test_a_checked_model_has_what_the_model_has_and_its_answer():
    class Bound(Letters):
        def log_bound(self, x):
            return 0.0

    model = CheckedModel(Bound())
    assert isinstance(model, Bounded)
    assert not isinstance(model, Charged)
    assert fkdsl.run(Letters(), "exact").log_z == pytest.approx(3 * np.log(0.7))
    assert_unbiased(Letters(), "smc", particles=2)


def test_a_model_in_python_is_watched_cut_and_filtered_as_a_program_is():
    steps = []
    result = fkdsl.run(Letters(), "smc", particles=4, observer=steps.append, filtering=True)
    assert [step.t for step in steps] == [0, 1, 2, 3]
    assert len(result.filtering) == 4
    with pytest.raises(fkdsl.BudgetEnded):
        fkdsl.run(Letters(), "smc", max_steps=1)
