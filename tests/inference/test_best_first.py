"""Exact inference, heaviest outcomes first: the same answer as level by level, and bounds that
always hold."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied
from fkdsl.base.value_keys import value_key
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import run
from fkdsl.inference.search import best_first as module
from fkdsl.inference.search import frontier as frontier_module
from fkdsl.inference.search import ranked as ranked_module
from fkdsl.inference.search.best_first import best_first
from fkdsl.inference.search.enclosed import enclosed
from fkdsl.inference.search.exact import exact
from fkdsl.inference.search.frontier import Explored
from fkdsl.testing import Machine, exact_measure, machines, program_texts
from fkdsl.testing.laws import assert_same_masses

WALK = Machine(M=(((0.2, 0.8), (0.5, 0.5)),) * 6, G=(((0.7, 0.5), (1.0, 0.3)),) * 6)
SLACK = 1 + 1e-12


def measure(model, found):
    """Mass by value of the finished states."""
    masses = {}
    for x, w in zip(found.states, found.log_weights, strict=True):
        key = value_key(model.value(x))
        masses[key] = masses.get(key, 0.0) + math.exp(w)
    return masses


@pytest.fixture
def small(monkeypatch):
    """Few outcomes held in order and small batches, so that drawn models reach what large
    vocabularies do."""
    monkeypatch.setattr(ranked_module, "KEPT", 2)
    monkeypatch.setattr(module, "BATCH", 2)


@settings(max_examples=100)
@given(model=machines(sites=3, steps=3))
def test_it_comes_to_the_measure_of_exact(model):
    *_, last = best_first(model)
    assert last.log_open == -math.inf
    assert_same_masses(measure(model, last), exact_measure(model), 1e-12)


@settings(max_examples=100)
@given(model=machines(sites=4, steps=3), kept=st.integers(1, 3), batch=st.integers(1, 3))
def test_outcomes_beyond_those_held_are_ranked_anew(model, kept, batch):
    before = ranked_module.KEPT, module.BATCH
    try:
        ranked_module.KEPT, module.BATCH = kept, batch
        *_, last = best_first(model)
    finally:
        ranked_module.KEPT, module.BATCH = before
    assert_same_masses(measure(model, last), exact_measure(model), 1e-12)


@settings(max_examples=60)
@given(text=program_texts(), optimised=st.booleans())
def test_programs_have_the_measure_of_exact(text, optimised):
    program = fkdsl.parse(text)
    model = (program if optimised else program.without()).feynman_kac()
    *_, last = best_first(model)
    assert_same_masses(measure(model, last), exact_measure(model), 1e-10)


def assert_encloses(found, masses):
    """Z, and each value's probability, are where the bounds say."""
    z = math.fsum(masses.values())
    low, high = map(math.exp, found.bounds)
    assert low <= z * SLACK
    assert z <= high * SLACK
    if low > 0.0 and high < math.inf:
        for a in answers(found):
            p = masses[value_key(a.value)] / z
            assert a.low <= p * SLACK
            assert p <= a.high * SLACK + 1e-15
            assert 0.0 <= a.low <= a.probability * SLACK
            assert a.high <= 1.0


def answers(found):
    """The posterior as a result of it says, its values being states."""
    model = Plain(found)
    result = enclosed(run(model, "exact"), found, METHODS["exact"])
    return result.posterior if found.gap > 1e-9 else []


class Plain:
    """A model of one step whose outcomes are what has been found."""

    def __init__(self, found):
        self.found = found

    def initial(self, rngs):
        return [None] * len(rngs), np.zeros(len(rngs))

    def step(self, rngs, xp):
        total = np.exp(self.found.log_weights).sum()
        x = [self.found.states[rng.choice(np.exp(self.found.log_weights))] for rng in rngs]
        return x, np.full(len(x), math.log(total))

    def finished(self, x):
        return x is not None

    def value(self, x):
        return x

    def key(self, x):
        return x

    def describe(self, x):
        return str(x)


