"""The pilot of `--lookahead auto`: what it decides, that it is no part of the answer, and that it
goes with traces, islands elsewhere, budgets and `--method auto`."""

import importlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest

import fkdsl
from fkdsl.api import lookahead_pilot as pilot
from fkdsl.api.cluster.islands import RemoteIslands
from fkdsl.api.lookahead import AGAINST, LookaheadDecision
from fkdsl.api.request import RunRequest
from fkdsl.api.tune import TuneSettings, tune
from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.errors import BudgetEnded, CallError, ProgramError
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals.completion import POWER
from fkdsl.proposals.trial import TrialPath
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
    """Has models find a surrogate. own: whether their user has made it. least: the power of h below
    which no draw looks ahead."""

    def give(found, own=False, least=pilot.LEAST_POWER):
        monkeypatch.setattr(pilot, "LEAST_POWER", least)
        monkeypatch.setattr(
            "fkdsl.models.surrogate.shipped.surrogate_for",
            lambda model: found if model.vocabulary.fingerprint == found.fingerprint else None,
        )
        monkeypatch.setattr(pilot, "has_own", lambda model: own)

    return give


def said(result):
    return [note for note in result.notes if note.startswith("auto ")]


def no_pilot(*args):
    raise AssertionError("a pilot was made")


# ------------------------------------------------------------------ what it decides


def test_a_surrogate_that_misleads_is_left_out_and_the_run_is_that_without(program, ships):
    ships(surrogate(program), least=0.2)
    auto, plain = program.run(seed=1), program.run(seed=1, lookahead="none")
    assert (auto.particles, auto.log_z) == (plain.particles, plain.log_z)
    (note,) = said(auto)
    assert "does not look ahead by the surrogate: " in note
    assert "(a pilot of 2 particles" in note


@pytest.mark.parametrize("of_b", [1e-6, 1e-3, 0.05])
def test_of_one_that_exaggerates_a_power_is_taken_that_does_no_harm(program, ships, of_b):
    """Plain runs are off by 0.3 nats, and those by h^0.75 by 1.9, with no error to be seen."""
    found = surrogate(program, of_b)
    ships(found)
    Z = math.log(0.99 * 0.75**5 * 0.25 + 0.01)
    runs = [program.run(seed=s) for s in range(12)]
    powers = {float(said(run)[0].split(" power ")[1].split()[0]) for run in runs}
    assert all(0.01 <= b < 0.5 for b in powers)
    assert np.sqrt(np.mean([(run.log_z - Z) ** 2 for run in runs])) < 0.75
    misled = program.run(seed=1, lookahead=found)
    assert abs(misled.log_z - Z) > 1.5


def test_one_that_helps_is_taken_and_what_the_pilot_took_is_counted(program, ships):
    good = surrogate(program, of_b=0.75)
    ships(good)
    auto, both = program.run(seed=1), program.run(seed=1, lookahead=good)
    assert (auto.particles, auto.log_z) == (both.particles, both.log_z)
    assert "auto looks ahead by the surrogate: it was right" in said(auto)[0]
    fresh = program.engines()
    request_calls = program.run(seed=1, engines=fresh).model_calls
    assert auto.model_calls == request_calls == fresh.counts()[0]
    assert auto.forwarded_tokens == fresh.counts()[1]


def test_the_prompt_is_computed_once_for_pilot_and_run(tmp_path, ships):
    (tmp_path / "words.fk").write_text(WORDS)
    path = tmp_path / "p.fk"
    text = TEXT.replace('prompt("")', 'prompt("bbbbbbbb")').replace(
        "ab{{{long}}}|ac", "b{{{long}}}"
    )
    path.write_text(text.format(tokens=4, long=3))
    program = fkdsl.load(path)
    good = surrogate(program, of_b=0.75)
    ships(good)
    auto, plain = program.run(seed=1), program.run(seed=1, lookahead=good)
    pilots = int(said(auto)[0].split(", ")[-1].split()[0])
    assert auto.forwarded_tokens == pilots + plain.forwarded_tokens - 8


