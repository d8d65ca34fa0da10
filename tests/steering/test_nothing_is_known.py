"""Texts of which a surrogate knows nothing: what it held of them before is paid as they go on, so
that resampling does not end them for going on."""

import math

import numpy as np
import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import steps_of
from fkdsl.inference.samplers.smc import importance
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure

TWO = """\
model m = table:
    ""  -> "x": 0.5, "y": 0.5
    "x" -> "c": 0.5, "b": 0.5
    "y" -> "a": 0.5, "b": 0.5
    "a" -> "a": 0.5, "b": 0.5
    "b" -> "a": 0.5, "b": 0.5
    "c" -> "c": 0.5, "b": 0.5

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={tokens})
    condition matches(s, "xc*|ya*")
    return s
"""


def looking(tokens):
    """(program, model) where the surrogate is right about texts that begin with y, and knows no c,
    with which those that begin with x go on."""
    program = fkdsl.parse(TWO.format(tokens=tokens))
    model = program.engines()["m"].model
    ids = [model.encode(t)[0] for t in "xyab"]
    emission = np.zeros((4, model.vocabulary.size))
    emission[range(4), ids] = 1.0
    moves = [[0, 0, 0, 1], *([[0.005, 0.005, 0.495, 0.495]] * 3)]
    guess = Surrogate.of([0.5, 0.5, 0, 0], moves, emission, model.vocabulary.fingerprint)
    lookahead = CompletionLookahead({"": guess}, floor=0.2)
    return program, program.feynman_kac(proposals=ProposalSettings(lookahead=lookahead))


def test_the_measure_is_that_without():
    program, model = looking(4)
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    assert_same_masses(found, exact_measure(program.without().feynman_kac()))


def test_going_on_does_not_cost_a_text_its_place():
    """Half of a token is refused each time, which the credit pays for."""
    _, model = looking(5)
    call = METHODS["smc"].call({"particles": 64, "ess": 0.0})
    steps = list(steps_of(model, KeyedRng(1), call))
    begun = [p.state.contexts[0].node.raw == b"x" for p in steps[1].particles]
    assert any(begun)
    weights = np.array([step.log_weights[begun] for step in steps[1:-1]])
    assert np.ptp(weights, axis=0).max() <= 1e-6


def test_so_the_error_is_smaller():
    """0.52 in the place of 0.69, with credit that stays what it was."""
    _, model = looking(8)
    runs = [fkdsl.run(model, "smc", particles=8, seed=s, ess=0.9) for s in range(40)]
    assert math.sqrt(np.mean([(run.log_z - 7 * math.log(0.5)) ** 2 for run in runs])) < 0.6


RARE = """\
model m = table:
    "" -> "a": 0.1, "b": 0.1, "c": 0.4, "d": 0.4

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=80)
    condition matches(s, {pattern})
    return s
"""


@pytest.mark.parametrize("few", [64, 1])  # few tokens: each has its own h; else by averages
@pytest.mark.parametrize("pattern", ['"(ab|ba){40}"', '"(ab|ba){40}|c{5}(ab|ba){37}d"'])
def test_what_float32_cannot_tell_from_zero_is_looked_ahead_to(pattern, few, monkeypatch):
    """Of 40 pairs e^-157 is expected, where the smallest float32 is e^-103: every run gives Z."""
    monkeypatch.setattr("fkdsl.proposals.tilts.FEW_TOKENS", few)
    program = fkdsl.parse(RARE.format(pattern=pattern))
    model = program.engines()["m"].model
    ids = [model.encode(t)[0] for t in "abcd"]
    emission = np.zeros((1, model.vocabulary.size))
    emission[0, ids] = [0.1, 0.1, 0.4, 0.4]
    itself = Surrogate.of([1.0], [[1.0]], emission, model.vocabulary.fingerprint)
    lookahead = CompletionLookahead({"": itself}, floor=0.0)
    kernel = program.feynman_kac(proposals=ProposalSettings(lookahead=lookahead))
    truth = 40 * math.log(0.02) + math.log1p(0.4**6 / 0.02**3 * ("d" in pattern))
    for seed in range(3):
        run = fkdsl.run(kernel, "smc", particles=4, seed=seed)
        assert abs(run.log_z - truth) < 1e-5
    assert lookahead.drifts.largest < 1e-5
