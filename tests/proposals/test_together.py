"""Plain draws of a population, made together: the choices that Prior and Masked make of each, to
the last bit."""

from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.probability_blocks import BLOCK, block_sums, masked_sums
from fkdsl.base.random import KeyedRng
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.proposals import together
from fkdsl.proposals.masked import Masked
from fkdsl.proposals.outcomes import FEW, SOME, TokenOutcomes
from fkdsl.proposals.prior import Prior
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.together import choose_together
from fkdsl.steering.lockstep import Lockstep
from fkdsl.steering.members import Members
from fkdsl.values.values import ContextRef

PROGRAM = """
model "tiny"

program main(most: int = 12) -> str:
    lm = prompt("The sea is ")
    while not lm.done and lm.tokens < most:
        t ~ lm
        condition t != EOS and len(words(lm.text)) < 4
        u ~ lm
        condition not contains(u, "e")
        v ~ lm
    return lm.text
"""


def stand_in(row, mask, sums, masked, seed):
    """As much of an OpenDraw as is looked at."""
    node, blame = object(), object()
    engine = SimpleNamespace(sums=lambda node, row: sums)
    particle = SimpleNamespace(
        contexts=[SimpleNamespace(node=node, model="", pending=None)],
        rows={node: row},
        engines={"": engine},
    )
    return SimpleNamespace(
        distribution=ContextRef(0),
        plan=None
        if mask is None
        else SimpleNamespace(needs_lookahead=False, blame=blame, guesses_only=False),
        finished=False,
        unsatisfiable=False,
        constraint=None,
        rng=KeyedRng(seed),
        particle=particle,
        masks=lambda: SimpleNamespace(both=mask),
        sums=masked,
        choice=None,
    )


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.sampled_from([7, BLOCK, 3 * BLOCK + 7, 5 * BLOCK]),
    st.sampled_from([np.float32, np.float64]),
)
def test_a_choice_made_together_is_that_of_the_draw_alone(seed, size, dtype):
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(tuple(b"x" for _ in range(size)), frozenset())
    draws, expected = [], []
    for i, share in enumerate([None, 0.0, 0.001, 0.01, 0.3, 0.6, 1.0]):
        p = rng.dirichlet(np.full(size, 0.05))
        with np.errstate(divide="ignore"):
            row = np.log(p).astype(dtype)
        mask = None if share is None else rng.random(size) >= share
        sums = block_sums(np.exp(row))
        masked = None if mask is None else masked_sums(row, mask)
        draws.append(stand_in(row, mask, sums, masked, seed + i))
        alone = TokenOutcomes(row, (), vocabulary, mask, sums, masked)
        alone.sums_to_one = mask is None
        kernel = Prior() if mask is None else Masked()
        expected.append(kernel.propose(KeyedRng(seed + i), alone, lambda i: True))
    choose_together(draws, ProposalSettings())
    for draw, choice in zip(draws, expected, strict=True):
        mask = draw.masks().both
        left = size if mask is None else np.count_nonzero(mask)
        if draw.choice is None:
            assert choice.i < 0 or (left < size // FEW and size - left > SOME) or size <= SOME
        else:
            assert (draw.choice.i, draw.choice.log_w) == (choice.i, choice.log_w)
            assert sum(draw.choice.refused.values()) >= 0.0


def outcome(particles=24):
    with patch.object(Lockstep, "members", lambda *_: Members()):
        result = fkdsl.parse(PROGRAM).run("smc", particles=particles, seed=5, ess=1.0)
    return result.log_z, [(p.value, p.log_weight) for p in result.particles]


def test_a_run_is_the_same_whether_draws_are_made_together_or_one_by_one():
    made = []
    choose = together._choose

    def counted(plain):
        made.extend(plain)
        choose(plain)

    with patch.object(together, "_choose", counted):
        expected = outcome()
    assert len(made) > 200
    with patch("fkdsl.steering.rounds.choose_together", lambda draws, settings: None):
        assert outcome() == expected
    with patch.object(together, "inverse", lambda p, running, u: p.argmax(axis=1)):  # a planted bug
        assert outcome() != expected


@pytest.mark.parametrize("options", [{"local": True}, {"alternatives": 3}])
def test_draws_that_are_weighed_or_recorded_otherwise_are_made_one_by_one(options):
    row = np.log(np.full(BLOCK, 1 / BLOCK))
    draw = stand_in(row, None, block_sums(np.exp(row)), None, 1)
    choose_together([draw], ProposalSettings(**options))
    assert draw.choice is None
    choose_together([draw], ProposalSettings())
    assert draw.choice is not None
