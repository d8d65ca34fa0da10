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
        support = np.flatnonzero(p)
        living = support[np.array([lives(int(i)) for i in support], dtype=np.bool_)]
        A = float(p[living].sum())
        choice = draw_weighted(
            rng,
            p[living],
            None if q is None else q[living],
            A,
            living if ids is None else ids[living],
        )
        return choice._replace(i=int(living[choice.i])) if A > 0.0 else NOTHING
