"""A pilot may choose the method by any rule, and E[Z_hat] = Z, so long as its islands are no part
of the answer: by enumeration of pilot and answer together."""

import math

import numpy as np
import pytest

from fkdsl.inference.enumeration import enumerate_outcomes, expectation
from fkdsl.inference.run import steps_of
from fkdsl.inference.samplers import adaptive
from fkdsl.inference.samplers.adaptive import Aim, IslandPilot, islands_for
from fkdsl.inference.samplers.choice import CLEARLY, DEATH, Piloted, choose
from fkdsl.testing import Machine, exact_measure

COIN = Machine(M=(((0.3, 0.7),) * 2,), G=(((3.0, 0.5),) * 2,))
MORTAL = Machine(M=(((0.3, 0.7),) * 2,), G=(((0.0, 2.0),) * 2,))
CANDIDATES = {
    "one": ("importance", {"particles": 1}, 1.0),
    "two": ("smc", {"particles": 2, "ess": 1.0}, 2.5),
}


def z_hat(rng, model, name):
    method, options, _ = CANDIDATES[name]
    *_, last = steps_of(model, rng, method, options)
    return math.exp(last.log_Z)


def pilots(rng, model):
    return {name: [z_hat(rng, model, name) for _ in range(2)] for name in CANDIDATES}


def log(z):
    return math.log(z) if z > 0.0 else -math.inf


def chosen(found):
    """(the candidate, the number of its islands)"""
    piloted = {
        name: Piloted(IslandPilot(tuple(map(log, z)), (1, 1), (0.0, 0.0)), CANDIDATES[name][2])
        for name, z in found.items()
    }
    choice = choose(piloted, "one")
    return choice, islands_for(piloted[choice.name].pilot, Aim(target_se=0.9)).islands


def two_stages(rng, model):
    choice, islands = chosen(pilots(rng, model))
    return np.mean([z_hat(rng, model, choice.name) for _ in range(islands)]), choice.name


def best_of_the_pilot(rng, model):
    """The planted bug: the candidate that looks best is the answer."""
    return max(np.mean(z) for z in pilots(rng, model).values()), ""


def the_chosen_pilot(rng, model):
    """Another: what was chosen answers by its own pilot."""
    found = pilots(rng, model)
    return np.mean(found[chosen(found)[0].name]), ""


def with_its_pilot(rng, model):
    """Another: the pilot's islands of what was chosen are counted in."""
    found = pilots(rng, model)
    choice, islands = chosen(found)
    fresh = [z_hat(rng, model, choice.name) for _ in range(islands)]
    return np.mean([*found[choice.name], *fresh]), ""


@pytest.fixture(autouse=True)
def few_islands(monkeypatch):
    monkeypatch.setattr(adaptive, "PILOT", 2)
    monkeypatch.setattr(adaptive, "LEAST", 1)
    monkeypatch.setattr(adaptive, "MOST", 2)


@pytest.mark.parametrize("model", [COIN, MORTAL], ids=["coin", "mortal"])
def test_z_hat_is_unbiased_whatever_the_pilot_chooses(model):
    z = sum(exact_measure(model).values())
    outcomes = list(enumerate_outcomes(lambda rng: two_stages(rng, model)))
    assert abs(math.fsum(p * found for p, (found, _) in outcomes) - z) <= 1e-12
    assert {name for _, (_, name) in outcomes} == set(CANDIDATES)  # the pilot did choose


@pytest.mark.parametrize("rule", [best_of_the_pilot, the_chosen_pilot, with_its_pilot])
def test_rules_that_answer_by_their_pilot_are_biased(rule):
    z = sum(exact_measure(COIN).values())
    assert abs(expectation(lambda rng: rule(rng, COIN)[0], lambda found: found) - z) > 0.01


def piloted(*log_Z, cost=1.0):
    return Piloted(IslandPilot(log_Z, (1,) * len(log_Z), (0.0,) * len(log_Z)), cost)


def test_the_smaller_error_at_equal_cost_is_chosen_and_the_smaller_cost_at_equal_error():
    wide, narrow = piloted(0.0, -1.0, -2.0), piloted(-0.6, -0.7, -0.5)
    assert choose({"a": wide, "b": narrow}, "a").name == "b"
    dear = piloted(-0.6, -0.7, -0.5, cost=9.0)
    assert choose({"a": dear, "b": narrow}, "a").name == "b"


def test_the_first_stays_unless_another_is_clearly_better():
    a, b = piloted(0.0, -0.4), piloted(0.0, -0.4, cost=1.01 / CLEARLY)
    assert choose({"a": a, "b": b}, "a").name == "a"
    assert choose({"a": a, "b": piloted(0.0, -0.4, cost=0.5)}, "a").name == "b"


def test_islands_that_died_count_as_an_error():
    choice = choose({"a": piloted(-math.inf, -1.0), "b": piloted(-1.0, -1.0)}, "a")
    assert choice.name == "b"
    assert choice.tried["a"].error > DEATH / 2
    nothing = choose({"a": piloted(-math.inf, -math.inf), "b": piloted(-math.inf)}, "a")
    assert nothing.name == "a"
    assert nothing.tried["a"].error == DEATH
