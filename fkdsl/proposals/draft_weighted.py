"""Draws from a draft q, at a weight of p / q which is made up for at the block's end.

The outcomes are then q's, mixed with a uniform so that every token of p can come. The rows p of a
whole block are asked for in one forward, and by nobody whose conditions have killed it before.
"""

from __future__ import annotations

import numpy as np

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.engine.drafts import DraftRow
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.proposal import Choice, Lives, Proposal

UNIFORM = 0.02
"""Share of a uniform in a draft that is weighed: p / q is then at most 50 V, and a token that q
rules out can come."""


@dataclass(frozen=True)
class DraftWeighted:
    """i as the proposal draws it from q, with log q(i) still to be made up for: E[w p(i) / q(i)
    1{i = v}] = p(v) e(v)."""

    proposal: Proposal

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        choice = self.proposal.propose(rng, outcomes, lives)
        return choice if choice.i < 0 else choice._replace(log_q=outcomes.log_probability(choice.i))


def mixed_with_uniform(row: DraftRow, share: float) -> DraftRow:
    """A row (V,), nats, with a share of a uniform in it."""
    if not share:
        return row
    result: DraftRow = np.logaddexp(row + np.log1p(-share), np.log(share / len(row)))
    return result
