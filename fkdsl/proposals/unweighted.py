"""Local masking: draws whose mass is not weighed.

What constrained decoding usually does: each token is drawn among those that live, renormalised, and
nobody makes up for what was refused. It is no proper weighting, and is here so that `local` can be
compared with what is.
"""

from __future__ import annotations

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.proposal import Choice, Lives, Proposal


@dataclass(frozen=True)
class Unweighted:
    """i as the proposal draws it, w = 1; where that finds nothing that lives, nothing."""

    proposal: Proposal

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        choice = self.proposal.propose(rng, outcomes, lives)
        return choice if choice.i < 0 else choice._replace(log_w=0.0)
