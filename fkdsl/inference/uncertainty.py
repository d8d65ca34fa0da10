"""How sure a run is: standard errors of log Z and of posterior means.

Each estimate says by what it was made. `exact` has no error; `independent` draws (rejection) have a binomial one;
`islands` are independent populations, compared; `genealogy` reads one population's family tree (fkdsl.inference.
genealogy); `none` has no estimate, and says why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.logspace import Floats, log_sum_exp


class Uncertainty(Protocol):
    """The errors of one run, over its particles in the order in which it was made.

    Laws: log_z_se is the standard deviation of Z_hat over Z, by the delta method that of log Z_hat; mean_se(f) that of
    sum_i w_i f_i / sum_i w_i; a constant f has error 0. None where there is no estimate.
    """

    @property
    def by(self) -> str:
        """exact, independent, islands, genealogy or none."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Why it is not to be trusted, or is not there, and what to try; none if all is well."""
        ...

    def log_z_se(self) -> float | None:
        """Standard error of log Z_hat, in nats."""
        ...

    def mean_se(self, f: Floats) -> float | None:
        """Standard error of the posterior mean of f (n,), one number a particle."""
        ...


@dataclass(frozen=True)
class Certain:
    """Enumerated: no error."""

    by: str = "exact"
    notes: tuple[str, ...] = ()

    def log_z_se(self) -> float | None:
        return 0.0

    def mean_se(self, f: Floats) -> float | None:
        return 0.0


@dataclass(frozen=True)
class Unknown:
    """No estimate; the notes say why."""

    notes: tuple[str, ...] = ()
    by: str = "none"

    def log_z_se(self) -> float | None:
        return None

    def mean_se(self, f: Floats) -> float | None:
        return None


@dataclass(frozen=True)
class Islands:
    """R independent populations, of which the i-th particle belongs to island[i] with log weight log_weights[i].

    log_Z: (R,) of each population alone; Z_hat is their mean.
    """

    island: NDArray[np.int64]
    log_weights: Floats
    log_Z: Floats
    by: str = "islands"
    notes: tuple[str, ...] = ()

    def log_z_se(self) -> float | None:
        """The standard deviation of the islands' Z over sqrt(R) and over their mean."""
        R, log_Z = len(self.log_Z), np.asarray(self.log_Z)
        if R < 2:
            return None
        Z = np.exp(log_Z - log_sum_exp(log_Z)) * R
        return float(np.std(Z, ddof=1)) / math.sqrt(R)

    def mean_se(self, f: Floats) -> float | None:
        """Of a ratio of means, sum_r A_r / sum_r Z_r: the islands' residuals A_r - mean Z_r."""
        R = len(self.log_Z)
        if R < 2:
            return None
        w = np.exp(self.log_weights - log_sum_exp(self.log_weights))
        residuals = np.bincount(self.island, weights=w * (f - w @ f), minlength=R)
        return math.sqrt(R / (R - 1) * float(residuals @ residuals))
