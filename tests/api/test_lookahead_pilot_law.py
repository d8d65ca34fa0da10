"""The pilot of `--lookahead auto` is no part of the answer: over all that pilot and run may draw,
Z_hat has mean Z. And what its paths would have weighed the other way is exact."""

import math

import numpy as np

from fkdsl.api import lookahead_pilot as pilot
from fkdsl.api.lookahead import AGAINST
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.random import derive
from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.smc import smc
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.trial import TrialLookahead
from fkdsl.testing.laws import exact_measure
from tests.api.test_lookahead_pilot import program_of, surrogate


class Keyed:
    """A stream whose draws are functions of its name, over an enumerating one: equal names give
    equal draws, as those of KeyedRng do."""

    def __init__(self, rng, drawn=None, name=()):
        self.rng, self.drawn, self.name = rng, {} if drawn is None else drawn, name
        self.count = 0

    def uniform(self):
        key = (self.name, self.count)
        self.count += 1
        if key not in self.drawn:
            self.drawn[key] = self.rng.uniform()
        return self.drawn[key]

    def choice(self, probabilities):
        p = np.asarray(probabilities, dtype=float)
        sums, u = p.cumsum() / p.sum(), self.uniform()
        support = np.flatnonzero(p)
        return next((int(i) for i in support[:-1] if u < sums[i]), int(support[-1]))

    def split(self, *key):
        return Keyed(self.rng, self.drawn, (*self.name, key))


class AsTheRun(Keyed):
    """The planted bug: the pilot's particles draw what the run's draw."""

    def split(self, *key):
        name, *rest = key
        if name == "mutate":
            t, i = rest
            key = ("mutate", derive(b"lineage", i).hex(), t)
        return Keyed(self.rng, self.drawn, (*self.name, key))


def whole_run(program, found, rng, stream=pilot.pilot_rng, reuse=False):
    """The values and log weights of a pilot and what it decides, all of it drawn from `rng`."""

    def model_of(lookahead):
        return program.feynman_kac(proposals=ProposalSettings(lookahead=lookahead))

    name = program.model_names()[0]
    trial = TrialLookahead({name: found}, power=0.75)
    paths = pilot.trial_paths(model_of(trial), stream(rng), 1, None, trial)
    ahead = paths.reason() not in AGAINST
    chosen = CompletionLookahead({name: found}, power=0.75) if ahead else None
    *_, last = smc(model_of(chosen), rng, particles=2)
    if reuse:  # the planted bug: what the pilot found counts too
        half = paths.log_weights[1:] if ahead else paths.log_weights[:1]
        both = np.logaddexp(log_sum_exp(half), last.log_Z) - math.log(2.0)
        return ahead, math.exp(both)
    return ahead, math.exp(last.log_Z)


def expected(program, found, **bug):
    """(E[Z_hat], probability of look-ahead) over all that pilot and run may draw."""
    total = looked = 0.0
    for p, (ahead, z) in enumerate_outcomes(
        lambda rng: whole_run(program, found, Keyed(rng), **bug)
    ):
        total, looked = total + p * z, looked + p * ahead
    return total, looked


def test_the_mean_of_Z_hat_is_Z_whatever_the_pilot_decides_and_bugs_are_caught(
    tmp_path, monkeypatch
):
    program = program_of(tmp_path, long=2)
    found = surrogate(program, of_b=0.05)
    monkeypatch.setattr(pilot, "GAIN", math.inf)  # which way weighs more, so as to depend on draws
    Z = sum(exact_measure(program.without().feynman_kac()).values())
    mean, looked = expected(program, found)
    assert 0.05 < looked < 0.95
    assert abs(mean - Z) < 1e-12
    for bug in ({"reuse": True}, {"stream": lambda rng: AsTheRun(rng.rng, rng.drawn)}):
        assert abs(expected(program, found, **bug)[0] - Z) > 1e-4


def test_what_a_path_would_have_weighed_the_other_way_is_exact(tmp_path):
    program = program_of(tmp_path)
    found = surrogate(program, of_b=0.05)
    name = program.model_names()[0]
    plain = program.feynman_kac()
    # Without look-ahead the weight of a path is a function of its text.
    weights = {}
    for _, last in enumerate_outcomes(lambda rng: list(smc(plain, rng, particles=1))[-1]):
        weights[value_key(plain.value(last.states[0]))] = last.log_weights[0]

    def pair(rng):
        trial = TrialLookahead({name: found}, power=0.75)
        model, states = program.feynman_kac(proposals=ProposalSettings(lookahead=trial)), []
        step = model.step
        model.step = lambda *args: states.append(step(*args)) or states[-1]
        paths = pilot.trial_paths(model, rng, 1, None, trial)
        last = states[-1][0][-1]
        log_w = paths.log_weights[1] - paths.log_ratios[1]
        return model.value(last), log_w, len(states[-1][0])

    looked = set()
    for _, (value, log_w, moved) in enumerate_outcomes(pair):
        if moved == 2:  # both particles ended in the last step, the one that looks ahead is second
            looked.add(value)
            assert abs(log_w - weights[value_key(value)]) < 1e-9
    assert looked
