"""Beam search: what it keeps, what it covers, and that it never claims more."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import BudgetEnded, CallError, Interrupted, PopulationDied
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.run import run
from fkdsl.inference.search import beam as module
from fkdsl.inference.search.beam import beam
from fkdsl.inference.search.exact import exact
from fkdsl.testing import Machine, exact_measure, machines, program_texts
from fkdsl.testing.laws import assert_same_masses
from tests.inference.test_best_first import SLACK, measure

WALK = Machine(M=(((0.2, 0.8), (0.5, 0.5)),) * 6, G=(((0.7, 0.5), (1.0, 0.3)),) * 6)
TRAP = Machine(
    M=(((0.0, 0.6, 0.4),) * 3, ((1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.0, 1.0))),
    G=(((1.0, 1.0, 1.0),) * 3, ((1.0, 1.0, 1.0), (0.01, 0.01, 1.0), (1.0, 1.0, 1.0))),
)
"""Heavy at first, and then light: a beam of one goes the wrong way."""


@settings(max_examples=75)
@given(model=machines(sites=3, steps=3))
def test_a_beam_that_keeps_all_states_is_exact(model):
    *_, last = beam(model, 1000)
    assert last.log_open == -math.inf
    assert_same_masses(measure(model, last), exact_measure(model), 1e-12)


@settings(max_examples=40)
@given(text=program_texts())
def test_a_wide_beam_on_a_program_is_exact(text):
    model = fkdsl.parse(text).feynman_kac()
    *_, last = beam(model, 1000)
    assert_same_masses(measure(model, last), exact_measure(model), 1e-10)


@settings(max_examples=75)
@given(model=machines(sites=3, steps=4), width=st.integers(1, 4))
def test_what_it_covers_is_between_its_bounds_and_part_of_the_measure(model, width):
    masses = exact_measure(model)
    z = math.fsum(masses.values())
    *_, last = beam(model, width)
    low, high = map(math.exp, last.bounds)
    assert low <= z * SLACK
    assert z <= high * SLACK
    for value, mass in measure(model, last).items():
        assert mass <= masses[value] * SLACK


@settings(max_examples=80)
@given(model=machines(sites=3, steps=3, bounded=True), width=st.integers(1, 3))
def test_each_level_is_that_of_a_plain_beam_search(model, width):
    """All outcomes of the kept states, the heaviest by weight and bound kept; equal ones may fall
    either way."""
    model = replace(model, merge=False)
    levels = list(beam(model, width))
    for before, after in pairwise(levels):
        found = []
        for x, w in zip(before.states, before.log_weights, strict=True):
            if not model.finished(x):
                found += [math.exp(w + g + model.log_bound(y)) for y, g in outcomes(model, x)]
        wanted = sorted((v for v in found if v > 0), reverse=True)[:width]
        old = {
            (x, w)
            for x, w in zip(before.states, before.log_weights, strict=True)
            if model.finished(x)
        }
        now = [
            (x, w)
            for x, w in zip(after.states, after.log_weights, strict=True)
            if (x, w) not in old
        ]
        kept = [v for x, w in now if (v := math.exp(w + model.log_bound(x))) > 0]
        assert len(kept) == len(wanted)
        assert all(
            abs(a - b) <= 1e-12 for a, b in zip(sorted(kept, reverse=True), wanted, strict=True)
        )


def outcomes(model, x):
    """(state, log of probability and potential) of every outcome of a step."""

    def go(rng):
        (y,), (g,) = model.step([rng], [x])
        return y, float(g)

    return [(y, g + math.log(p)) for p, (y, g) in enumerate_outcomes(go)]


def test_a_narrow_beam_can_miss_most_of_z_and_says_so():
    narrow, wide = run(TRAP, "beam", options={"width": 1}), run(TRAP, "beam", options={"width": 3})
    z = run(TRAP, "exact").log_z
    low, high = narrow.log_z_bounds
    assert low < z - 1
    assert z <= high + 1e-12
    assert narrow.posterior[0].low < 0.02
    assert abs(wide.log_z - z) <= 1e-12
    assert narrow.log_z_se is None


def test_a_dropped_state_that_is_not_counted_is_caught(monkeypatch):
    z = run(TRAP, "exact").log_z
    monkeypatch.setattr(module.Frontier, "log_open", lambda self, aside=(): -math.inf)
    assert run(TRAP, "beam", options={"width": 1}).log_z < z - 1


def test_a_beam_that_dies_has_an_upper_bound_only():
    class Unaware(Machine):
        def log_bound(self, x):
            return 0.0

    model = Unaware(M=TRAP.M, G=(TRAP.G[0], ((1.0,) * 3, (0.0,) * 3, (1.0,) * 3)))
    with pytest.raises(
        PopulationDied, match=r"every state that the beam kept has died; log Z <= -0\.9"
    ):
        run(model, "beam", options={"width": 1})


class CutIn:
    """A chain that some states leave early, whose run is cancelled in its step `t`."""

    model = Machine(
        M=(((0.5, 0.3, 0.2),) * 3,) * 4,
        G=(((1.0, 0.4, 0.9), (0.5, 0.2, 0.8), (1.0, 1.0, 1.0)),) * 4,
        stops=frozenset({2}),
    )

    def __init__(self, t, deadline):
        self.t, self.deadline = t, deadline

    def __getattr__(self, name):
        return getattr(self.model, name)

    def step(self, rngs, xp):
        if xp[0][0] + 1 == self.t:
            self.deadline.cancel()
        return self.model.step(rngs, xp)


@pytest.mark.parametrize("t", [2, 3, 4])
def test_a_beam_whose_time_is_over_has_bounds_that_hold(t):
    """The mass of the states that were still to be stepped is open: it used to be counted as found,
    and the lower bound was above Z."""
    z = run(CutIn.model, "exact").log_z
    deadline = Deadline()
    result = run(CutIn(t, deadline), "beam", options={"width": 2}, timeout=deadline)
    low, high = result.log_z_bounds
    assert low <= z <= high
    assert low == pytest.approx(result.log_z)
    exact_posterior = run(CutIn.model, "exact")
    for answer in result.posterior:
        p = exact_posterior.probability(answer.value)
        assert answer.low - 1e-12 <= p <= answer.high + 1e-12
    assert "beam was ended by timeout" in " ".join(result.notes)


def test_without_bounds_on_potentials_a_beam_whose_time_is_over_has_a_lower_bound_only():
    class Unbounded(CutIn):
        def __getattr__(self, name):
            if name == "log_bound":
                raise AttributeError(name)
            return getattr(self.model, name)

    deadline = Deadline()
    low, high = run(
        Unbounded(3, deadline), "beam", options={"width": 2}, timeout=deadline
    ).log_z_bounds
    assert low <= run(CutIn.model, "exact").log_z < high == math.inf


def test_a_beam_whose_time_is_over_before_anything_returned_has_no_answer():
    deadline = Deadline()
    with pytest.raises(BudgetEnded, match=r"beam was ended by timeout(.|\n)*log Z <= 0\.0000"):
        run(CutIn(1, deadline), "beam", options={"width": 2}, timeout=deadline)


def test_a_beam_that_is_interrupted_carries_bounds_that_hold():
    class Interrupting(Deadline):
        def cancel(self):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as error:
        run(CutIn(3, Interrupting()), "beam", options={"width": 2})
    low, high = error.value.unfinished.log_z_bounds
    assert low <= run(CutIn.model, "exact").log_z <= high


def test_equal_states_are_one_in_the_beam():
    assert all(len(level.states) <= 2 for level in beam(WALK, 2))
    *_, last = beam(WALK, 4)
    assert abs(last.log_Z - list(exact(WALK))[-1].log_Z) <= 1e-12


def test_steps_and_islands_are_bounded_as_for_other_methods():
    with pytest.raises(BudgetEnded, match="3 steps"):
        run(WALK, "beam", max_steps=3)
    with pytest.raises(CallError, match="draws nothing"):
        run(WALK, "beam", islands=2)
