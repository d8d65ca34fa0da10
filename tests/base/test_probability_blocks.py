"""Probabilities in blocks against the array that they stand for, exactly and operation by
operation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import InternalError
from fkdsl.base.probability_blocks import FEW, ProbabilityBlocks, block_sums
from fkdsl.base.random import KeyedRng, weighted
from fkdsl.inference.enumeration import expectation
from fkdsl.inference.samplers.smc import importance
from fkdsl.models.table import TableModel
from fkdsl.proposals.rejection import weighted_rejection
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure

SHARES = st.lists(st.integers(0, 4), min_size=1, max_size=9).filter(any)


def probabilities(shares, dtype=np.float64):
    return (np.array(shares) / sum(shares)).astype(dtype)


@given(SHARES, st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]))
def test_a_choice_among_few_is_that_by_arrays(shares, seed, dtype):
    p = probabilities(shares, dtype)
    assert KeyedRng(seed).choice(p) == KeyedRng(seed).pick(p)


@pytest.mark.parametrize("p", [[0.5, -0.1], [0.0, 0.0], [float("nan"), 1.0], [float("inf")]])
def test_a_choice_among_few_that_are_no_probabilities_is_an_error(p):
    with pytest.raises(InternalError):
        KeyedRng(0).choice(np.array(p))


def both_kinds(p, block):
    """Of probabilities, and of their logarithms and sums."""
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    return ProbabilityBlocks(p, block), ProbabilityBlocks.of_logs(
        logs, ProbabilityBlocks(p, block).sums, block
    )


@settings(max_examples=100)
@given(
    SHARES,
    st.integers(1, 5),
    st.lists(st.integers(0, 8), max_size=4),
    st.sampled_from([0.05, 0.2, 0.5]),
    st.data(),
)
def test_blocks_are_the_array_that_they_stand_for(shares, block, removed, least, data):
    p = probabilities(shares)
    for blocks in both_kinds(p, block):
        left = p.copy()
        for i in removed:
            if i < len(p):
                blocks.remove(i)
                left[i] = 0.0
        least = data.draw(st.sampled_from([least, float(p.max()), 1e-9, 2.0]))
        order = [int(i) for i in np.argsort(-np.round(left, 12), kind="stable") if left[i] > 0.0]
        assert abs(blocks.mass() - left.sum()) <= 1e-14
        found = list(blocks.descending(least))
        np.testing.assert_allclose([p for _, p in found], left[order], atol=1e-15)
        assert {i for i, _ in found} == set(order)
        assert blocks.any() == bool(left.any())
        assert [blocks.are_few(n) for n in range(10)] == [
            np.count_nonzero(left) <= n for n in range(10)
        ]
        np.testing.assert_allclose(np.asarray(blocks), left, atol=1e-15)
        np.testing.assert_allclose([blocks[i] for i in range(len(p))], left, atol=1e-15)


def test_what_is_equal_comes_in_its_order():
    p = np.array([0.1, 0.3, 0.1, 0.3, 0.2])
    blocks = ProbabilityBlocks(p, 2)
    for least in (0.35, 0.3, 0.15, 0.05):
        assert [i for i, _ in blocks.descending(least)] == [1, 3, 4, 0, 2]


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("block", [1, 3, 7])
def test_the_likeliest_of_many_blocks_come_first_however_even_they_are(flat, block):
    """More than FEW blocks are looked through together; what was taken out before stays out."""
    rng = np.random.default_rng(3)
    n = 4 * FEW * block + 2
    p = rng.permutation(np.arange(1, n + 1)) + (1000.0 if flat else 0.0)
    p /= p.sum()
    for blocks in both_kinds(p, block):
        blocks.remove(5, n - 1)
        for least in (0.1, p[7], 1e-4):
            assert [i for i, _ in blocks.descending(least)] == [
                int(i) for i in np.argsort(-p) if i not in (5, n - 1)
            ]


def test_what_is_found_together_is_looked_for_no_further_than_it_is_asked_for():
    p = probabilities(np.arange(1, 40 * FEW))
    blocks, looked_at = ProbabilityBlocks(p, 2), []
    between = blocks._between
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ProbabilityBlocks,
            "_between",
            lambda _, least, above: looked_at.append(least) or between(least, above),
        )
        likely = blocks.descending(float(p[-3]))
        assert [next(likely)[0] for _ in range(3)] == [len(p) - 1, len(p) - 2, len(p) - 3]
        assert looked_at == [p[-3]]


def test_the_array_is_left_as_it_was():
    p = probabilities([3, 1, 2])
    blocks = ProbabilityBlocks(p, 2)
    blocks.remove(0)
    assert p[0] == 0.5
    assert np.asarray(blocks)[0] == 0.0
    blocks.remove()
    assert blocks.mass() == 0.5


@given(SHARES, st.integers(1, 4))
def test_a_draw_from_blocks_has_their_law(shares, block):
    p = probabilities(shares)
    for v in range(len(p)):
        for kind in (0, 1):
            found = expectation(
                lambda rng, kind=kind: both_kinds(p, block)[kind].draw(rng),
                lambda i, v=v: float(i == v),
            )
            assert abs(found - p[v]) <= 1e-12


@given(st.integers(0, 2**32), st.integers(300, 700), st.sampled_from([np.float32, np.float64]))
def test_a_keyed_draw_is_the_same_from_blocks_and_from_the_array(seed, n, dtype):
    p = probabilities(np.random.default_rng(seed).integers(0, 5, n) + np.eye(n)[0], dtype)
    from_array = KeyedRng(seed).choice(p)
    assert [KeyedRng(seed).choice(b) for b in both_kinds(p, 256)] == [from_array] * 2
    labels = np.arange(n)
    assert weighted(KeyedRng(seed), ProbabilityBlocks(p), 1.0, labels)[0] == from_array


def test_blocks_of_nothing_and_of_nan_are_refused():
    for p in (np.zeros(300), np.full(300, np.nan)):
        with pytest.raises(InternalError):
            KeyedRng(0).choice(ProbabilityBlocks(p))


@given(SHARES, st.integers(1, 4), st.data())
def test_rejection_from_logarithms_is_properly_weighted(shares, block, data):
    p = probabilities(shares[:5] if any(shares[:5]) else [1])
    e = data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p)))
    for v in range(len(p)):
        found = expectation(
            lambda rng: weighted_rejection(rng, both_kinds(p, block)[1], lambda i: e[i]),
            lambda result, v=v: result[1] * (result[0] == v),
        )
        assert abs(found - p[v] * e[v]) <= 1e-12


def with_sums(monkeypatch, error=1.0):
    """Tables answer with the sums of their rows' blocks, as models do that make them for a
    batch."""
    forward, lazily = TableModel.forward, []

    def answers(model, rows):
        return [
            a._replace(sums=[error * block_sums(np.exp(row)) for row in a.log_probs])
            for a in forward(model, rows)
        ]

    monkeypatch.setattr(TableModel, "forward", answers)
    made = ProbabilityBlocks.of_logs
    monkeypatch.setattr(ProbabilityBlocks, "of_logs", lambda *args: lazily.append(0) or made(*args))
    return lazily


TEXT = """
model m = table:
    "" -> "a": 0.5, "b": 0.2, "c": 0.2, EOS: 0.1
    "a" -> "a": 0.1, "b": 0.7, "c": 0.1, EOS: 0.1

