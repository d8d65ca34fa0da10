"""The pilot of `--lookahead auto` is no part of the answer: over all that pilot and run may draw,
Z_hat has mean Z. And what its paths would have weighed the other way is exact."""

import math

import numpy as np

from fkdsl.api import lookahead_pilot as pilot
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.random import KeyedRng, derive
from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.smc import smc
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.tilts import Tilt
from fkdsl.proposals.trial import TrialLookahead, TrialPath
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


def whole_run(program, found, rng, stream=pilot.pilot_rng, reuse=False, early=False):
    """What a pilot decides, and Z_hat of the run, all of it drawn from `rng`."""

    def model_of(lookahead):
        return program.feynman_kac(proposals=ProposalSettings(lookahead=lookahead))

    name = program.model_names()[0]
    trial = TrialLookahead({name: found}, power=0.75)
    paths = pilot.trial_paths(model_of(trial), stream(rng), 1, None, trial, early)
    decision = paths.decision()
    ahead = decision.use == "both"
    chosen = CompletionLookahead({name: found}, power=decision.power) if ahead else None
    *_, last = smc(model_of(chosen), rng, particles=2)
    if reuse:  # the planted bug: what the pilot found counts too
        half = paths.log_weights[1:] if ahead else paths.log_weights[:1]
        both = np.logaddexp(log_sum_exp(half), last.log_Z) - math.log(2.0)
        return decision, math.exp(both)
    return decision, math.exp(last.log_Z)


def expected(program, found, **bug):
    """(E[Z_hat], the probability of each power of h, 0 for no look-ahead) over all that pilot and
    run may draw."""
    total, powers = 0.0, {}
    for p, (decision, z) in enumerate_outcomes(
        lambda rng: whole_run(program, found, Keyed(rng), **bug)
    ):
        power = decision.power if decision.use == "both" else 0.0
        total, powers[power] = total + p * z, powers.get(power, 0.0) + p
    return total, powers


def test_the_mean_of_Z_hat_is_Z_whatever_the_pilot_decides_and_bugs_are_caught(
    tmp_path, monkeypatch
):
    program = program_of(tmp_path, long=2)
    found = surrogate(program, of_b=0.01)
    monkeypatch.setattr(pilot, "NOISE", 0.2)
    Z = sum(exact_measure(program.without().feynman_kac()).values())
    mean, powers = expected(program, found)
    assert abs(mean - Z) < 1e-12
    low, high = sorted(sorted(powers, key=powers.__getitem__)[-2:])
    monkeypatch.setattr(pilot, "LEAST_POWER", (low + high) / 2)  # so that it is none for some draws
    mean, powers = expected(program, found)
    assert 0.05 < powers[0.0] < 0.95
    assert abs(mean - Z) < 1e-12
    for bug in ({"reuse": True}, {"stream": lambda rng: AsTheRun(rng.rng, rng.drawn)}):
        assert abs(expected(program, found, **bug)[0] - Z) > 1e-4


def test_the_mean_of_Z_hat_is_Z_of_a_pilot_that_ends_early(tmp_path, monkeypatch):
    program = program_of(tmp_path, long=2)
    found = surrogate(program, of_b=0.01)
    monkeypatch.setattr(pilot, "NOISE", 0.2)
    monkeypatch.setattr(pilot, "EVIDENCE", 3)
    Z = sum(exact_measure(program.without().feynman_kac()).values())
    whole, early = (expected(program, found, early=early) for early in (False, True))
    assert abs(early[0] - Z) < 1e-12
    assert len(early[1]) > 1
    assert whole[1] != early[1]
    stream = {"stream": lambda rng: AsTheRun(rng.rng, rng.drawn)}
    assert abs(expected(program, found, early=True, **stream)[0] - Z) > 1e-4


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
        log_w = paths.log_weights[1] - paths.paths[1].log_ratio
        return model.value(last), log_w, len(states[-1][0])

    looked = set()
    for _, (value, log_w, moved) in enumerate_outcomes(pair):
        if moved == 2:  # both particles ended in the last step, the one that looks ahead is second
            looked.add(value)
            assert abs(log_w - weights[value_key(value)]) < 1e-9
    assert looked


def test_what_was_expected_and_what_came_are_those_of_every_place_of_a_path():
    """Against the sums written out, of two texts after each other."""
    rng = np.random.default_rng(5)
    for looks in (False, True):
        path, b = TrialPath(looks), 0.75
        squares = products = places = 0.0
        for tokens in (3, 2):
            A, A_h, x = -rng.random(tokens), -rng.random(tokens), [-4.0, *-rng.random(tokens)]
            for k in range(tokens):
                first = x[0] if k == 0 else None
                path.add(A[k], A_h[k], b * x[k + 1], Tilt(np.ones(1), 0.0, b, first))
            for t in range(tokens + 1):
                later = range(t, tokens)
                to_come = b * x[tokens] if tokens == 2 else 0.0  # it may go on with the last text
                y = sum(A[k] for k in later) + to_come
                if looks:
                    y = b * x[t] + sum(A_h[k] - b * x[k] for k in later)
                squares, products, places = squares + x[t] ** 2, products + x[t] * y, places + 1
        assert abs(path.mean_square() - squares / places) < 1e-12
        assert abs(path.mean_product() - products / places) < 1e-12


def test_a_surrogate_that_is_the_model_is_agreed_with(tmp_path):
    program = program_of(tmp_path)
    found = surrogate(program, of_b=0.75)
    found = Surrogate.of(
        found.start,
        [[0, 0.99, 0.01, 0], [0, 0.75, 0, 0.25], *found.transition[2:]],
        found.emission,
        found.fingerprint,
    )
    trial = TrialLookahead({program.model_names()[0]: found}, floor=0.0, caution=math.inf)
    model = program.feynman_kac(proposals=ProposalSettings(lookahead=trial))
    paths = pilot.trial_paths(model, KeyedRng(1), 1, None, trial).paths
    assert abs(paths[1].products / paths[1].squares - 1.0) < 1e-6
