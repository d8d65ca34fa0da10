"""Whole islands resampled by their Z_hat, in the middle of a run: the island particle model (Verge,
Dubarry, Del Moral and Moulines 2015, On parallel implementation of sequential Monte Carlo methods).

An island is a particle whose state is a population and whose weight is Z_r. After every T steps,
where the effective sample size of (Z_1, ..., Z_R) is below R / 2, R islands are drawn from them:

    A_r ~ Z / sum Z, independently          island r goes on from the population of island A_r,
    Z_r = mean of the Z                     whose weights are multiplied by (mean of the Z) / Z_A

so E[(1/R) sum_r sum_i w_ri f(x_ri)] is what it was, and E[Z_hat] = Z. A dead island has Z_r = 0: it
counts in the mean and in the effective sample size, and is never drawn. Copies draw by the streams
of the islands that they are in, so they part at the next step.

**The decision is a function of the weights before the exchange, and is taken before any ancestor is
drawn.** Rules that look reasonable and are wrong are kept as planted bugs in
tests/inference/test_exchange.py: the best particle that migrates with its weight, dead islands that
are left out of the mean, an exchange that is taken back where its draw looks poor.

What an exchange moves is a population: its states and log weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.logspace import Floats, effective_sample_size, log_sum_exp, normalised
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng
from fkdsl.inference.interface import Step

S = TypeVar("S")
HALF = 0.5
"""The share of the islands below which their effective sample size calls for an exchange."""
FEW_ROOTS = 4.0
"""Effective first islands below which the errors are not to be trusted."""
ROUNDING = 1e-12


class Exchange(Generic[S]):
    """The exchanges of one run. every: steps between two decisions. C: (R, R), the coefficients of
    pairs of islands, as those of particles in fkdsl.inference.assess.genealogy: islands are
    particles, resampled by the multinomial scheme. roots: (R,), which of the first islands each
    descends from."""

    def __init__(self, seed: int, islands: int, every: int) -> None:
        self.every = every
        self._rng = KeyedRng(seed).split("exchange")
        self._factor = islands / (islands - 1)
        self.C: Floats = self._factor * (1.0 - np.eye(islands))
        self.roots: NDArray[np.int64] = np.arange(islands)
        self.after: list[int] = []

    @property
    def took_place(self) -> bool:
        """Whether islands have been exchanged."""
        return bool(self.after)

    def resample(self, t: int, islands: Sequence[Step[S]]) -> list[Step[S]]:
        """The populations from which the islands go on after step t: R draws from them, or they
        themselves where the weights do not call for it."""
        log_Z = np.array([step.log_Z for step in islands])
        R = len(islands)
        if log_Z.max() == -np.inf or effective_sample_size(log_Z) >= HALF * R:
            return list(islands)
        rng, W = self._rng.split(t), normalised(log_Z)
        A = in_place([rng.choice(W) for _ in range(R)])
        self.C = self._factor * self.C[np.ix_(A, A)]  # 0 for two copies of one island
        self.roots = self.roots[A]
        self.after.append(t)
        mean = log_sum_exp(log_Z) - math.log(R)
        return [moved(islands[a], r, mean) for r, a in enumerate(A)]

    def uncertainty(
        self, island: NDArray[np.int64], log_weights: Floats, log_Z: Floats
    ) -> ExchangedIslands:
        """The errors of a run that has come to particles of log_weights (n,) in islands (n,), whose
        own log Z_r are log_Z (R,), nats."""
        return ExchangedIslands(
            island, log_weights, log_Z, self.C, self.roots, tuple(self.after), self.every
        )


def in_place(ancestors: Sequence[int]) -> list[int]:
    """The same ancestors in another order: each that is drawn keeps its own place once, so that
    only copies move.

    >>> in_place([2, 0, 2])
    [0, 2, 2]
    """
    left = Counter(ancestors)
    placed = [r if left[r] else -1 for r in range(len(ancestors))]
    left.subtract(a for a in placed if a >= 0)
    others = iter(sorted(left.elements()))
    return [a if a >= 0 else next(others) for a in placed]


def moved(population: Step[S], island: int, log_Z: float) -> Step[S]:
    """The population as island `island`, of weights that sum to exp(log_Z)."""
    log_weights = population.log_weights + (log_Z - population.log_Z)
    ess = effective_sample_size(log_weights)  # to the last bit, by which smc decides
    return replace(population, island=island, log_weights=log_weights, ess=ess, log_Z=log_Z)


@dataclass(frozen=True)
class ExchangedIslands:
    """The errors of R islands that have been exchanged, from pairs of them: Lee and Whiteley's
    estimator, with islands as the particles.

    island: (n,) the island of each particle. log_weights: (n,), nats. log_Z: (R,), nats, of each
    island. C: (R, R) the coefficients of pairs. roots: (R,) the first island that each descends
    from. after: the steps after which there was an exchange. every: steps between two decisions.

    M(f) = sum_{r != s} C[r,s] A_r A_s, A_r = (1/R) sum of w f over island r, has mean (Z E f)^2.
    """

    island: NDArray[np.int64]
    log_weights: Floats
    log_Z: Floats
    C: Floats
    roots: NDArray[np.int64]
    after: tuple[int, ...]
    every: int
    by: str = "exchange"

    @property
    def effective_roots(self) -> float:
        """1 / sum of the squares of the shares of Z_hat that the first islands have."""
        shares = np.bincount(self.roots, weights=normalised(self.log_Z))
        return float(1.0 / np.square(shares).sum())

    @property
    def notes(self) -> tuple[str, ...]:
        times = len(self.after)
        often = "once" if times == 1 else f"{times} times"
        what = (
            f"islands were exchanged {often}, at last after step {self.after[-1]}: those that are "
            f"left descend from {self.effective_roots:.1f} of {len(self.log_Z)}"
        )
        if self.effective_roots < FEW_ROOTS:
            return (
                f"{what}, too few to trust the percentages and the standard errors. Use more "
                "islands, or more particles an island",
            )
        return (what,)

    def log_z_se(self) -> float | None:
        """sqrt(Z_hat^2 - M(1)) / Z_hat; None where that unbiased estimate is below 0."""
        W = normalised(self.log_Z)
        return _root(1.0 - float(W @ self.C @ W))

    def mean_se(self, f: Floats) -> float | None:
        """sqrt(-M(f - mean)) / Z_hat, to first order; None where it is below 0."""
        W = normalised(self.log_weights)
        residual = W * (f - W @ f)
        A = np.bincount(self.island, weights=residual, minlength=len(self.log_Z))
        scale = float(np.abs(A).max(initial=0.0))
        if scale <= ROUNDING * float(np.abs(f).max(initial=0.0)):
            return 0.0
        root = _root(-float((A / scale) @ self.C @ (A / scale)))
        return None if root is None else scale * root


def _root(variance: float) -> float | None:
    """The square root of an estimated variance, None for one below 0; rounding is 0."""
    if abs(variance) <= ROUNDING:
        return 0.0
    return math.sqrt(variance) if variance > 0.0 else None
