"""Bugs planted in the look-ahead to a text's end: each is seen by the measure, or by the variance
where the surrogate says the truth."""

import math
from collections import deque
from dataclasses import replace

import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.engine.constraints.backward import BackwardMessages
from fkdsl.engine.constraints.futures import SoFar
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import steps_of
from fkdsl.inference.samplers.smc import importance
from fkdsl.machine.particle import RunningParticle
from fkdsl.proposals.tilted import Tilted, TiltedOutcomes
from fkdsl.testing.laws import assert_same_masses, expected_measure
from tests.steering.test_completion import (
    PROGRAMS,
    TABLE,
    ahead,
    as_hidden_markov_model,
    as_written,
    model_of,
    surrogate,
)


def biased(program, lookahead):
    model = model_of(program, lookahead)
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    with pytest.raises(AssertionError):
        assert_same_masses(found, as_written(program))


def test_an_h_without_its_weight_is_caught(monkeypatch):
    def unweighed(self, rng, outcomes, lives):
        return self.proposal.propose(rng, TiltedOutcomes(outcomes, self.h), lives)

    monkeypatch.setattr(Tilted, "propose", unweighed)
    program = fkdsl.parse(TABLE + PROGRAMS["a pattern"])
    biased(program, ahead(program, surrogate(program, 1), "proposal"))


def test_a_twist_that_is_not_taken_back_is_caught(monkeypatch):
    guess = RunningParticle.guess

    def forgetful(self, owner, log_weight):
        if log_weight != 0.0:
            guess(self, owner, log_weight)

    monkeypatch.setattr(RunningParticle, "guess", forgetful)
    program = fkdsl.parse(TABLE + PROGRAMS["a pattern"])
    biased(program, ahead(program, surrogate(program, 1), "twist"))


@pytest.mark.parametrize("off", [-1, 1])
def test_a_budget_that_is_off_by_one_leaves_variance(monkeypatch, off):
    """And no bias, so it is this that shows it."""
    of_tokens = BackwardMessages.of_tokens

    def wrong(self, beliefs, positions, tokens_left, *tokens):
        return of_tokens(self, beliefs, positions, max(0, tokens_left + off), *tokens)

    monkeypatch.setattr(BackwardMessages, "of_tokens", wrong)
    program = fkdsl.parse(TABLE + PROGRAMS["a pattern"])
    truth = math.log(sum(as_written(program).values()))
    model = model_of(program, ahead(program, as_hidden_markov_model(program), floor=1e-3))
    errors = []
    for seed in range(10):
        call = METHODS["smc"].call({"particles": 3})
        *_, last = steps_of(model, KeyedRng(seed), call)
        errors.append(abs(last.log_Z - truth))
    assert max(errors) > 1e-3


def test_a_loop_whose_conditions_are_asked_at_its_end_alone_leaves_variance(monkeypatch):
    def at_the_end(self):
        yield tuple(replace(way, each_token=False) for way in next(found(self)))

    found = SoFar.found
    monkeypatch.setattr(SoFar, "found", at_the_end)
    asked = 'not contains(lm.text, "bb") and not contains(lm.text, "aa")'
    text = PROGRAMS["conditions inside a while"].replace(asked, 'lm.text != "ab"')
    program = fkdsl.parse(TABLE + text)
    truth = math.log(sum(as_written(program).values()))
    model = model_of(program, ahead(program, as_hidden_markov_model(program), floor=1e-3))
    runs = (
        steps_of(model, KeyedRng(seed), METHODS["smc"].call({"particles": 3})) for seed in range(10)
    )
    assert max(abs(deque(run, 1)[0].log_Z - truth) for run in runs) > 1e-3
