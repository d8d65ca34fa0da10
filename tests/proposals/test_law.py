"""The law of proposals, E[w 1{i = v}] = p(v) e(v), for every one of them, by enumeration.

See fkdsl/proposals/proposal.py. The sampler's randomness is enumerated, so both sides are computed
and nothing is estimated.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.spans import NOWHERE
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.machine.proposal_plan import Absorbed, PrefixConstraint, ProposalPlan
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.proposals.draft_weighted import DraftWeighted
from fkdsl.proposals.enumerated import Enumerated
from fkdsl.proposals.masked import Masked
from fkdsl.proposals.outcomes import TokenOutcomes
from fkdsl.proposals.prior import Prior
from fkdsl.proposals.proposal import NOTHING, Choice
from fkdsl.proposals.propose import kernel_for
from fkdsl.proposals.rejection import WeightedRejection
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.tilted import Tilted
from fkdsl.proposals.unweighted import Unweighted

ROUNDING = 1e-13
ASKING = {
    "prior": Prior(),
    "enumerated": Enumerated(),
    "rejection": WeightedRejection(head=2.0, questions=0, enough=0.0),
    "rejection after questions": WeightedRejection(head=0.4, questions=1, enough=0.3),
    "one draw that lives or dies": WeightedRejection(head=2.0, questions=0, enough=2.0),
}
"""Proposals that ask what lives."""
PROPOSALS = {"masked": Masked(), **ASKING}

entries = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans()),
    min_size=1,
    max_size=4,
).filter(lambda found: any(entry[0] for entry in found))
"""Of each outcome: its weight, the draft's, whether a mask allows it, and whether it lives."""


def scaled(weights):
    weights = np.array(weights, dtype=np.float64)
    return weights / weights.sum() if weights.any() else weights


def outcomes(p, mask, q=None):
    """The outcomes of a draw from a context of len(p) tokens."""
    vocabulary = Vocabulary(tuple(bytes([97 + i]) for i in range(len(p))), frozenset())
    with np.errstate(divide="ignore"):
        made = TokenOutcomes(np.log(p), (), vocabulary, mask)
        made.sums_to_one = bool(mask.all())
        if q is not None and (q * mask).any():
            made.draft = TokenOutcomes(np.log(q), (), vocabulary, mask).p
    return made


def masses(propose, n):
    """E[w 1{i = v}] for each v < n of what gives a (choice, outcomes) of a stream."""
    found = np.zeros(n)
    for chance, (choice, made) in enumerate_outcomes(propose):
        if choice.i >= 0:
            found[made.token(choice.i)] += chance * math.exp(choice.log_w)
    return found


def assert_properly_weighted(proposal, p, mask, e, q=None):
    def propose(rng):
        asked = []
        made = outcomes(p, mask, q)
        ids = range(len(p)) if made.ids is None else made.ids
        choice = proposal.propose(rng, made, lambda i: asked.append(i) or bool(e[ids[i]]))
        assert choice.log_w <= 0.0 or isinstance(proposal, Tilted)
        return choice, made

    np.testing.assert_allclose(masses(propose, len(p)), p * mask * e, atol=ROUNDING)


def columns(found):
    p, q, mask, e = (np.array([entry[k] for entry in found]) for k in range(4))
    return scaled(p), scaled(q), mask, e


@pytest.mark.parametrize("drafted", [False, True], ids=["plain", "by way of a draft"])
@pytest.mark.parametrize("name", PROPOSALS)
@given(entries)
def test_every_proposal_is_properly_weighted(name, drafted, found):
    p, q, mask, e = columns(found)
    if name == "masked":  # asks nobody: what it draws from is all that lives
        e = np.ones_like(e)
    assert_properly_weighted(PROPOSALS[name], p, mask, e, q if drafted else None)


@pytest.mark.parametrize("name", PROPOSALS)
@given(entries)
def test_a_weighed_draft_is_made_up_for_by_its_correction(name, found):
    """Drawn from q, E[w p(i) / q(i) 1{i = v}] = p(v) e(v) where q can come."""
    p, q, mask, e = columns(found)
    if name == "masked":
        e = np.ones_like(e)
    q = scaled(q + 0.1)
    proposal = DraftWeighted(PROPOSALS[name])

    def propose(rng):
        made = outcomes(q, mask)
        choice = proposal.propose(rng, made, lambda i: bool(e[i]))
        if choice.i >= 0:
            assert choice.log_q == pytest.approx(math.log(q[choice.i]))
            if p[choice.i] == 0.0:
                return NOTHING, made
            choice = choice._replace(log_w=choice.log_w + math.log(p[choice.i]) - choice.log_q)
        return choice, made

    np.testing.assert_allclose(masses(propose, len(p)), p * mask * e, atol=1e-12)


@pytest.mark.parametrize("name", PROPOSALS)
@given(entries, st.lists(st.sampled_from([1e-9, 0.01, 0.3, 1.0]), min_size=4, max_size=4))
def test_a_tilted_proposal_is_properly_weighted(name, found, tilts):
    """Whatever h is."""
    p, _, mask, e = columns(found)
    if name == "masked":
        e = np.ones_like(e)
    ids = outcomes(p, mask).ids
    h = np.array(tilts)[: len(p)]
    assert_properly_weighted(Tilted(PROPOSALS[name], h if ids is None else h[ids]), p, mask, e)


