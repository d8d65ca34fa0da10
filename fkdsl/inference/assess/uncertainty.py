"""How sure a run is: standard errors of log Z and of posterior means.

Each estimate says how it was found. `exact` has no error; `independent` draws (rejection) have a
binomial one; `islands` compares independent populations; `genealogy` reads one population's family
tree (fkdsl.inference.assess.genealogy); `none` has no estimate, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from fkdsl.base.arrays import NDArray, np
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.interface import Step

FEW_SAMPLES = 5
"""Accepted samples below which their errors are not to be trusted."""
FEW_ISLANDS = 4
"""Islands with a living particle below which their errors are not to be trusted."""
DOMINANT = 0.5
"""The share of Z_hat from which on one island's answer is nearly that of all."""
LEAST_LOG = 3.0
"""An island whose log Z is more than this below log Z_hat, in nats, widens the interval no further:
its mass is too little to matter."""
_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def t_quantile(df: int) -> float:
    """The 0.975 quantile of Student's t distribution with df >= 1 degrees of freedom, to 0.003.

    >>> t_quantile(3), round(t_quantile(15), 2), round(t_quantile(10**9), 2)
    (3.182, 2.13, 1.96)
    """
    return _T_975[df - 1] if df <= len(_T_975) else 1.96 + 2.372 / df + 2.82 / df**2


class Uncertainty(Protocol):
    """The errors of one run, over its particles in a fixed order.

    Laws: log_z_se is the standard deviation of Z_hat over Z, by the delta method that of log Z_hat;
    mean_se(f) that of sum_i w_i f_i / sum_i w_i; a constant f has error 0. None where there is no
    estimate.
    """

    @property
    def by(self) -> str:
        """How the errors were found: exact, independent, islands, genealogy, bounds or none."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the errors are not to be trusted, or not known, and what to try; empty if all is
        well."""
        ...

    def log_z_se(self) -> float | None:
        """Standard error of log Z_hat, in nats."""
        ...

    def mean_se(self, f: Floats) -> float | None:
        """Standard error of the posterior mean of f (n,), one number a particle."""
        ...


class ErrorEstimator(Protocol):
    """Finds the errors of one population, from its steps as they come."""

    def take(self, step: Step[Any], before: Step[Any] | None) -> None:
        """The population after a step; before: the step that it came from, None at the start."""
        ...

    def uncertainty(self, log_weights: Floats, order: Sequence[int]) -> Uncertainty:
        """The errors of the last population, of weights log_weights (n,), nats; order: which of its
        particles to take, and how they will stand."""
        ...


@dataclass(frozen=True)
class FixedEstimator:
    """An estimator whose answer does not depend on the steps."""

    known: Uncertainty

    def take(self, step: Step[Any], before: Step[Any] | None) -> None:
        pass

    def uncertainty(self, log_weights: Floats, order: Sequence[int]) -> Uncertainty:
        return self.known


@dataclass(frozen=True)
class Certain:
    """The errors of an enumeration: none."""

    by: str = "exact"
    notes: tuple[str, ...] = ()

    def log_z_se(self) -> float | None:
        return 0.0

    def mean_se(self, f: Floats) -> float | None:
        return 0.0


@dataclass(frozen=True)
class Unknown:
    """There is no estimate of the errors; the notes say why."""

    notes: tuple[str, ...] = ()
    by: str = "none"

    def log_z_se(self) -> float | None:
        return None

    def mean_se(self, f: Floats) -> float | None:
        return None


@dataclass(frozen=True)
class Independent:
    """The errors of x exact samples of equal weight, accepted in n attempts.

    met: whether the m-th acceptance ended the run, and not the number of attempts.
    """

    x: int
    n: int
    met: bool
    by: str = "independent"

    @classmethod
    def of(cls, x: int, m: int, attempts: int, log_Z: float) -> Independent:
        """Of x acceptances where m were wanted: Z_hat is (m - 1)/(n - 1) if the m-th acceptance
        came at attempt n, which gives n."""
        met = x == m
        return cls(x, 1 + round((m - 1) / math.exp(log_Z)) if met else attempts, met)

    @property
    def notes(self) -> tuple[str, ...]:
        if self.x < FEW_SAMPLES:
            few = f"{self.x} accepted samples are too few to trust the standard errors"
            return (f"{few}: raise --attempts",)
        return ()

    def log_z_se(self) -> float | None:
        """sqrt(V) / Z_hat, with V = Z_hat^2 - U and U the unbiased estimate of Z^2 under the same
        stopping rule: (m-1)(m-2) / ((n-1)(n-2)), or x(x-1) / (n(n-1))."""
        if self.met and self.x == self.n:
            return 0.0
        if self.met:
            return math.sqrt((self.n - self.x) / ((self.x - 1) * (self.n - 2)))
        return math.sqrt((self.n - self.x) / (self.x * (self.n - 1))) if self.n > 1 else None

    def mean_se(self, f: Floats) -> float | None:
        """That of a mean of independent samples."""
        return float(np.std(f, ddof=1)) / math.sqrt(self.x) if self.x > 1 else None


