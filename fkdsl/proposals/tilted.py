"""Draws tilted towards outcomes that a guess of the future favours.

The outcomes are p h in the place of p, so that i ~ p e h up to a factor, and the weight of what is
drawn is divided by h(i). So any h > 0 is exact, and a good one saves particles; with h(i) the
probability that all that is still to be required will be met, the draw is the posterior's own.
"""

from __future__ import annotations

import math

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.proposal import Choice, Lives, Proposal


class TiltedOutcomes(Outcomes):
    """p h, of the same outcomes; a draft q of them is q h. Their log-probabilities are still those
    of p, for whoever weighs what was drawn from there."""

    sums_to_one = False

    def __init__(self, of: Outcomes, h: Floats) -> None:
        self.of, self.p, self.ids = of, of.p * h, of.ids
        if of.draft is not None:
            self.draft = of.draft * h

    def log_probability(self, i: int) -> float:
        return self.of.log_probability(i)


@dataclass(frozen=True)
class Tilted:
    """i as the proposal draws it from p h, w divided by h(i): E[w 1{i = v}] = p(v) e(v) again.

    h: (n,) in (0, 1], one for each outcome that is listed. A draft of the outcomes is tilted too: a
    speculative draw from p h by way of q h has the law p h (speculative.py).
    """

    proposal: Proposal
    h: Floats

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        choice = self.proposal.propose(rng, TiltedOutcomes(outcomes, self.h), lives)
        if choice.i < 0:
            return choice
        return choice._replace(log_w=choice.log_w - math.log(self.h[choice.i]))