@given(
    entries,
    st.builds(
        ProposalSettings,
        enumerated=st.sampled_from([0, 2, 32]),
        head=st.sampled_from([0.05, 0.4, 2.0]),
        questions=st.sampled_from([0, 1, 256]),
        enough=st.sampled_from([0.0, 0.05, 2.0]),
    ),
    st.booleans(),
)
def test_whatever_proposal_is_chosen_is_properly_weighted(found, settings, expensive):
    p, q, mask, e = columns(found)
    plan = ProposalPlan(
        needs_lookahead=True, expensive=expensive, absorbed=(Absorbed(NOWHERE, ""),)
    )

    class Chosen:
        def propose(self, rng, made, lives):
            return kernel_for(plan, settings, made, False).propose(rng, made, lives)

    assert_properly_weighted(Chosen(), p, mask, e)
    assert_properly_weighted(Chosen(), p, mask, e, q)


@pytest.mark.parametrize("name", PROPOSALS)
def test_the_law_holds_where_only_what_is_left_is_listed(name):
    """Of nine tokens one in four is few: outcomes are then those that the mask leaves."""
    p = scaled([3, 1, 1, 2, 1, 5, 1, 1, 1, 1, 1, 1])
    mask = np.zeros(12, dtype=bool)
    mask[[3, 5]] = True
    e = np.ones(12, dtype=bool) if name == "masked" else np.arange(12) != 3
    assert outcomes(p, mask).ids is not None
    assert_properly_weighted(PROPOSALS[name], p, mask, e)


# ----------------------------------------------------------------- planted bugs


class FirstPass:
    """Draws until one lives, weighs by what is then left, and draws no further."""

    def propose(self, rng, made, lives):
        left = np.asarray(made.blocks)
        while left.any():
            i = rng.choice(left)
            if lives(i):
                return Choice(i, math.log(left.sum()))
            left[i] = 0.0
        return NOTHING


class UnweighedMask:
    """Draws from what is left, and forgets what was taken."""

    def propose(self, rng, made, lives):
        return Masked().propose(rng, made, lives)._replace(log_w=0.0)


class WeighedTwice:
    """Applies the mass of what lives to a draw that may die."""

    def propose(self, rng, made, lives):
        A = sum(p for i, p in enumerate(made.p) if lives(i))
        choice = Prior().propose(rng, made, lives)
        return choice if choice.i < 0 else choice._replace(log_w=math.log(A))


class KeptTooOften:
    """Keeps the draft's token with probability min(1, q / p)."""

    def propose(self, rng, made, lives):
        p, q = made.p, made.draft
        d = rng.choice(q)
        i = d if rng.uniform() * p[d] < q[d] else rng.choice(np.maximum(p - q, 0.0))
        return Choice(i, 0.0)


class UnweighedTilt:
    """Draws from p h, and forgets to divide by h."""

    def propose(self, rng, made, lives):
        h = np.array([0.2, 1.0, 0.5])
        choice = Tilted(Masked(), h).propose(rng, made, lives)
        return choice._replace(log_w=choice.log_w + math.log(h[choice.i]))


P, Q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
ALL, SOME = np.array([True, True, True]), np.array([False, True, True])


@pytest.mark.parametrize(
    ("wrong", "mask", "e", "q"),
    [
        (FirstPass(), ALL, SOME, None),
        (UnweighedMask(), SOME, ALL, None),
        (WeighedTwice(), ALL, SOME, None),
        (KeptTooOften(), ALL, ALL, Q),
        (UnweighedTilt(), ALL, ALL, None),
        (Unweighted(Masked()), SOME, ALL, None),
        (Unweighted(Enumerated()), ALL, SOME, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_proposal_that_breaks_the_law_is_caught(wrong, mask, e, q):
    with pytest.raises(AssertionError):
        assert_properly_weighted(wrong, P, mask, e, q)


def test_a_draw_from_a_draft_without_its_correction_is_caught():
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            masses(
                lambda rng: (
                    DraftWeighted(Prior()).propose(rng, made := outcomes(Q, ALL), lambda i: True),
                    made,
                ),
                3,
            ),
            P,
            atol=ROUNDING,
        )


def test_no_outcome_is_asked_about_that_has_no_mass():
    for proposal in ASKING.values():
        asked = []
        for _ in enumerate_outcomes(
            lambda rng, proposal=proposal, asked=asked: proposal.propose(
                rng, outcomes(P, SOME), lambda i: asked.append(i) or True
            )
        ):
            pass
        assert 0 not in asked


def test_a_plan_whose_masks_decide_all_asks_nothing():
    prefix = PrefixConstraint(None, (), True, ())
    plan = ProposalPlan(needs_lookahead=True, prefix=prefix, absorbed=(Absorbed(NOWHERE, ""),))
    made = outcomes(P, SOME)
    assert isinstance(kernel_for(plan, ProposalSettings(), made, True), Masked)
    assert isinstance(kernel_for(plan, ProposalSettings(), made, False), Enumerated)
    assert isinstance(kernel_for(None, ProposalSettings(), made, False), Prior)
