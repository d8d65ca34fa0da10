"""Speculative draws: from the model's p by way of a draft q (Leviathan et al. 2023, arXiv
2211.17192, appendix A.1).

    d ~ q, kept with probability min(1, p(d) / q(d)), else x ~ (p - q)+, normalised

x has p's law for any q, so every proposal may draw so, and M_t is what it was; what is kept is as
often the draft's as can be. Scales of p and q do not matter.
"""

from __future__ import annotations

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import BLOCK, Probabilities, ProbabilityBlocks
from fkdsl.base.random import Rng


def draw_by_draft(rng: Rng, p: ProbabilityBlocks | Floats, q: Floats | None) -> tuple[int, bool]:
    """(x, whether it is q's): x ~ p (n,), by way of q (n,); a plain draw where q is None.

    rng.choice(q) is the first draw, as of one who has q alone: the rest is drawn from a stream of
    its own.
    """
    if q is None:
        return rng.choice(p), False
    return verified(rng.split("verify"), rng.choice(q), np.asarray(p), q)


def verified(rng: Rng, d: int, p: Floats, q: Floats) -> tuple[int, bool]:
    """(x, whether x is d): of d ~ q, x ~ p."""
    P, Q = float(p.sum(dtype=np.float64)), float(q.sum(dtype=np.float64))
    if rng.uniform() * (float(q[d]) * P) < float(p[d]) * Q:
        return d, True
    rest = np.maximum(p * (1.0 / P) - q * (1.0 / Q), 0.0)
    # Of equal p and q nothing is left but by rounding.
    return (rng.choice(rest), False) if rest.any() else (d, True)


class DraftBlocks(ProbabilityBlocks):
    """A draft's probabilities of outcomes that are drawn without replacement. all_drafted: whether
    every draw so far was the draft's own."""

    __slots__ = ("all_drafted", "draws")

    def __init__(self, q: Probabilities, block: int = BLOCK) -> None:
        super().__init__(q, block)
        self.all_drafted, self.draws = True, 0

    def draw_verified(self, rng: Rng, p: ProbabilityBlocks) -> int:
        """An outcome drawn from p, by way of the draft."""
        self.draws += 1
        if not self.any():
            self.all_drafted = False
            return p.draw(rng)
        i, drafted = verified(
            rng.split("verify", self.draws), self.draw(rng), np.asarray(p), np.asarray(self)
        )
        self.all_drafted = self.all_drafted and drafted
        return i