program main() -> str:
    lm = prompt("")
    while lm.tokens < 2 and not lm.done:
        t ~ lm
        condition t != "c" and lm.text != "ab"
    u ~ prompt("")
    return lm.text + str(u)
"""


@pytest.mark.parametrize(
    "guides", [{}, {"enumerated": 0, "head": 2.0, "enough": 0.0}, {"enumerated": 0, "head": 0.4}]
)
def test_sums_that_come_with_the_rows_keep_the_measure(monkeypatch, guides):
    plain = exact_measure(fkdsl.parse(TEXT).without().feynman_kac())
    lazily = with_sums(monkeypatch)
    model = fkdsl.parse(TEXT).feynman_kac(proposals=ProposalSettings(**guides))
    assert_same_masses(expected_measure(model, lambda rng: importance(model, rng, 1)), plain)
    assert lazily


def test_wrong_sums_would_change_the_measure(monkeypatch):
    """A planted bug. (A block that something was taken out of is summed anew.)"""
    text = TEXT.replace('t != "c" and ', "")
    plain = exact_measure(fkdsl.parse(text).without().feynman_kac())
    with_sums(monkeypatch, 0.9)
    model = fkdsl.parse(text).feynman_kac(
        proposals=ProposalSettings(enumerated=0, head=2.0, enough=0.0)
    )
    with pytest.raises(AssertionError):
        assert_same_masses(expected_measure(model, lambda rng: importance(model, rng, 1)), plain)
