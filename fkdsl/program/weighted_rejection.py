"""Adaptive weighted rejection: a properly weighted draw of an outcome that lives, at a few tests (Lipkin et al. 2025,
arXiv 2504.05410)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.random import BLOCK, Rng, block_sums
from fkdsl.program.drafting import verified


def weighted_rejection(
    rng: Rng, p: Floats, accepts: Callable[[int], bool], block: int = BLOCK, draft: Drafted | None = None
) -> tuple[int, float]:
    """(x, w) with E[w 1{x = v}] = p(v) e(v) for every v: properly weighted; (-1, 0) if nothing is accepted.

    Draws from p without replacement until x is accepted (R1 are those rejected); goes on, x put back, until the next
    acceptance (R2). w = (1 - p(R1)) / (|R1| + |R2| + 1). p, scaled to sum to 1, is not to be used afterwards; `accepts`
    is asked once for an outcome at most. draft: by which the draws up to the first acceptance are made.
    """
    left = Remaining(p, block)
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


class Remaining:
    """Outcomes to draw from without replacement, in blocks with their sums: a draw looks at one block, not at all.
    p is taken apart."""

    def __init__(self, p: Floats, block: int = BLOCK) -> None:
        self.p, self.block = p, block
        self.sums = block_sums(p, block)

    def any(self) -> bool:
        return bool(self.sums.any())

    def mass(self) -> float:
        return float(self.sums.sum())

    def _of(self, k: int) -> Floats:
        return self.p[k * self.block : (k + 1) * self.block]

    def draw(self, rng: Rng) -> int:
        k = rng.choice(self.sums) if len(self.sums) > 1 else 0
        return k * self.block + rng.choice(self._of(k))

    def remove(self, i: int) -> None:
        self.p[i] = 0.0
        k = i // self.block
        self.sums[k] = self._of(k).sum(dtype=np.float64)


class Drafted(Remaining):
    """A draft's probabilities of the same outcomes. kept: whether all draws so far were the draft's."""

    def __init__(self, q: Floats, block: int = BLOCK) -> None:
        super().__init__(q, block)
        self.kept, self.draws = True, 0

    def verified(self, rng: Rng, left: Remaining) -> int:
        """An outcome drawn from those that are left, by way of the draft."""
        self.draws += 1
        if not self.any():
            self.kept = False
            return left.draw(rng)
        i, kept = verified(rng.split("verify", self.draws), self.draw(rng), left.p, self.p)
        self.kept = self.kept and kept
        return i
