"""Draws of which every outcome is asked: the locally optimal proposal."""

from __future__ import annotations

import numpy as np

from fkdsl.base.random import Rng
from fkdsl.proposals.masked import draw_weighted
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.proposal import NOTHING, Choice, Lives


class Enumerated:
    """i ~ p e / A, w = A = sum p e: of all proposals that look one step ahead, that of the least
    variance."""

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        p, q, ids = outcomes.p, outcomes.draft, outcomes.ids
        living = [i for i in np.flatnonzero(p).tolist() if lives(i)]
        left = p[living]
        A = float(left.sum())
        if not A > 0.0:
            return NOTHING
        labels = np.array(living, dtype=np.int64) if ids is None else ids[living]
        choice = draw_weighted(rng, left, None if q is None else q[living], A, labels)
        return choice._replace(i=living[choice.i])