@dataclass(frozen=True)
class Islands:
    """The errors of R independent populations, compared.

    island: (n,) which of them each particle belongs to. log_weights: (n,), nats. log_Z: (R,), nats,
    of each population alone; Z_hat is the mean of the Z_r.
    """

    island: NDArray[np.int64]
    log_weights: Floats
    log_Z: Floats
    by: str = "islands"

    @property
    def notes(self) -> tuple[str, ...]:
        R, alive = len(self.log_Z), int(np.sum(self.log_Z > -np.inf))
        if alive < FEW_ISLANDS:
            what = (
                f"{alive} of {R} islands have a particle left," if alive < R else f"{R} islands are"
            )
            return (f"{what} too few to trust the standard errors: --islands 8, or more particles",)
        share = float(np.exp(self.log_Z.max() - log_sum_exp(self.log_Z)))
        if share > DOMINANT:
            return (
                f"one of {R} islands has {share:.0%} of the weight: the percentages and log Z are "
                "little more than that island's, and another seed may give others. Use more "
                "particles an island",
            )
        return ()

    def log_z_interval(self) -> tuple[float, float] | None:
        """An interval, in nats, that should cover log Z 19 times in 20 although Z_r is skewed and R
        is small.

        It is the smallest one that contains two t intervals: that of log Z_hat by its standard
        error, and Cox's for the mean of a log-normal law, mean y + s^2/2 of y = log Z_r with
        variance s^2/R + s^4/(2 (R - 1)) (Zhou and Gao 1997). None below 2 islands.
        """
        R, log_Z = len(self.log_Z), np.asarray(self.log_Z)
        se = self.log_z_se()
        if se is None:
            return None
        center, t = log_sum_exp(log_Z) - math.log(R), t_quantile(R - 1)
        y = np.maximum(log_Z, center - LEAST_LOG)
        s2 = float(np.var(y, ddof=1))
        cox, half = float(y.mean()) + 0.5 * s2, t * math.sqrt(s2 / R + s2 * s2 / (2 * (R - 1)))
        return min(center - t * se, cox - half), max(center + t * se, cox + half)

    def log_z_se(self) -> float | None:
        """The standard deviation of the Z_r, over sqrt(R) and their mean; None below 2 islands."""
        R, log_Z = len(self.log_Z), np.asarray(self.log_Z)
        if R < 2:
            return None
        Z = np.exp(log_Z - log_sum_exp(log_Z)) * R
        return float(np.std(Z, ddof=1)) / math.sqrt(R)

    def mean_se(self, f: Floats) -> float | None:
        """That of a ratio of means, sum_r A_r / sum_r Z_r, from the residuals A_r - mean Z_r; None
        below 2 islands."""
        R = len(self.log_Z)
        if R < 2:
            return None
        residuals, _ = self._by_island(f)
        return math.sqrt(R / (R - 1) * float(residuals @ residuals))

    def mean_interval(self, f: Floats) -> tuple[float, float] | None:
        """An interval that should cover the posterior mean of f (n,) 19 times in 20 although Z_r is
        skewed and R is small.

        It is Fieller's (1954) for a ratio of means: all m for which the mean of A_r - m Z_r is
        within t standard errors of 0, t with R - 1 degrees of freedom. At the true m that
        difference has mean 0, so the ratio itself need not be close to normal. Where the Z_r vary
        so much that their mean cannot be told from 0 it is (-inf, inf). None below 2 islands.
        """
        R = len(self.log_Z)
        if R < 2:
            return None
        center = float(self._weights() @ f)
        residuals, Z = self._by_island(f)
        # With d = m - center and sums over the islands, where sum A' = 0 and sum Z = 1:
        # d^2 <= k sum (A' - d (Z - 1/R))^2, a quadratic inequality in d.
        k = t_quantile(R - 1) ** 2 * R / (R - 1)
        deviation = Z - 1.0 / R
        square = 1.0 - k * float(deviation @ deviation)
        linear = k * float(residuals @ deviation)
        constant = k * float(residuals @ residuals)
        if square <= 0.0:
            return (-math.inf, math.inf) if constant > 0.0 else (center, center)
        root = math.sqrt(linear * linear + square * constant)
        return center + (-linear - root) / square, center + (-linear + root) / square

    def _weights(self) -> Floats:
        """The particles' weights (n,), normalised."""
        weights: Floats = np.exp(self.log_weights - log_sum_exp(self.log_weights))
        return weights

    def _by_island(self, f: Floats) -> tuple[Floats, Floats]:
        """(R,) sums over each island of w (f - mean), and of w: its A_r - mean Z_r and Z_r, over
        R Z_hat."""
        w, R = self._weights(), len(self.log_Z)
        residuals = np.bincount(self.island, weights=w * (f - w @ f), minlength=R)
        Z = np.bincount(self.island, weights=w, minlength=R)
        return residuals.astype(np.float64), Z.astype(np.float64)
