"""Adaptive weighted rejection: a properly weighted draw of an outcome that lives, at a few tests
(Lipkin et al. 2025, arXiv 2504.05410)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fkdsl.base.blocks import BLOCK, Blocks, Probabilities
from fkdsl.base.random import Rng
from fkdsl.proposals.speculative import verified


def weighted_rejection(
    rng: Rng,
    p: Blocks | Probabilities,
    accepts: Callable[[int], bool],
    block: int = BLOCK,
    draft: Drafted | None = None,
) -> tuple[int, float]:
    """(x, w) with E[w 1{x = v}] = p(v) e(v) for every v: properly weighted; (-1, 0) if nothing is
    accepted.

    Draws from p without replacement until x is accepted (R1 are those rejected); goes on, x put
    back, until the next acceptance (R2). w = (1 - p(R1)) / (|R1| + |R2| + 1). p, scaled to sum to
    1, is not to be used afterwards where it is in blocks; `accepts` is asked once for an outcome at
    most. draft: by which the draws up to the first acceptance are made.
    """
    left = p if isinstance(p, Blocks) else Blocks(p, block)
    whole = left.mass()
    rejected = 0
    first: int | None = None
    mass = 1.0
    while left.any():
        i = left.draw(rng) if draft is None or first is not None else draft.verified(rng, left)
        if i == first or accepts(i):
            if first is not None:
                break
            first, mass = i, left.mass() / whole
        else:
            left.remove(i)
            if draft is not None:
                draft.remove(i)
            rejected += 1
    if first is None:
        return -1, 0.0
    return first, mass / (rejected + 1)


class Drafted(Blocks):
    """A draft's probabilities of the same outcomes. kept: whether all draws so far were the
    draft's."""

    __slots__ = ("draws", "kept")

    def __init__(self, q: Probabilities, block: int = BLOCK) -> None:
        super().__init__(q, block)
        self.kept, self.draws = True, 0

    def verified(self, rng: Rng, left: Blocks) -> int:
        """An outcome drawn from those that are left, by way of the draft."""
        self.draws += 1
        if not self.any():
            self.kept = False
            return left.draw(rng)
        i, kept = verified(
            rng.split("verify", self.draws), self.draw(rng), np.asarray(left), np.asarray(self)
        )
        self.kept = self.kept and kept
        return i
