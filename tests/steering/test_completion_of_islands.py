"""Islands that look ahead to a text's end and are exchanged on the way: unbiased by enumeration,
and a planted bug that this catches."""

import math

import pytest

import fkdsl
from fkdsl.base.errors import PopulationDied
from fkdsl.base.value_keys import value_key
from fkdsl.inference import exchange, island_runner
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.run import run
from fkdsl.machine.particle import RunningParticle
from fkdsl.testing.laws import assert_same_masses
from tests.steering.test_completion import TABLE, ahead, as_written, model_of, surrogate

PROGRAM = """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=2)
    condition contains(s, "b")
    factor 0.7 * count(s, "a")
    return s
"""


@pytest.fixture
def masses_of_islands(monkeypatch):
    """E[sum w 1{x = v}] of two islands of one particle, exchanged after every step that can be."""
    monkeypatch.setattr(exchange, "HALF", 0.9999)  # whenever their weights differ

    def found(model, method):
        times = []

        def sampler(rng):
            for module in (island_runner, exchange):
                monkeypatch.setattr(module, "KeyedRng", lambda seed: rng)
            try:
                result = run(model, method, 0, {"particles": 1}, islands=2, exchange=1)
            except PopulationDied:
                return {}
            times.append(result.uncertainty.by != "islands")
            masses = {}
            for p in result.particles:
                key = value_key(p.value)
                masses[key] = masses.get(key, 0.0) + math.exp(p.log_weight)
            return masses

        total = {}
        for p, masses in enumerate_outcomes(sampler):
            for key, mass in masses.items():
                total[key] = total.get(key, 0.0) + p * mass
        assert any(times)
        return total

    return found


@pytest.mark.parametrize(
    ("use", "method", "tokens"),
    [("proposal", "smc", 2), ("twist", "smc", 2), ("both", "smc", 3), ("twist", "importance", 2)],
)
def test_islands_that_are_exchanged_look_ahead_without_bias(masses_of_islands, use, method, tokens):
    text = PROGRAM.replace("max_tokens=2", f"max_tokens={tokens}")
    program = fkdsl.parse(TABLE + text)
    lookahead = ahead(program, surrogate(program, 1), use)
    found = masses_of_islands(model_of(program, lookahead), method)
    assert lookahead.tilted > 0
    assert_same_masses(found, as_written(program))


def test_a_guess_that_a_copied_island_forgets_is_caught(masses_of_islands, monkeypatch):
    guess = RunningParticle.guess

    def forgetful(self, owner, log_weight):
        if log_weight != 0.0:
            guess(self, owner, log_weight)

    monkeypatch.setattr(RunningParticle, "guess", forgetful)
    program = fkdsl.parse(TABLE + PROGRAM)
    found = masses_of_islands(
        model_of(program, ahead(program, surrogate(program, 1), "twist")), "smc"
    )
    with pytest.raises(AssertionError):
        assert_same_masses(found, as_written(program))
