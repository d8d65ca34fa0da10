"""Draws where masks decide all: what is left is renormalised, and its mass weighed."""

from __future__ import annotations

import math

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import ProbabilityBlocks
from fkdsl.base.random import Rng, weighted
from fkdsl.proposals.outcomes import Ids, Outcomes
from fkdsl.proposals.proposal import NOTHING, Choice, Lives
from fkdsl.proposals.speculative import draw_by_draft


class Masked:
    """i ~ p / A, w = A = sum p: for e = 1 on what the masks leave. Here is the weight of a masked
    draw made."""

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        p = outcomes.blocks
        return draw_weighted(rng, p, outcomes.draft, p.mass(), outcomes.ids)


def draw_weighted(
    rng: Rng, p: ProbabilityBlocks | Floats, q: Floats | None, mass: float, ids: Ids | None
) -> Choice:
    """i ~ p / mass, w = mass, which is the sum of p (n,): by way of the draft q (n,) if there is
    one.

    w is at most 1: rounding of the mass above it is cut off. ids: the outcomes' names.
    """
    if not mass > 0.0:
        return NOTHING
    if q is None or not q.any():
        return Choice(*weighted(rng, p, mass, ids))
    i, drafted = draw_by_draft(rng, p, q)
    return Choice(i, min(0.0, math.log(mass)), drafted)