@settings(max_examples=60)
@given(model=machines(sites=3, steps=3))
def test_the_bounds_hold_wherever_a_budget_ends_it(model):
    masses = exact_measure(model)
    for budget in range(1, 50, 2):
        *_, last = best_first(model, max_states=budget)
        assert last.computed <= budget
        assert_encloses(last, masses)


@settings(max_examples=40)
@given(text=program_texts())
def test_the_bounds_of_programs_hold_wherever_a_budget_ends_it(text):
    model = fkdsl.parse(text).feynman_kac()
    z = math.fsum(exact_measure(model).values())
    for budget in range(1, 30, 3):
        *_, last = best_first(model, max_states=budget)
        low, high = map(math.exp, last.bounds)
        assert low <= z * SLACK
        assert z <= high * SLACK


def test_the_bounds_come_together_step_by_step(small):
    gaps = [found.bounds for found in best_first(WALK)]
    assert len(gaps) > 5
    assert all(a[0] <= b[0] and a[1] >= b[1] - 1e-12 for a, b in pairwise(gaps))
    assert gaps[-1][0] == gaps[-1][1]


PLANTED = {
    "the mass beyond those held is forgotten": (
        ranked_module,
        "ranked",
        lambda real: (
            lambda p, mass, skip=0: real(np.where(p >= np.sort(p)[-1], p, 0.0), mass, skip)
        ),
    ),
    "a group's mass is that of its next outcome": (
        frontier_module.Group,
        "log_mass",
        lambda real: property(lambda self: self.log_next),
    ),
    "a merged state keeps the weight of one": (
        np,
        "logaddexp",
        lambda real: lambda a, b: max(a, b),
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_leave_z_outside_the_bounds(monkeypatch, small, bug):
    model = Machine(
        M=(((0.2, 0.3, 0.5),) * 3,) * 3, G=(((1.0, 0.9, 1.0),) * 3,) * 3, stops=frozenset({1})
    )
    masses = exact_measure(model)

    def check():
        for budget in range(1, 40):
            *_, last = best_first(model, max_states=budget)
            low, high = map(math.exp, last.bounds)
            assert low <= math.fsum(masses.values()) * SLACK <= high * SLACK**2

    check()
    where, name, plant = PLANTED[bug]
    monkeypatch.setattr(where, name, plant(getattr(where, name)))
    with pytest.raises(AssertionError):
        check()


def test_a_bound_that_forgets_potentials_above_one_is_caught(monkeypatch):
    model = Machine(M=(((0.5, 0.5), (0.5, 0.5)),) * 3, G=(((2.0, 0.5), (1.0, 3.0)),) * 3)
    z = math.fsum(exact_measure(model).values())
    *_, last = best_first(model, max_states=4)
    assert z <= math.exp(last.bounds[1])
    monkeypatch.setattr(Machine, "log_bound", lambda self, x: 0.0)
    *_, last = best_first(model, max_states=4)
    assert z > math.exp(last.bounds[1])


def test_a_model_that_says_nothing_of_its_potentials_has_no_upper_bound():
    class Silent:
        def __getattr__(self, name):
            if name == "log_bound":
                raise AttributeError(name)
            return getattr(WALK, name)

    *_, last = best_first(Silent(), max_states=20)
    assert last.bounds[1] == math.inf
    result = run(Silent(), "exact", options={"max_states": 20}, lazy=True)
    assert result.log_z_bounds == (result.log_z, math.inf)
    assert result.posterior[0].low is None
    assert "no upper bound" in " ".join(result.notes)
    assert abs(run(Silent(), "exact", lazy=True).log_z - run(WALK, "exact").log_z) <= 1e-12


def test_equal_states_wait_as_one():
    # 2 ^ 6 paths, but two states a level, each with two outcomes.
    *_, last = best_first(WALK)
    assert last.computed < 60


@pytest.mark.parametrize("how", ["max_states=5", "max_steps=3", "timeout=0.01", "max_tokens=6"])
def test_states_steps_time_and_tokens_end_it_with_bounds(monkeypatch, how):
    monkeypatch.setattr(module, "BATCH", 2)
    model = Early()
    z = run(model, "exact").log_z
    tokens = iter(range(1000))
    name, bound = how.split("=")
    options = {name: int(bound)} if name in ("max_states", "max_tokens") else {}
    result = run(
        model,
        "exact",
        options=options,
        lazy=True,
        max_steps=3 if name == "max_steps" else None,
        timeout=0.01 if name == "timeout" else None,
        counts=lambda: (0, next(tokens)),
    )
    assert how in " ".join(result.notes)
    assert result.log_z_se is None
    low, high = result.log_z_bounds
    assert low == result.log_z < z < high


class Slow:
    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    def step(self, rngs, xp):
        time.sleep(0.004)
        return self.model.step(rngs, xp)


class Early(Slow):
    """Half of its runs are finished after one step."""

    def __init__(self):
        super().__init__(Machine(WALK.M, WALK.G, stops=frozenset({1})))


def test_without_a_finished_state_the_upper_bound_is_in_the_error():
    with pytest.raises(BudgetEnded, match=r"max_states=3 .* log Z <= -?\d"):
        run(WALK, "exact", options={"max_states": 3}, lazy=True)


def test_nothing_of_positive_weight_is_a_dead_population_with_its_places():
    class Unlucky(Slow):
        def log_bound(self, x):
            return 0.0

    dead = Unlucky(Machine(M=WALK.M, G=(((0.0, 0.0), (0.0, 0.0)),) * 6))
    with pytest.raises(PopulationDied, match="site"):
        run(dead, "exact", lazy=True)


def test_a_gap_ends_it_early():
    wide = run(WALK, "exact", options={"gap": 0.5}, lazy=True)
    low, high = wide.log_z_bounds
    assert 1e-9 < high - low <= 0.5
    assert not wide.notes
    assert wide.states < run(WALK, "exact", options={"gap": 0}, lazy=True).states


def test_what_cannot_be_enumerated_is_refused():
    class Continuous(Slow):
        def step(self, rngs, xp):
            return [(1, float(rng.uniform())) for rng in rngs], np.zeros(len(xp))

    with pytest.raises(CallError, match="continuous"):
        run(Continuous(WALK), "exact", lazy=True)


def test_a_uniform_that_is_compared_is_followed():
    class Compared(Slow):
        def step(self, rngs, xp):
            return [(8, int(rng.uniform() < 0.25)) for rng in rngs], np.zeros(len(xp))

    assert abs(run(Compared(WALK), "exact", lazy=True).probability((8, 1)) - 0.25) <= 1e-12


def test_siblings_of_a_masked_draw_are_bounded_by_their_own_probability():
    """Each unseen outcome counts with its mass, not with its share of what the mask leaves."""
    table = 'model m = table:\n    "" -> "a": 0.02, "b": 0.01, "c": 0.97\n'
    text = (
        table
        + 'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n'
        + '    condition t != "c"\n    return t\n'
    )
    model = fkdsl.parse(text).feynman_kac()
    *_, last = best_first(model, max_states=2)
    assert abs(math.exp(last.bounds[0]) - 0.02) <= 1e-12
    assert abs(math.exp(last.bounds[1]) - 0.03) <= 1e-12


def test_what_is_known_to_come_to_nothing_is_not_waited_for():
    """Every second state can only die; its like once kept the search from ending."""
    model = Machine(
        M=(((0.5, 0.5), (0.5, 0.5)),) * 20, G=(((1.0, 1.0), (0.0, 0.0)),) * 20, merge=False
    )
    *_, last = best_first(model)
    assert abs(last.log_Z - 19 * math.log(0.5)) <= 1e-12
    assert last.log_open == -math.inf


def test_levels_and_best_first_count_the_same_states_when_nothing_merges():
    model = Machine(WALK.M[:4], WALK.G[:4], merge=False)
    *_, last = best_first(model)
    assert isinstance(last, Explored)
    assert last.computed == 1 + 2 + 4 + 8 + 16
    assert abs(last.log_Z - list(exact(model))[-1].log_Z) <= 1e-12
