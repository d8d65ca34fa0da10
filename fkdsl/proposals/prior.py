"""The program's own kernel: x ~ p, and the particle lives through the conditions or dies."""

from __future__ import annotations

import math

from fkdsl.base.random import Rng
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.proposal import NOTHING, Choice, Lives
from fkdsl.proposals.speculative import draw_by_draft

ROUNDING = 1e-6
"""What the mass of probabilities that sum to 1 may miss of it by rounding alone."""


class Prior:
    """i ~ p / A, w = A e(i). A = 1, but for mixtures a part of which gives nothing: its share is
    lost."""

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        p = outcomes.blocks
        if not p.any():
            return NOTHING
        i, drafted = draw_by_draft(rng, p, outcomes.draft)
        mass = 1.0 if outcomes.sums_to_one else p.mass()
        log_w = math.log(mass) if mass < 1.0 - ROUNDING else 0.0
        return Choice(i, log_w, drafted) if lives(i) else NOTHING
