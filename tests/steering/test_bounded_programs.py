"""What a program's text says of its potentials, and exact inference on programs over models, long
vocabularies among them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.base.random import KeyedRng, weighted
from fkdsl.inference.enumeration import EnumeratingRng, expectation
from fkdsl.inference.search.exact import exact
from fkdsl.models.table import TableModel
from fkdsl.testing import program_texts

HEAD = "program p() -> int:\n    n ~ uniform_int(0, 3)\n    x = 0.5 * n\n"


def bound(line):
    return fkdsl.parse(f"{HEAD}    {line}\n    return n\n").feynman_kac().log_bound(None)


@pytest.mark.parametrize(
    "line",
    [
        "condition n < 2",
        "factor -0.7",
        "factor 0",
        "factor -2 * abs(n - 1)",
        "factor -0.5 if n > 1 else 0",
        "factor min(0, x)",
        "factor -max(x, 0)",
        "factor -len(str(n)) - abs(x) / 3",
        "observe n ~ poisson(2.0)",
        "observe true ~ bernoulli(0.3)",
    ],
)
def test_lines_that_cannot_weigh_more_than_one_are_seen_to(line):
    assert bound(line) == 0.0


@pytest.mark.parametrize(
    "line",
    [
        "factor 0.1",
        "factor x",
        "factor -x",
        "factor abs(x) - 1",
        "factor -0.5 if n > 1 else 0.1",
        "factor -2 * abs(n) * -1",
        "factor max(-1, x)",
        "factor -min(x, 1)",
        "observe x ~ normal(0.0, 0.1)",
        "d = beta(2.0, 2.0)\n    observe x / 4 ~ d",
    ],
)
def test_lines_that_might_are_not_bounded(line):
    assert bound(line) == math.inf


@settings(max_examples=60)
@given(text=program_texts(), optimised=st.booleans())
def test_no_potential_of_a_bounded_program_is_above_one(text, optimised):
    program = fkdsl.parse(text)
    model = (program if optimised else program.without()).feynman_kac()
    if model.log_bound(None) == math.inf:
        return
    step, highest = model.step, [-math.inf]

    def watched(rngs, xp):
        states, log_G = step(rngs, xp)
        highest.append(float(np.max(log_G, initial=-math.inf)))
        return states, log_G

    model.step = watched
    list(exact(model))
    assert max(highest) <= 1e-12


@given(st.lists(st.sampled_from((0.0, 0.1, 0.25)), min_size=1, max_size=4), st.integers(0, 3))
def test_a_weighted_draw_is_properly_weighted(p, v):
    p = np.array(p)
    if not p.any() or v >= len(p):
        return
    found = expectation(
        lambda rng: weighted(rng, p, float(p.sum())),
        lambda result: math.exp(result[1]) * (result[0] == v),
    )
    assert abs(found - p[v]) <= 1e-14


def test_a_weighted_draw_without_its_mass_is_caught():
    def forgets(rng: EnumeratingRng):
        return rng.choice([0.1, 0.25]), 0.0

    found = expectation(forgets, lambda result: math.exp(result[1]) * (result[0] == 1))
    assert abs(found - 0.25) > 0.1


def test_a_keyed_stream_draws_as_choice_does():
    p = np.random.default_rng(1).dirichlet(np.ones(600)) * 0.5
    for seed in range(20):
        i, log_w = weighted(KeyedRng(seed), p, 0.5)
        assert (i, log_w) == (KeyedRng(seed).choice(p), math.log(0.5))


SIZE = 1500
SHARES = np.random.default_rng(2).permutation(1.0 / np.arange(1, SIZE + 1) ** 2)
SHARES /= SHARES.sum()
WIDE = TableModel("wide", {"": {chr(0x4E00 + i): float(p) for i, p in enumerate(SHARES)}})
"""One row for every context, over more tokens than a level is enumerated for."""
TWO = """
program two(least: int = 0x4e00) -> str:
    lm = prompt("")
    a ~ lm
    b ~ lm
    condition a != b
    return lm.text
""".replace("least: int = 0x4e00", "")


def test_a_long_vocabulary_is_searched_and_bounded():
    z = 1.0 - float((SHARES**2).sum())
    result = fkdsl.parse(TWO).run("exact", model=WIDE, max_states=300)
    low, high = map(math.exp, result.log_z_bounds)
    assert low < z < high
    assert result.states == 300
    first = int(np.argsort(-SHARES)[0])
    second = int(np.argsort(-SHARES)[1])
    text = chr(0x4E00 + first) + chr(0x4E00 + second)
    answer = next(a for a in result.posterior if a.value == text)
    assert answer.low <= SHARES[first] * SHARES[second] / z <= answer.high


def test_conditions_that_leave_few_texts_are_finished():
    """A mask, a text among three, and a number: Z by hand."""
    texts = [chr(0x4E00 + i) + chr(0x4E00 + j) for i, j in ((3, 5), (5, 3), (7, 7))]
    listed = ", ".join(f'"{t}"' for t in texts)
    text = (
        'program p() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=2)\n'
        f"    condition s in [{listed}]\n"
        "    n ~ uniform_int(0, 3)\n    condition n < 3\n    return s\n"
    )
    result = fkdsl.parse(text).run("exact", model=WIDE, gap=0)
    masses = [SHARES[3] * SHARES[5], SHARES[5] * SHARES[3], SHARES[7] ** 2]
    assert result.log_z_bounds is None
    assert result.log_z_se == 0.0
    assert abs(result.log_z - math.log(0.75 * sum(masses))) <= 1e-10
    assert abs(result.probability(texts[2]) - masses[2] / sum(masses)) <= 1e-10
    assert result.states <= 20


def test_filtering_goes_level_by_level():
    program = fkdsl.parse(
        TWO.replace("    b ~ lm\n    condition a != b\n", '    condition a != "x"\n')
    )
    result = program.run("exact", model=WIDE, filtering=True)
    assert len(result.filtering) == 2
    with pytest.raises(CallError, match="level by level"):
        program.run("exact", model=WIDE, filtering=True, max_tokens=10)


def test_the_rows_of_a_search_are_kept_for_its_further_outcomes_only_while_it_runs():
    program = fkdsl.parse(TWO)
    engines = program.engines(WIDE)
    before = engines[""].cache.row_budget
    program.run("exact", engines=engines, max_states=300)
    assert engines[""].cache.row_budget == before
    # One row for each context, however many of its outcomes were looked at.
    assert engines[""].stats.forwarded_tokens <= 300
