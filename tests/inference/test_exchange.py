"""Islands that are exchanged: unbiased by enumeration, with an unbiased variance, and rules that
look as good and are not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fkdsl.base.errors import CallError, PopulationDied
from fkdsl.base.value_keys import value_key
from fkdsl.inference import exchange, island_runner
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.exchange import Exchange, in_place
from fkdsl.inference.run import run
from fkdsl.testing import Machine, exact_measure

UNEVEN = Machine(M=(((0.2, 0.8), (0.6, 0.4)),) * 2, G=(((4.0, 0.1), (2.0, 0.3)),) * 2)
MORTAL = Machine(M=(((0.3, 0.7), (0.5, 0.5)),) * 2, G=(((2.0, 0.0), (1.0, 0.5)),) * 2)
WILD = Machine(M=(((0.1, 0.9), (0.5, 0.5)),) * 3, G=(((9.0, 0.01), (1.0, 0.5)),) * 3)


@pytest.fixture
def enumerated(monkeypatch):
    """By model: (probability, masses by value, V, how often islands were exchanged) of every
    outcome of two islands; V is the estimate of Var(Z_hat)."""

    # Two islands have an effective number of 1 at least, which is never below a half of them.
    monkeypatch.setattr(exchange, "HALF", 0.95)

    def outcomes(model, **options):
        def sampler(rng):
            for module in (island_runner, exchange):
                monkeypatch.setattr(module, "KeyedRng", lambda seed: rng)
            try:
                result = run(model, "smc", 0, options, islands=2, exchange=1)
            except PopulationDied:
                return {}, 0.0, 0
            masses = {}
            for p in result.particles:
                key = value_key(p.value)
                masses[key] = masses.get(key, 0.0) + math.exp(p.log_weight)
            return masses, *variance(result)

        return list(enumerate_outcomes(sampler))

    return outcomes


def variance(result):
    """(the estimate of Var(Z_hat), the number of exchanges)."""
    errors, Z = result.uncertainty, math.exp(result.log_z)
    if errors.by == "islands":
        return (errors.log_z_se() * Z) ** 2, 0
    W = np.exp(errors.log_Z - errors.log_Z.max())
    W /= W.sum()
    return Z * Z * (1.0 - W @ errors.C @ W), len(errors.after)


TWO = {"particles": 2, "ess": 1.0}


@pytest.mark.parametrize(
    ("model", "options"), [(UNEVEN, {"particles": 1}), (MORTAL, TWO)], ids=["uneven", "mortal"]
)
def test_every_mass_and_the_variance_have_the_right_mean(enumerated, model, options):
    outcomes = enumerated(model, **options)
    for value, mass in exact_measure(model).items():
        mean = math.fsum(p * masses.get(value, 0.0) for p, (masses, _, _) in outcomes)
        assert abs(mean - mass) <= 1e-12
    Z = [(p, math.fsum(masses.values())) for p, (masses, _, _) in outcomes]
    second = math.fsum(p * z * z for p, z in Z) - math.fsum(p * z for p, z in Z) ** 2
    assert abs(math.fsum(p * V for p, (_, V, _) in outcomes) - second) <= 1e-12
    assert 0.1 < math.fsum(p for p, (_, _, times) in outcomes if times) < 1.0


def best_particle_migrates(self, t, islands):
    """The heaviest particle of all, with its weight, in the place of each island's lightest."""
    best = max(islands, key=lambda x: x.log_weights.max())
    i = int(best.log_weights.argmax())
    changed = []
    for step in islands:
        if step is best:
            changed.append(step)
            continue
        j = int(step.log_weights.argmin())
        particles, lw = list(step.particles), np.array(step.log_weights)
        particles[j], lw[j] = best.particles[i], best.log_weights[i]
        log_Z = float(np.logaddexp.reduce(lw))
        running = sum(w > -np.inf for w in lw)
        changed.append(
            replace(step, particles=tuple(particles), log_weights=lw, log_Z=log_Z,
                    unfinished=running)
        )  # fmt: skip
    return changed


def dead_are_left_out(self, t, islands):
    """Dead islands get copies of the others, which keep their weights."""
    alive = [step for step in islands if step.log_Z > -np.inf]
    if not alive:
        return list(islands)
    return [s if s.log_Z > -np.inf else replace(alive[0], island=s.island) for s in islands]


def taken_back(self, t, islands, rule=Exchange.resample):
    """An exchange that is kept only where its draw has both islands from the better one."""
    changed = rule(self, t, islands)
    best = max(islands, key=lambda x: x.log_Z)
    return changed if all(x.particles is best.particles for x in changed) else list(islands)


@pytest.mark.parametrize(
    ("rule", "model", "options"),
    [
        (best_particle_migrates, MORTAL, TWO),
        (dead_are_left_out, MORTAL, TWO),
        (taken_back, UNEVEN, {"particles": 1}),
    ],
)
def test_a_planted_bug_is_caught(enumerated, monkeypatch, rule, model, options):
    monkeypatch.setattr(Exchange, "resample", rule)
    monkeypatch.setattr(Exchange, "took_place", False)
    outcomes = enumerated(model, **options)
    mean = math.fsum(p * math.fsum(masses.values()) for p, (masses, _, _) in outcomes)
    assert abs(mean / sum(exact_measure(model).values()) - 1.0) > 5e-3


def test_the_decision_is_taken_before_anything_is_drawn():
    class NoDraws:
        def split(self, *key):
            raise AssertionError("a draw")

    going = Exchange(0, 4, 1)
    going._rng = NoDraws()
    even = [replace(run_to_end(seed), log_Z=0.0) for seed in range(4)]
    assert going.resample(3, even) == even
    with pytest.raises(AssertionError, match="a draw"):
        going.resample(3, [even[0], *(replace(x, log_Z=-40.0) for x in even[1:])])


def run_to_end(seed):
    steps = []
    run(UNEVEN, "smc", seed, {"particles": 2}, observer=steps.append)
    return steps[-1]


def test_copies_move_and_survivors_stay():
    assert in_place([1, 1, 3, 3]) == [1, 1, 3, 3]
    assert in_place([0, 0, 0, 2]) == [0, 0, 2, 0]


def test_without_an_exchange_the_answer_is_that_of_plain_islands():
    even = Machine(M=(((0.5, 0.5), (0.5, 0.5)),) * 3, G=(((1.0, 0.9), (0.9, 1.0)),) * 3)
    plain = run(even, "smc", 5, {"particles": 8}, islands=4)
    assert replace(run(even, "smc", 5, {"particles": 8}, islands=4, exchange=2), seconds=0.0) == (
        replace(plain, seconds=0.0)
    )


def test_an_exchange_says_so_in_a_note_with_its_errors():
    result = run(WILD, "smc", 1, {"particles": 2}, islands=8, exchange=1)
    assert result.uncertainty.by == "exchange"
    assert result.log_z_se > 0.0
    assert result.mean(lambda value: 3.0).se == 0.0
    assert "islands were exchanged" in result.notes[0]


@pytest.mark.parametrize(
    ("method", "options", "islands", "every"),
    [
        ("smc", {}, 1, 2),
        ("smc", {}, 4, 0),
        ("smc", {"moves": 1}, 4, 2),
        ("rejection", {}, 4, 2),
        ("local", {}, 4, 2),
    ],
)
def test_what_cannot_be_exchanged_is_refused(method, options, islands, every):
    with pytest.raises(CallError):
        run(UNEVEN, method, 0, options, islands=islands, exchange=every)
