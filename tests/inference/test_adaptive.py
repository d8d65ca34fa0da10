"""Runs to a target error or a budget: unbiased by enumeration, and honest about what they came
to."""

import math
import time

import numpy as np
import pytest

import fkdsl
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied
from fkdsl.inference import island_runner
from fkdsl.inference.enumeration import enumerate_outcomes, expectation
from fkdsl.inference.run import run
from fkdsl.inference.samplers import adaptive
from fkdsl.inference.samplers.adaptive import Aim, IslandPilot, adaptive_run, islands_for
from fkdsl.testing import Machine, exact_measure

COIN = Machine(M=(((0.3, 0.7),) * 2,), G=(((3.0, 0.5),) * 2,))
MORTAL = Machine(M=(((0.3, 0.7),) * 2,), G=(((0.0, 2.0),) * 2,))
WALK = Machine(M=(((0.2, 0.8), (0.5, 0.5)),) * 4, G=(((2.0, 0.5), (1.0, 0.3)),) * 4)
TABLE = 'model m = table:\n    "" -> "a": 0.4, "b": 0.5, EOS: 0.1\n'
PROGRAM = """program p() -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < 4:
        t ~ lm
        factor 0.5 if t == "a" else -0.5
    return lm.text
"""


class Costly:
    """A model whose steps cost tokens: heavier paths more of them."""

    def __init__(self, model):
        self.model, self.tokens = model, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def step(self, rngs, xp):
        x, g = self.model.step(rngs, xp)
        self.tokens += sum(1 if site else 5 for _, site in x)
        return x, g

    def counts(self):
        return 0, self.tokens


@pytest.fixture
def few(monkeypatch):
    """Numbers of islands that can be enumerated, on a stream that can."""
    monkeypatch.setattr(adaptive, "PILOT", 2)
    monkeypatch.setattr(adaptive, "LEAST", 1)
    monkeypatch.setattr(adaptive, "MOST", 3)

    def z_hat(rng, model, aim):
        monkeypatch.setattr(island_runner, "KeyedRng", lambda seed: rng)
        costly = Costly(model)
        try:
            result = adaptive_run(
                costly, "importance", 0, {"particles": 1}, aim, counts=costly.counts
            )
        except PopulationDied:
            return 0.0, 0
        return math.exp(result.log_z), result.islands

    return z_hat


@pytest.mark.parametrize("model", [COIN, MORTAL], ids=["coin", "mortal"])
@pytest.mark.parametrize(
    "aim", [Aim(target_se=0.9), Aim(tokens=13), Aim(target_se=0.9, tokens=16)], ids=str
)
def test_z_hat_is_unbiased_whatever_the_pilot_asks_for(few, model, aim):
    z = sum(exact_measure(model).values())
    outcomes = list(enumerate_outcomes(lambda rng: few(rng, model, aim)))
    assert abs(math.fsum(p * found for p, (found, _) in outcomes) - z) <= 1e-12
    assert len({islands for _, (_, islands) in outcomes if islands}) > 1  # the pilot did decide


def one_island(rng):
    return (3.0, 0.5)[rng.choice([0.3, 0.7])]


def until_small(rng, target=0.5, most=3):
    """The rule that others stop by: another island until the standard error is small."""
    z = [one_island(rng), one_island(rng)]
    while len(z) < most and np.std(z, ddof=1) / math.sqrt(len(z)) > target * np.mean(z):
        z.append(one_island(rng))
    return float(np.mean(z))


def with_pilot(rng):
    """The two-stage rule with the pilot counted in."""
    pilot = [one_island(rng), one_island(rng)]
    plan = islands_for(IslandPilot(tuple(np.log(pilot)), (1, 1), (0.0, 0.0)), Aim(target_se=0.9))
    return float(np.mean([*pilot, *(one_island(rng) for _ in range(plan.islands))]))


@pytest.mark.parametrize("rule", [until_small, with_pilot])
def test_rules_that_use_what_they_look_at_are_biased(few, rule):
    assert abs(expectation(rule, lambda z: z) - 1.25) > 0.01


def test_a_target_is_met_and_nothing_is_said_of_it():
    result = fkdsl.parse(TABLE + PROGRAM).run(target_se=0.15, seed=1)
    assert result.log_z_se <= 0.15
    assert result.islands >= adaptive.LEAST
    assert result.notes == ()


