"""The pilot of `--lookahead auto`: what it decides, that it is no part of the answer, and that it
goes with traces, islands elsewhere, budgets and `--method auto`."""

import importlib
import json
import math

import numpy as np
import pytest

import fkdsl
from fkdsl.api import lookahead_pilot as pilot
from fkdsl.api.cluster.islands import RemoteIslands
from fkdsl.api.lookahead import LookaheadDecision
from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.errors import BudgetEnded, CallError, ProgramError
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.random import derive
from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.smc import smc
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.trial import TrialLookahead
from fkdsl.testing.laws import exact_measure
from tests.api.fake_workers import FakeWorkers

RUN = importlib.import_module("fkdsl.api.run")  # a function has its name in the package
TEXT = """\
model "words.fk"

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={tokens})
    condition matches(s, "ab{{{long}}}|ac")
    return s

infer smc(particles=16)
"""
WORDS = """\
model words = table:
    ""  -> "a": 1.0
    "a" -> "b": 0.99, "c": 0.01
    "b" -> "b": 0.75, EOS: 0.25
    "c" -> EOS: 1.0
"""


def program_of(folder, long=6):
    """Long texts, which the model likes, or a short one."""
    (folder / "words.fk").write_text(WORDS)
    path = folder / "p.fk"
    path.write_text(TEXT.format(tokens=long + 2, long=long))
    return fkdsl.load(path)


@pytest.fixture
def program(tmp_path):
    return program_of(tmp_path)


def surrogate(program, of_b=1e-6):
    """A hidden state for each token. of_b: how likely `b` is behind `a`, and behind `b`; the model
    says 3 in 4."""
    model = program.engines()[program.model_names()[0]].model
    emission = np.full((4, model.vocabulary.size), 1e-12)
    for state, token in enumerate([*(model.encode(t)[0] for t in "abc"), model.eos]):
        emission[state, token] = 1.0
    after = [[0, of_b, 1 - of_b, 0], [0, of_b, 0, 1 - of_b], [0, 0, 0, 1], [0, 0, 0, 1]]
    return Surrogate.of([1, 0, 0, 0], after, emission, model.vocabulary.fingerprint)


@pytest.fixture
def ships(monkeypatch):
    """Has models find a surrogate, which nobody trusts untried."""

    def give(found, trusted=False):
        monkeypatch.setattr(
            "fkdsl.models.surrogate.shipped.surrogate_for",
            lambda model: found if model.vocabulary.fingerprint == found.fingerprint else None,
        )
        monkeypatch.setattr(pilot, "is_trusted", lambda model: trusted)

    return give


def said(result):
    return [note for note in result.notes if note.startswith("auto ")]


def no_pilot(*args):
    raise AssertionError("a pilot was made")


# ------------------------------------------------------------------ what it decides


def test_a_surrogate_that_misleads_is_left_out_and_the_run_is_that_without(program, ships):
    ships(surrogate(program))
    auto, plain = program.run(seed=1), program.run(seed=1, lookahead="none")
    assert (auto.particles, auto.log_z) == (plain.particles, plain.log_z)
    (note,) = said(auto)
    assert "does not look ahead by the surrogate: by a pilot of 4 particles" in note
    assert "without it" in note


def test_one_that_helps_is_taken_and_what_the_pilot_took_is_counted(program, ships):
    good = surrogate(program, of_b=0.75)
    ships(good)
    auto, both = program.run(seed=1), program.run(seed=1, lookahead=good)
    assert (auto.particles, auto.log_z) == (both.particles, both.log_z)
    assert "auto looks ahead by the surrogate: by a pilot" in said(auto)[0]
    fresh = program.engines()
    request_calls = program.run(seed=1, engines=fresh).model_calls
    assert auto.model_calls == request_calls == fresh.counts()[0]
    assert auto.forwarded_tokens == fresh.counts()[1]