@pytest.mark.parametrize("own", [False, True])
def test_a_run_of_few_particles_makes_no_pilot(program, ships, monkeypatch, own):
    ships(surrogate(program), own)
    monkeypatch.setattr(pilot, "trial_paths", no_pilot)
    result = program.run(particles=pilot.LEAST - 1, seed=1)
    assert any("look-ahead by a surrogate" in note for note in result.notes) == own
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
    monkeypatch.setattr(
        "fkdsl.proposals.completion.why_no_messages", lambda *args: "it is too large"
    )
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


# ------------------------------------------------------------ traces and machines


@pytest.mark.parametrize(("of_b", "least"), [(1e-6, 0.2), (1e-6, 0.02), (0.75, 0.02)])
def test_a_trace_has_the_decision_and_a_resumed_run_makes_no_pilot(
    tmp_path, program, ships, monkeypatch, of_b, least
):
    ships(surrogate(program, of_b), least=least)
    path = tmp_path / "run.jsonl"
    whole = program.run(seed=3, trace=path)
    lines = path.read_text().splitlines(keepends=True)
    header = json.loads(lines[0])
    assert header["lookahead"] == "auto"
    assert header["auto"]["use"] == ("none" if least == 0.2 else "both")
    assert (header["auto"]["power"] == POWER) == (of_b == 0.75 or least == 0.2)
    assert bool(header["surrogates"]) == (least == 0.02)
    monkeypatch.setattr(RUN, "decide", no_pilot)
    for kept in (1, 3, len(lines)):
        path.write_text("".join(lines[:kept]))
        again = program.run(seed=3, resume=path)
        assert (again.particles, again.log_z) == (whole.particles, whole.log_z)
        assert said(again) == said(whole)
    for wrong in ({"use": "sometimes"}, {"power": 0.0}, {"power": math.nan}):
        strange = header | {"auto": header["auto"] | wrong}
        path.write_text(json.dumps(strange) + "\n" + "".join(lines[1:3]))
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


@pytest.mark.parametrize(("of_b", "least"), [(1e-6, 0.2), (1e-6, 0.02), (0.75, 0.02)])
def test_one_worker_decides_for_all(program, ships, monkeypatch, of_b, least):
    ships(surrogate(program, of_b), least=least)
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
        (LookaheadDecision("both", "agrees", 1.25, 4, 61), "it was right (a pilot"),
        (LookaheadDecision("both", "partly", -3.0, 4, 61, 0.3125), "raised to the power 0.31 (a"),
        (LookaheadDecision("both", "died", None, 4, 61), "no particle lived"),
        (LookaheadDecision("none", "misled", -7.0, 4, 61), "7.0 nats nearer to the posterior with"),
    ):
        (note,) = decision.notes
        assert words in note
        assert "4 particles, 61 tokens" in note
    assert LookaheadDecision("none").notes == ()


def path_of(ratio=0.0, mass=-2.0, expected=-1.0, came=-1.0, begun=-15.5):
    """A path at one place, at which h was `expected`, and `came` came; `begun` was at first."""
    return TrialPath(False, ratio, mass, 1, expected**2, expected * came, begun=begun)


@pytest.mark.parametrize(
    ("plain", "ahead", "path", "reason"),
    [
        (-2.0, -7.0, path_of(), "agrees"),
        (-2.0, -7.0, path_of(ratio=4.0), "agrees"),
        (-2.0, -7.0, path_of(ratio=13.0), "misled"),
        (-7.0, -2.0, path_of(ratio=13.0), "agrees"),
        (-22.0, -25.0, path_of(ratio=13.0, mass=-20.0), "agrees"),
        (-math.inf, -25.0, path_of(ratio=13.0, mass=0.0), "agrees"),
        (-2.0, -math.inf, path_of(ratio=13.0), "misled"),
        (-math.inf, -math.inf, path_of(), "died"),
        # Paths that weigh far less than was expected say nothing.
        (-25.0, -math.inf, path_of(expected=-300.0, came=-3.0), "exaggerates"),
        (-26.0, -math.inf, path_of(expected=-300.0, came=-3.0), "far"),
        (-26.0, -27.0, path_of(), "far"),
        # What is expected a few nats too low says little; ten times too low says a lot.
        (-2.0, -7.0, path_of(expected=-1.0, came=-0.5), "agrees"),
        (-2.0, -7.0, path_of(ratio=13.0, expected=-30.0, came=-3.0), "partly"),
        (-2.0, -7.0, path_of(expected=-300.0, came=-3.0), "exaggerates"),
        # What is expected too high leaves b where it is.
        (-2.0, -7.0, path_of(expected=-3.0, came=-30.0), "agrees"),
    ],
)
def test_what_is_decided(plain, ahead, path, reason):
    paths = pilot.TrialPaths(np.array([plain, ahead]), [path, path])
    assert paths.reason() == reason
    decision = paths.decision()
    assert (decision.use == "none") == (reason in AGAINST)
    most = pilot.MIDDLE if reason in ("died", "far") else POWER
    assert decision.power == most if reason in ("died", "far", *AGAINST) else decision.power <= most


