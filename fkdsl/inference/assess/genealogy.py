"""Standard errors from one population, by its family tree (Lee and Whiteley 2018, Variance
estimation in the particle filter). It may resample at any time that the past decides, and merge
equal particles.

Each pair of particles has a coefficient C[i,j], with C[i,i] = 0:

    at the start                  C[i,j] = N/(N-1)
    merging into groups g, h      C[g,h] = sum_{i in g, j in h} w_i w_j C[i,j] / (w_g w_h),
                                  also for g = h
    multinomial resampling, N     C[a,b] = N/(N-1) C[parent of a, parent of b] for a != b, also
                                  where the two have the same parent

A mutation leaves C as it is. Then M(f) = sum_ij w_i w_j C[i,j] f_i f_j is a martingale with E[M(f)]
= (Z E f)^2, since two different particles move independently, and two different children choose
their parents independently. So

    V(f) = (sum_i w_i f_i)^2 - M(f)

is unbiased for Var(sum_i w_i f_i), for every N >= 2. Without merging, C[i,j] is (N/(N-1))^(1 +
resamplings) where i and j descend from different particles of time 0, and 0 where they do not: Lee
and Whiteley's estimator. Children of one parent have equal rows, so C is kept as a matrix (D, D)
over the D parents of the last resampling; its diagonal is for two children of one parent.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from fkdsl.base.arrays import NDArray, np
from fkdsl.base.logspace import Floats, normalised
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.assess.uncertainty import Uncertainty, Unknown
from fkdsl.inference.interface import FeynmanKac, Step

S = TypeVar("S")
Indices = NDArray["np.int64"]
SCHEME = "multinomial"
"""The scheme whose children choose independently."""
MOST = 4096
"""Particles of a resampled population beyond which C is too large to keep."""
ONE = 1.05
"""Effective ancestors below which the population descends from one, up to rounding."""
FEW = 4.0
"""Effective roots below which the estimate is not to be trusted (docs/inference.md, How sure)."""
ROUNDING = 1e-12
"""A variance of less than this, relative to Z_hat^2, is rounding."""
ISLANDS = "for a standard error by any method: --islands 8"


class FamilyTree(Generic[S]):
    """An ErrorEstimator that keeps the C of one population up to date, step by step. scheme: of
    resampling. merge: whether equal particles are resampled as one."""

    def __init__(self, model: FeynmanKac[S], scheme: str, merge: bool) -> None:
        self._model, self._scheme, self._merge = model, scheme, merge
        self._parent: Indices = np.zeros(0, dtype=np.int64)  # (N,) a particle's row of C
        self._C: Floats = np.zeros((0, 0))
        self._resamplings = 0
        self._no_C = ""  # why C is not known

    def take(self, step: Step[S], before: Step[S] | None) -> None:
        """Enters the population after a step; before: the step that it came from, None at the
        start."""
        N = len(step.particles)
        if before is None:
            self._parent = np.zeros(N, dtype=np.int64)
            self._C = np.full((1, 1), N / (N - 1) if N > 1 else 0.0)
            if N == 1:
                self._no_C = f"one particle alone has no standard error; {ISLANDS}"
        elif step.resampled and not self._no_C:
            self._resample(before, step.ancestors)

    def _resample(self, before: Step[S], ancestors: Sequence[int]) -> None:
        """Updates C for N children of the particles of `before`, merged into groups. ancestors:
        (N,) the first particle of the group that each child came from."""
        N = len(before.particles)
        if self._scheme != SCHEME or N > MOST:
            why = (
                f"{self._scheme} resampling"
                if self._scheme != SCHEME
                else f"more than {MOST} particles"
            )
            way = f"--resampling {SCHEME}" if self._scheme != SCHEME else f"--particles {MOST}"
            self._no_C = f"no standard error from one population under {why}: {way}, or --islands 8"
            return
        chosen, parent = np.unique(np.asarray(ancestors), return_inverse=True)
        first: dict[Hashable, int] = {}
        group = [first.setdefault(self._model.key(p.state), i) if self._merge else i
                 for i, p in enumerate(before.particles)]  # fmt: skip
        members = np.flatnonzero(np.isin(group, chosen) & (before.log_weights > -np.inf))
        members = members[np.argsort(np.asarray(group)[members], kind="stable")]
        starts = np.searchsorted(np.asarray(group)[members], chosen)
        w = np.exp(before.log_weights[members] - before.log_weights.max())
        share = w / np.repeat(np.add.reduceat(w, starts), np.diff(np.append(starts, len(members))))
        rows = self._parent[members]
        C = np.add.reduceat(share[:, None] * self._C[rows], starts, axis=0)  # (D, D before)
        C = np.add.reduceat(C[:, rows] * share, starts, axis=1)  # (D, D)
        # A particle is no pair with itself, though its row has a coefficient for its sisters.
        C[np.diag_indices(len(C))] -= np.add.reduceat(
            np.square(share) * self._C[rows, rows], starts
        )
        self._C, self._parent = C * (N / (N - 1)), parent.astype(np.int64)
        self._resamplings += 1

    def uncertainty(self, log_weights: Floats, order: Sequence[int]) -> Uncertainty:
        """The errors of the last population, of log_weights (n,), nats; order: which of its
        particles to take, and in what order."""
        if self._no_C:
            return Unknown((self._no_C,))
        kept = np.asarray(order, dtype=np.int64)
        W = normalised(log_weights[kept])
        return PairErrors(self._parent[kept], self._C, W, len(log_weights), self._resamplings)


@dataclass(frozen=True)
class PairErrors:
    """The errors of one population of N particles, from its pairs.

    parent: (n,) the row of C of each particle of positive weight. W: (n,) their normalised weights.
    resamplings: how many there were.
    """

    parent: Indices
    C: Floats
    W: Floats
    N: int
    resamplings: int

    @property
    def by(self) -> str:
        return "genealogy" if self.resamplings else "independent"

    def pairs(self, f: Floats) -> float:
        """M(f) / Z_hat^2 = sum_{i != j} W_i W_j C[parent of i, parent of j] f_i f_j."""
        y = self.W * f
        sums = np.bincount(self.parent, weights=y, minlength=len(self.C))
        return float(sums @ self.C @ sums - np.square(y) @ self.C[self.parent, self.parent])

    @property
    def roots(self) -> float:
        """The effective number of particles of time 0 (roots) that the population descends from: 1
        / sum_r (share of root r)^2.

        M(1) / Z_hat^2 without the factors N/(N-1) is the probability that two draws from the
        population have different roots.
        """
        different = self.pairs(np.ones(len(self.W))) * (1 - 1 / self.N) ** (self.resamplings + 1)
        return 1.0 / max(1.0 - different, 1.0 / self.N)

    @property
    def sole(self) -> str:
        """ "ancestor" or "particle" where the whole population rests on a single one, else ""."""
        if self.roots >= ONE:
            return ""
        return "ancestor" if self.resamplings else "particle"

    @property
    def notes(self) -> tuple[str, ...]:
        if self.roots < FEW:
            which = "ancestors" if self.resamplings else "particles"
            return (
                f"{self.roots:.1f} effective {which} are left: the percentages are those of about "
                "as many independent draws, and too few to trust the standard errors. Use more "
                "particles, or --islands 8",
            )
        if self.log_z_se() is None:
            return (
                "this run's family tree gives no standard error of log Z (it came out below 0); "
                + ISLANDS,
            )
        return ()

    def log_z_se(self) -> float | None:
        """sqrt(V(1)) / Z_hat; None where the unbiased estimate V is below 0."""
        return _root(1.0 - self.pairs(np.ones(len(self.W))))

    def mean_se(self, f: Floats) -> float | None:
        """sqrt(V(f - mean)) / Z_hat, the error of the ratio to first order; here sum_i w_i (f_i -
        mean) is 0, so that V is -M. None where V is below 0."""
        residual = f - self.W @ f
        scale = float(np.abs(residual).max(initial=0.0))
        # A mean of equal numbers differs from them by rounding.
        if scale <= ROUNDING * float(np.abs(f).max(initial=0.0)):
            return 0.0
        root = _root(-self.pairs(residual / scale))
        return None if root is None else scale * root


def _root(variance: float) -> float | None:
    """The square root of an estimated variance; None for one below 0 (or where C overflowed), 0 for
    one within rounding of 0."""
    if abs(variance) <= ROUNDING:
        return 0.0
    return math.sqrt(variance) if variance > 0.0 else None