def test_most_runs_meet_their_target():
    """Four of five, says docs/inference.md; fewer than 14 of 20 would happen by chance once in
    ten."""
    results = [
        adaptive_run(WALK, "smc", seed, {"particles": 8}, Aim(target_se=0.1)) for seed in range(20)
    ]
    assert sum(r.log_z_se <= 0.1 for r in results) >= 14
    assert all((r.log_z_se <= 0.1) == (not r.notes) for r in results)


def test_a_budget_of_tokens_counts_the_pilot_too():
    costly = Costly(WALK)
    result = adaptive_run(
        costly, "smc", 3, {"particles": 8}, Aim(tokens=4000), counts=costly.counts
    )
    assert 3200 <= result.forwarded_tokens <= 4400
    assert result.forwarded_tokens == costly.tokens
    assert result.notes == ()


def test_a_budget_stops_short_of_the_target_and_says_so():
    costly = Costly(WALK)
    aim = Aim(target_se=0.01, tokens=2000)
    result = adaptive_run(costly, "smc", 3, {"particles": 8}, aim, counts=costly.counts)
    assert result.forwarded_tokens <= 2200
    assert any(
        "the target 0.01 was not met" in note and "budget of 2000 tokens" in note
        for note in result.notes
    )


def test_a_budget_too_small_for_one_island_gives_one_and_says_so():
    costly = Costly(WALK)
    result = adaptive_run(costly, "smc", 3, {"particles": 8}, Aim(tokens=10), counts=costly.counts)
    assert result.islands == 1
    assert any("of a budget of 10" in note for note in result.notes)


@pytest.fixture
def slow(monkeypatch):
    """WALK on a clock of its own: a step takes five milliseconds, and nothing else any."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Slow(Costly):
        def step(self, rngs, xp):
            clock[0] += 0.005
            return super().step(rngs, xp)

    return Slow(WALK)


def test_a_budget_of_seconds_is_about_what_a_run_takes(slow):
    result = adaptive_run(slow, "smc", 3, {"particles": 8}, Aim(seconds=0.8))
    assert 0.75 <= result.seconds <= 0.801
    assert result.islands == 38  # of 20 ms, after two of the pilot


def test_time_that_runs_out_leaves_the_islands_that_ended(slow):
    result = adaptive_run(slow, "smc", 3, {"particles": 8}, Aim(target_se=0.001), timeout=0.6)
    assert 1 <= result.islands < adaptive.MOST
    assert result.seconds <= 0.61
    assert any(
        "time ran out after" in note and "not exactly unbiased" in note for note in result.notes
    )
    # The same islands by themselves.
    assert result.log_z == run(WALK, "smc", 3, {"particles": 8}, islands=result.islands).log_z


def test_time_that_runs_out_in_the_pilot_leaves_its_first_island(slow):
    result = adaptive_run(slow, "smc", 3, {"particles": 8}, Aim(target_se=0.001), timeout=0.05)
    assert result.islands == 1
    assert "the pilot's first" in result.notes[0]


def test_an_island_that_does_not_end_in_the_budget_is_an_error(slow):
    with pytest.raises(BudgetEnded, match=r"more than the budget of 0\.01 seconds"):
        adaptive_run(slow, "smc", 3, {"particles": 8}, Aim(seconds=0.01))


def test_a_dead_pilot_is_no_reason_to_give_up():
    rare = Machine(M=(((0.1, 0.9),) * 2,), G=(((1.0, 0.0),) * 2,))
    seed = next(s for s in range(1000) if all(dead(rare, s, k) for k in range(8)))
    result = adaptive_run(rare, "smc", seed, {"particles": 1}, Aim(target_se=0.1))
    assert result.islands == adaptive.PILOT
    assert any("could not say" in note for note in result.notes)


def dead(model, seed, k):
    own = int.from_bytes(adaptive.KeyedRng(seed).split("pilot", k).key[:8], "little")
    try:
        run(model, "smc", own, {"particles": 1})
    except PopulationDied:
        return True
    return False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_se": 0.0}, "above 0"),
        ({"budget_tokens": -3}, "above 0"),
        ({"budget_seconds": math.inf}, "above 0"),
        ({"target_se": 0.1, "method": "exact"}, "draws nothing"),
        ({"target_se": 0.1, "method": "local"}, "no log Z"),
        ({"target_se": 0.1, "islands": 4}, "finds the number of islands"),
        ({"target_se": 0.1, "resume": {}}, "cannot be resumed"),
    ],
)
def test_an_aim_that_no_run_has_is_a_wrong_call(options, message):
    with pytest.raises(CallError, match=message):
        fkdsl.parse(TABLE + PROGRAM).run(**options)