def test_the_power_is_found_in_the_half_that_found_more_weight():
    near, far = path_of(), path_of(expected=-30.0, came=-3.0)
    for weights, power in (([-1.0, -9.0], 0.057), ([-9.0, -1.0], 0.75)):
        found = pilot.TrialPaths(np.array(weights), [far, near]).power()
        assert abs(found - power) < 0.01
    dead = pilot.TrialPaths(np.array([-1.0, -np.inf, -9.0, -9.0]), [near, far, far, far])
    assert abs(dead.power() - 0.75) < 0.01


def early(looks, points, last, came, first=-9.0, expected=-40.0):
    """A path in the midst of a text, of which `came` has come so far."""
    path = path_of(0.0, 0.0, expected, came)
    return replace(path, looks=looks, points=points, first=first, last=last)


AGREES = early(False, 5, -4.0, -30.0)


@pytest.mark.parametrize(
    ("plain", "looking", "enough"),
    [
        (AGREES, early(True, 5, -4.0, -30.0), True),
        (AGREES, early(True, 4, -4.0, -30.0), False),  # three tokens
        (replace(AGREES, points=4), early(True, 5, -4.0, -30.0), False),
        (AGREES, early(True, 5, -25.0, -30.0), False),  # much is still to come
        (AGREES, early(True, 5, -1.0, -30.0, first=-1.5), False),  # little ever was
        (early(False, 5, -4.0, -8.0), early(True, 5, 0.0, -30.0), False),  # it hurried
        (AGREES, early(True, 5, -4.0, -8.0), False),  # what came does not agree
        (AGREES, early(True, 5, -0.5, -8.0), True),  # and nearly all of it has come
        (AGREES, early(True, 5, -0.5, -8.0, first=-40.0), False),  # of much
    ],
)
def test_a_pilot_ends_once_what_came_suffices(plain, looking, enough):
    paths = [
        replace(path, squares=5 * 1600.0, products=5 * path.products) for path in (plain, looking)
    ]
    found = pilot.TrialPaths(np.array([0.0, -5.0]), paths, ended_early=True)
    assert found.suffices() == enough
    assert found.gain() is None
    assert not replace(found, log_weights=np.array([0.0, -np.inf])).suffices()


def test_that_of_tiny_needs_none(monkeypatch):
    monkeypatch.setattr(pilot, "trial_paths", no_pilot)
    program = fkdsl.parse(TEXT.replace("words.fk", "tiny").format(tokens=8, long=6))
    decided = pilot.decide(RunRequest.of(program, lookahead="auto"), particles=1000)
    assert decided.decision == LookaheadDecision("both")


def test_tuning_decides_once_for_all_of_its_runs(program, ships, monkeypatch):
    ships(surrogate(program), least=0.2)
    made = []
    monkeypatch.setattr(
        "fkdsl.api.tune.decide", lambda *args: made.append(args[1]) or pilot.decide(*args)
    )
    settings = TuneSettings(rounds=1, runs=2, particles=8)
    tuned = tune(program, program.engines(), settings)
    assert made == [16]
    assert "does not look ahead" in tuned.notes[0]
