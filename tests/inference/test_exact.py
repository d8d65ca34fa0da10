"""Exact enumeration: merging, batches, bounds, and what it refuses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.errors import BudgetEnded, CallError, InternalError
from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.result import filtering_answers
from fkdsl.inference.run import run
from fkdsl.inference.search import exact as exact_module
from fkdsl.inference.search.exact import exact
from fkdsl.testing import Machine, exact_measure, machines
from fkdsl.testing.laws import assert_same_masses

WALK = Machine(
    M=(((0.2, 0.8), (0.5, 0.5)),) * 8,
    G=(((2.0, 0.5), (1.0, 0.3)),) * 8,
)


class Wrapped:
    """A model that is another one but for what a test changes."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)


def whole_path(model, rng):
    """(value, prod_t G_t) of one run, or None where it dies: the definition, with no inference in
    it."""
    (x,), log_G = model.initial([rng])
    total = float(log_G[0])
    while total > -math.inf and not model.finished(x):
        (x,), log_G = model.step([rng], [x])
        total += float(log_G[0])
    return None if total == -math.inf else (value_key(model.value(x)), math.exp(total))


@given(machines(sites=3, steps=3))
def test_levels_agree_with_the_enumeration_of_whole_paths(model):
    found = {}
    for p, path in enumerate_outcomes(lambda rng: whole_path(model, rng)):
        if path is not None:
            found[path[0]] = found.get(path[0], 0.0) + p * path[1]
    assert_same_masses(exact_measure(model), found, 1e-12)


def test_equal_states_are_merged_so_that_the_work_is_linear_in_the_steps():
    # 2 ^ 8 paths, but two states a level, each with two outcomes.
    assert abs(run(WALK, "exact", options={"max_states": 31}).log_z - exact_log_z(WALK)) <= 1e-12
    with pytest.raises(BudgetEnded, match="passed 30 states at step 8"):
        run(WALK, "exact", options={"max_states": 30})


def exact_log_z(model):
    """By the matrix product, site by site."""
    v = np.array([model.G0, 0.0])
    for M, G in zip(model.M, model.G, strict=True):
        v = v @ (np.array(M) * np.array(G))
    return math.log(v.sum())


def test_a_whole_level_is_stepped_in_few_batches():
    batches = []

    class Watched(Wrapped):
        def step(self, rngs, xp):
            batches.append(len(xp))
            return self.model.step(rngs, xp)

    unmerged = Machine(WALK.M[:5], WALK.G[:5], merge=False)
    exact_measure(Watched(unmerged))
    # Level t has 2^t states, all stepped at once; their second outcomes come in a second batch.
    assert batches == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16]


@given(model=machines(sites=2, steps=3), size=st.integers(1, 5))
def test_the_batch_size_changes_no_answer(model, size):
    wanted = exact_measure(model)
    before = exact_module.BATCH
    try:
        exact_module.BATCH = size
        assert_same_masses(exact_measure(model), wanted, 1e-14)
    finally:
        exact_module.BATCH = before


def test_a_continuous_draw_is_a_wrong_call():
    class Continuous(Wrapped):
        def step(self, rngs, xp):
            return [(1, float(rng.uniform())) for rng in rngs], np.zeros(len(xp))

    with pytest.raises(CallError, match="continuous"):
        run(Continuous(WALK), "exact")


def test_a_uniform_that_is_only_compared_is_enumerated():
    class Compared(Wrapped):
        def step(self, rngs, xp):
            return [(8, int(rng.uniform() < 0.25)) for rng in rngs], np.zeros(len(xp))

    assert abs(run(Compared(WALK), "exact").probability((8, 1)) - 0.25) <= 1e-12


def test_a_random_start_is_refused():
    class Start(Wrapped):
        def initial(self, rngs):
            return [(0, rng.choice([0.5, 0.5])) for rng in rngs], np.zeros(len(rngs))

    with pytest.raises(CallError, match="fixed initial state"):
        run(Start(WALK), "exact")


@pytest.mark.parametrize("method", ["exact", "rejection", "smc", "steer", "importance"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", ["initial", "step"])
def test_a_nan_or_infinite_potential_is_an_internal_error_wherever_it_arises(method, bad, at):
    class Bad(Wrapped):
        def initial(self, rngs):
            x, g = self.model.initial(rngs)
            return x, np.full(len(x), bad) if at == "initial" else g

        def step(self, rngs, xp):
            x, g = self.model.step(rngs, xp)
            return x, np.full(len(x), bad) if at == "step" else g

    with pytest.raises(InternalError):
        run(Bad(WALK), method)


def test_filtering_posteriors_are_the_forward_recursion():
    v = np.array([1.0, 0.0])
    for t, level in enumerate(exact(WALK)):
        if t:
            v = v @ (np.array(WALK.M[t - 1]) * np.array(WALK.G[t - 1]))
        answers = {a.value: a.probability for a in filtering_answers(WALK, level)}
        wanted = {f"site {i} at {t}": v[i] / v.sum() for i in range(2) if v[i] > 0}
        assert answers.keys() == wanted.keys()
        assert all(abs(answers[k] - wanted[k]) <= 1e-12 for k in wanted)


def test_weights_of_hundreds_of_nats_neither_vanish_nor_overflow():
    for factor in (1e-300, 1e300):
        far = Machine(
            WALK.M, tuple(tuple(tuple(g * factor for g in row) for row in G) for G in WALK.G)
        )
        assert abs(run(far, "exact").log_z - exact_log_z(WALK) - 8 * math.log(factor)) <= 1e-9
        for method in ("smc", "steer"):
            result = run(far, method)
            assert np.isfinite(result.log_z)
            assert abs(sum(p.weight for p in result.particles) - 1) <= 1e-12
