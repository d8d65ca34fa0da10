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
from fkdsl.api.request import RunRequest
from fkdsl.api.tune import TuneSettings, tune
from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.errors import BudgetEnded, CallError, ProgramError
from fkdsl.models.surrogate.model import Surrogate
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
    """Has models find a surrogate. own: whether their user has made it."""

    def give(found, own=False):
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
    ships(surrogate(program))
    auto, plain = program.run(seed=1), program.run(seed=1, lookahead="none")
    assert (auto.particles, auto.log_z) == (plain.particles, plain.log_z)
    (note,) = said(auto)
    assert "does not look ahead by the surrogate: " in note
    assert "(a pilot of 4 particles" in note


def test_one_that_helps_is_taken_and_what_the_pilot_took_is_counted(program, ships):
    good = surrogate(program, of_b=0.75)
    ships(good)
    auto, both = program.run(seed=1), program.run(seed=1, lookahead=good)
    assert (auto.particles, auto.log_z) == (both.particles, both.log_z)
    assert "auto looks ahead by the surrogate: draws come" in said(auto)[0]
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
        (LookaheadDecision("both", "nearer", 1.25, 4, 61), "1.2 nats nearer to the posterior with"),
        (LookaheadDecision("both", "heavier", -3.0, 4, 61), "find more weight (a pilot of 4"),
        (LookaheadDecision("both", "died", None, 4, 61), "no particle lived"),
        (LookaheadDecision("none", "misled", -3.0, 4, 61), "3.0 nats nearer to the posterior with"),
    ):
        (note,) = decision.notes
        assert words in note
        assert "4 particles, 61 tokens" in note
    assert LookaheadDecision("none").notes == ()


@pytest.mark.parametrize(
    ("plain", "ahead", "ratio", "mass", "drift", "reason"),
    [
        (-2.0, -7.0, 4.0, -2.0, 0.5, "misled"),
        (-2.0, -7.0, 0.5, -2.0, 0.5, "close"),
        (-2.0, -7.0, -1.0, -2.0, 0.5, "nearer"),
        (-2.0, -7.0, -1.0, -2.0, 2.0, "doubt"),
        (-7.0, -2.0, 4.0, -2.0, 0.5, "heavier"),
        (-22.0, -25.0, 4.0, -20.0, 0.5, "seldom"),
        (-math.inf, -25.0, 4.0, 0.0, 0.5, "seldom"),
        (-13.0, -5.0, -4.0, -20.0, 2.0, "doubt"),
        (-math.inf, -25.0, 4.0, 0.0, 2.0, "seldom"),
        (-math.inf, -math.inf, 0.0, 0.0, 0.5, "died"),
        (-2.0, -math.inf, 4.0, -2.0, 0.5, "misled"),
    ],
)
def test_look_ahead_is_given_up_where_three_things_speak_against_it(
    plain, ahead, ratio, mass, drift, reason
):
    paths = pilot.TrialPaths(np.array([plain, ahead]), np.full(2, ratio), np.full(2, mass), drift)
    assert paths.reason() == reason


def test_that_of_tiny_needs_none(monkeypatch):
    monkeypatch.setattr(pilot, "trial_paths", no_pilot)
    program = fkdsl.parse(TEXT.replace("words.fk", "tiny").format(tokens=8, long=6))
    decided = pilot.decide(RunRequest.of(program, lookahead="auto"), particles=1000)
    assert decided.decision == LookaheadDecision("both")


def test_tuning_decides_once_for_all_of_its_runs(program, ships, monkeypatch):
    ships(surrogate(program))
    made = []
    monkeypatch.setattr(
        "fkdsl.api.tune.decide", lambda *args: made.append(args[1]) or pilot.decide(*args)
    )
    settings = TuneSettings(rounds=1, runs=2, particles=8)
    tuned = tune(program, program.engines(), settings)
    assert made == [16]
    assert "does not look ahead" in tuned.notes[0]
