"""Adaptive weighted rejection: a properly weighted draw of an outcome that lives, at a few
questions (Lipkin et al. 2025, arXiv 2504.05410).

Likely outcomes are asked first, and those that die leave p before rejection begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fkdsl.base.probability_blocks import BLOCK, Probabilities, ProbabilityBlocks
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.proposal import NOTHING, Choice, Lives
from fkdsl.proposals.speculative import DraftBlocks, draw_by_draft

SETTLED = 0.3
"""Share of what is left that, once it is known to live, makes further questions before a draw not
worth while."""


@dataclass(frozen=True)
class WeightedRejection:
    """i ~ p e / A, w with E[w] = A, by draws without replacement; one draw that lives or dies where
    next to nothing is known to live: rejection might then ask of the whole vocabulary.

    head: outcomes of this share of the mass are asked before any is drawn. questions: how many
    others are at most. enough: the share of what is left that must be known to live for rejection
    to be worth while.
    """

    head: float
    questions: int
    enough: float

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        p, q = outcomes.blocks, None
        worth_while = self.remove_dead(p, lives)
        if outcomes.draft is not None:
            q = DraftBlocks(outcomes.draft)
            self.remove_dead(q, lives)
            q = q if q.any() else None
        A, i, drafted = p.mass(), -1, False
        if A > 0.0 and worth_while:
            i, w = weighted_rejection(rng, p, lives, draft=q)
            A *= w
            drafted = q is not None and q.all_drafted
        elif A > 0.0:
            i, drafted = draw_by_draft(rng, p, None if q is None else np.asarray(q))
            A *= lives(i)
        return Choice(i, min(0.0, math.log(A)), drafted) if A > 0.0 else NOTHING

    def remove_dead(self, p: ProbabilityBlocks, lives: Lives) -> bool:
        """Takes outcomes that are known to die out of p; whether weighted rejection is worth while
        on the rest.

        The likely outcomes are asked, and further ones in the order of their probability until
        those that live have a share of `enough` in what is left, or the bound on questions is
        reached. Which are asked depends on p and e alone, not on chance: so the rest may be drawn
        and weighed by any proper means.
        """
        mass = p.mass()
        rest, living, n_asked = mass, 0.0, 0
        dead: list[int] = []
        for i, share in p.descending(self.head * mass):
            if share < self.head * mass:
                if living >= self.enough * rest or n_asked >= self.questions:
                    break
                n_asked += 1
            elif living >= SETTLED * rest:
                break
            if lives(i):
                living += share
            else:
                rest -= share
                dead.append(i)
        p.remove(*dead)
        return living >= self.enough * rest


def weighted_rejection(
    rng: Rng,
    p: ProbabilityBlocks | Probabilities,
    lives: Callable[[int], bool],
    block: int = BLOCK,
    draft: DraftBlocks | None = None,
) -> tuple[int, float]:
    """(x, w) with E[w 1{x = v}] = p(v) e(v) for every v, p scaled to sum to 1; (-1, 0) if nothing
    lives.

    Draws from p without replacement until x lives (R1 are those that do not); goes on, x put back,
    until the next one that lives (R2). w = (1 - p(R1)) / (|R1| + |R2| + 1). p is not to be used
    afterwards where it is in blocks; `lives` is asked once for an outcome at most. draft: by which
    the draws up to the first that lives are made.
    """
    rest = p if isinstance(p, ProbabilityBlocks) else ProbabilityBlocks(p, block)
    whole = rest.mass()
    rejected = 0
    first: int | None = None
    mass = 1.0
    while rest.any():
        by_draft = draft is not None and first is None
        i = draft.draw_verified(rng, rest) if draft is not None and by_draft else rest.draw(rng)
        if i == first or lives(i):
            if first is not None:
                break
            first, mass = i, rest.mass() / whole
        else:
            rest.remove(i)
            if draft is not None:
                draft.remove(i)
            rejected += 1
    if first is None:
        return -1, 0.0
    return first, mass / (rejected + 1)
