"""The enumerating stream: it visits every outcome once, with its probability, and says what it
cannot enumerate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.errors import CallError, InternalError
from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import EnumeratingRng, enumerate_outcomes, expectation

numbers = st.sampled_from((-2.0, -0.75, 0.1, 0.3, 0.5, 0.9, 1.4))
trees = st.recursive(
    st.integers(0, 9),
    lambda t: st.lists(st.tuples(st.sampled_from((0.0, 1.0, 1.0, 3.0)), t), min_size=1, max_size=3),
)


def descend(rng, tree):
    """A path to a leaf of a tree of weighted branches."""
    path = []
    while isinstance(tree, list):
        j = rng.choice([w + (k == 0) for k, (w, _) in enumerate(tree)])
        path.append(j)
        tree = tree[j][1]
    return (*path, tree)


def leaves(tree, p=1.0, path=()):
    if not isinstance(tree, list):
        return {(*path, tree): p}
    total = sum(w + (k == 0) for k, (w, _) in enumerate(tree))
    found = {}
    for k, (w, below) in enumerate(tree):
        if w + (k == 0) > 0:
            found |= leaves(below, p * (w + (k == 0)) / total, (*path, k))
    return found


@given(trees)
def test_every_outcome_comes_once_with_its_probability(tree):
    wanted = leaves(tree)
    found = [(path, p) for p, path in enumerate_outcomes(lambda rng: descend(rng, tree))]
    assert len(found) == len(wanted)
    assert all(abs(wanted[path] - p) <= 1e-12 for path, p in found)


@given(scale=numbers, shift=numbers, at=numbers)
def test_a_comparison_of_an_affine_uniform_has_the_length_of_its_interval(scale, shift, at):
    # scale U + shift < at
    edge = (at - shift) / scale
    below = min(max(edge, 0.0), 1.0)
    wanted = below if scale > 0 else 1.0 - below
    forms = (
        lambda u: u * scale + shift < at,
        lambda u: at >= shift + scale * u,
        lambda u: -(u * -scale) - -shift <= at,
        lambda u: not (shift - u * -scale > at),
        lambda u: np.float64(at) > np.float64(scale) * u + np.float64(shift),
        lambda u: (u / (1 / scale)) < at - shift,
    )
    for form in forms:
        assert (
            abs(expectation(lambda rng, f=form: float(f(rng.uniform())), float) - wanted) <= 1e-12
        )


def test_a_uniform_remembers_what_comparisons_have_told():
    def sampler(rng):
        u = rng.uniform()
        if u < 0.3:
            assert u < 0.5
            return "low"
        return "middle" if u < 0.6 else "high"

    found = [(round(p, 12), x) for p, x in enumerate_outcomes(sampler)]
    assert found == [(0.3, "low"), (0.3, "middle"), (0.4, "high")]


def test_two_uniforms_are_independent():
    assert (
        abs(expectation(lambda rng: (rng.uniform() < 0.3) * (rng.uniform() < 0.5), float) - 0.15)
        <= 1e-12
    )


@pytest.mark.parametrize(
    "use", [float, int, math.exp, lambda u: u + u, lambda u: u < -u, lambda u: u * u]
)
def test_a_uniform_used_as_a_number_is_refused(use):
    with pytest.raises(CallError, match="cannot be enumerated"):
        list(enumerate_outcomes(lambda rng: use(rng.uniform())))


def test_slivers_are_not_split():
    assert [p for p, _ in enumerate_outcomes(lambda rng: rng.uniform() < 1e-14)] == [1.0]
    assert len(list(enumerate_outcomes(lambda rng: rng.uniform() < 1e-9))) == 2


def test_outcomes_past_the_limit_are_an_error_and_not_a_wrong_answer():
    def sampler(rng):
        return [rng.choice([0.5, 0.5]) for _ in range(4)]

    assert len(list(enumerate_outcomes(sampler, limit=16))) == 16
    with pytest.raises(CallError, match="more than 15"):
        list(enumerate_outcomes(sampler, limit=15))


@pytest.mark.parametrize("rng", [KeyedRng(0), EnumeratingRng()])
@pytest.mark.parametrize("bad", [[0.0, 0.0], [], [0.5, math.nan], [1.5, -0.5], [math.inf, 1.0]])
def test_a_choice_without_probabilities_is_refused_by_every_stream(rng, bad):
    with pytest.raises((InternalError, ValueError)):
        rng.choice(bad)


@given(ws=st.lists(st.sampled_from((0.0, 1.0, 5.0)), min_size=1, max_size=4).filter(any))
def test_both_streams_choose_by_the_same_probabilities(ws):
    """2,000 keyed draws against the enumeration: chi-squared below its 1e-6 quantile at three
    degrees of freedom."""
    n = 2_000
    counts = np.bincount(
        [KeyedRng(7).split("draw", i).choice(ws) for i in range(n)], minlength=len(ws)
    )
    wanted = np.zeros(len(ws))
    for p, j in enumerate_outcomes(lambda rng: rng.choice(ws)):
        wanted[j] += p
    live = wanted > 0
    assert counts[~live].sum() == 0
    assert float((np.square(counts - n * wanted)[live] / (n * wanted[live])).sum()) <= 31.0