@pytest.mark.parametrize("trusted", [False, True])
def test_a_run_of_few_particles_makes_no_pilot(program, ships, monkeypatch, trusted):
    ships(surrogate(program), trusted)
    monkeypatch.setattr(pilot, "trial_paths", no_pilot)
    result = program.run(particles=pilot.LEAST - 1, seed=1)
    assert any("look-ahead by a surrogate" in note for note in result.notes) == trusted
    with pytest.raises(AssertionError, match="a pilot was made"):
        program.run(particles=(pilot.LEAST + 1) // 2, islands=2)


@pytest.mark.parametrize("way", ["none", "both", "importance", "exact", "local"])
def test_there_is_none_where_nothing_is_to_be_decided(program, ships, monkeypatch, way):
    ships(surrogate(program))
    monkeypatch.setattr(pilot, "trial_paths", no_pilot)
    if way in ("none", "both"):
        assert not said(program.run(lookahead=way))
    elif way == "importance":  # which looks ahead
        with pytest.raises(AssertionError):
            program.run(way, particles=16)
    else:
        assert not said(program.run(way))


def test_the_same_seed_decides_alike_whatever_the_batch(program, ships):
    ships(surrogate(program, of_b=0.1))
    decisions = [
        said(program.run(seed=s, engines=program.engines(max_batch=b)))
        for s in range(2)
        for b in (1, 64)
    ]
    assert decisions[::2] == decisions[1::2]


def test_a_pilot_ends_where_its_first_text_does_not_look_ahead(program, ships, monkeypatch):
    ships(surrogate(program, of_b=0.75))
    monkeypatch.setattr("fkdsl.proposals.completion.why_not", lambda *args: "it is too large")
    engines, plain = program.engines(), program.engines()
    assert not said(program.run(engines=engines, seed=1))
    program.run(engines=plain, seed=1, lookahead="none")
    assert engines.counts()[0] <= plain.counts()[0] + 1


def test_a_mistake_of_the_program_is_left_to_the_run(program, ships, monkeypatch):
    ships(surrogate(program))

    def fails(*args):
        raise ProgramError([])

    monkeypatch.setattr(pilot, "trial_paths", fails)
    assert not said(program.run(seed=1))


def test_time_may_run_out_in_the_pilot(program, ships, monkeypatch):
    ships(surrogate(program))

    def late(*args):
        raise DeadlinePassed("after 1 s")

    monkeypatch.setattr(pilot, "trial_paths", late)
    with pytest.raises(BudgetEnded, match="after 1 s, in the pilot that decides on look-ahead"):
        program.run()


def test_a_budget_pays_for_it(program, ships, monkeypatch):
    ships(surrogate(program))
    seen = []
    islands_for = fkdsl.inference.samplers.adaptive.islands_for
    monkeypatch.setattr(
        "fkdsl.inference.samplers.adaptive.islands_for",
        lambda *args: seen.append(args[3]) or islands_for(*args),
    )
    result = program.run(target_se=2.0, budget_tokens=500, seed=1)
    assert seen[0].tokens > 0
    assert said(result)


def test_method_auto_makes_no_pilot_within_its_own(program, ships, monkeypatch):
    ships(surrogate(program, of_b=0.75))
    monkeypatch.setattr(RUN, "decide", no_pilot)
    program.run("auto", budget_tokens=300)


# ------------------------------------------------------------ no part of the answer


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
    ahead = paths.look_ahead()
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


def test_what_a_path_would_have_weighed_the_other_way_is_exact(program):
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


# ------------------------------------------------------------ traces and machines


@pytest.mark.parametrize("of_b", [1e-6, 0.75])
def test_a_trace_has_the_decision_and_a_resumed_run_makes_no_pilot(
    tmp_path, program, ships, monkeypatch, of_b
):
    ships(surrogate(program, of_b))
    path = tmp_path / "run.jsonl"
    whole = program.run(seed=3, trace=path)
    lines = path.read_text().splitlines(keepends=True)
    header = json.loads(lines[0])
    assert header["lookahead"] == "auto"
    assert header["auto"]["use"] == ("none" if of_b < 0.5 else "both")
    assert bool(header["surrogates"]) == (of_b > 0.5)
    monkeypatch.setattr(RUN, "decide", no_pilot)
    for kept in (1, 3, len(lines)):
        path.write_text("".join(lines[:kept]))
        again = program.run(seed=3, resume=path)
        assert (again.particles, again.log_z) == (whole.particles, whole.log_z)
        assert said(again) == said(whole)
    header["auto"]["use"] = "sometimes"
    path.write_text(json.dumps(header) + "\n" + "".join(lines[1:3]))
    with pytest.raises(CallError):
        program.run(seed=3, resume=path)


def test_a_trace_from_before_there_were_pilots_goes_on_as_it_began(
    tmp_path, program, ships, monkeypatch
):
    ships(surrogate(program, 0.75))
    path = tmp_path / "run.jsonl"
    whole = program.run(seed=3, trace=path)
    lines = path.read_text().splitlines(keepends=True)
    header = json.loads(lines[0])
    del header["auto"]
    path.write_text(json.dumps(header) + "\n" + "".join(lines[1:3]))
    monkeypatch.setattr(RUN, "decide", no_pilot)
    assert program.run(seed=3, resume=path).particles == whole.particles


@pytest.mark.parametrize("of_b", [1e-6, 0.75])
def test_one_worker_decides_for_all(program, ships, monkeypatch, of_b):
    ships(surrogate(program, of_b))
    here = program.run(islands=3, seed=2)
    asked = []
    decide = RemoteIslands.decide
    monkeypatch.setattr(
        RemoteIslands, "decide", lambda self, *args: asked.append(args) or decide(self, *args)
    )
    monkeypatch.setattr(RUN, "decide", no_pilot)
    workers = FakeWorkers(2, seed=1, losses=[(1, 0)])
    there = program.run(islands=3, seed=2, on=workers)
    assert asked == [(2, 48)]
    assert (there.particles, there.log_z) == (here.particles, here.log_z)
    assert said(there)[0].split(" (")[0] == said(here)[0].split(" (")[0]


def test_what_it_says_names_the_pilot_and_why():
    for decision, words in (
        (LookaheadDecision("both", 1.25, 4, 61), "4 particles (61 tokens) draws come 1.2 nats"),
        (LookaheadDecision("both", -3.0, 4, 61), "find texts that weigh more"),
        (LookaheadDecision("both", None, 4, 61), "no particle of a pilot of 4"),
        (LookaheadDecision("none", -3.0, 4, 61), "3.0 nats nearer to the posterior without it"),
    ):
        (note,) = decision.notes
        assert words in note
    assert LookaheadDecision("none").notes == ()
