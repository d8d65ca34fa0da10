"""The outcomes of a decision by rank, likeliest first: a step run for some of its outcomes, the
others left for later.

`RankedRng` replays decisions and then takes the likeliest outcome of each new one; what it passes
by is kept as a `Ranked`, at most KEPT outcomes in order and the mass of all that come after. So a
vocabulary of 49k tokens costs one partition of its probabilities, and not 49k runs.

>>> rng = RankedRng()
>>> rng.choice([0.2, 0.5, 0.3])
1
>>> (at, log_before, ranked), = rng.revealed
>>> ranked.order.tolist(), [round(math.exp(m), 12) for m in ranked.log_from]
([1, 2, 0], [1.0, 0.5, 0.2])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fkdsl.base.blocks import Probabilities
from fkdsl.base.errors import InternalError
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Key, WeightedRng, check_probabilities
from fkdsl.inference.enumeration import EnumeratingRng

KEPT = 256
"""Outcomes of one decision that are held in order."""


@dataclass(frozen=True)
class Ranked:
    """Outcomes of one decision from some rank on, likeliest first, equal ones in their order.

    order: (k,) the outcomes. log_p: (k,) their log-probabilities, nats. log_from: (k,) log of the
    mass from each of them on, what is beyond the k among it. log_beyond: that mass alone, -inf for
    none. next_rank: the rank of the first beyond.
    """

    order: NDArray[np.int64]
    log_p: Floats
    log_from: Floats
    log_beyond: float
    next_rank: int


def ranked(p: Probabilities, mass: float, skip: int = 0) -> Ranked:
    """The outcomes of positive probability p[i] / mass, from rank `skip` on, KEPT of them at
    most."""
    support = np.flatnonzero(p)
    q, beyond = p[support].astype(np.float64), 0.0
    wanted = skip + KEPT
    if len(support) > wanted:
        # Which of several equal outcomes come first must not depend on how many are asked for.
        edge = np.partition(q, -wanted)[-wanted]
        above = q > edge
        first = above | ((q == edge) & (np.cumsum(q == edge) <= wanted - np.count_nonzero(above)))
        beyond = float(q[~first].sum())
        support, q = support[first], q[first]
    rank = np.argsort(-q, kind="stable")[skip:]
    if not len(rank):
        raise InternalError("a sampler is not a function of its random stream")
    order, q = support[rank], q[rank]
    log_from = np.log(np.cumsum(q[::-1])[::-1] + beyond) - math.log(mass)
    log_beyond = math.log(beyond / mass) if beyond > 0.0 else -math.inf
    return Ranked(order, np.log(q) - math.log(mass), log_from, log_beyond, skip + len(order))


class RankedRng(EnumeratingRng, WeightedRng):
    """A stream that replays decisions, takes the outcome of rank `skip` of the next one, and the
    likeliest of those after it.

    After a run, `taken` holds every decision, `log_p` the log-probability of those beyond the
    prefix, and `revealed` for each of them where it stands, log_p before it, and its outcomes from
    the one taken on.
    """

    def __init__(self, prefix: tuple[int, ...] = (), skip: int = 0) -> None:
        super().__init__(prefix)
        self._skip = skip
        self.log_p = 0.0
        self.revealed: list[tuple[int, float, Ranked]] = []

    def decide(self, probabilities: Sequence[float] | Probabilities, total: float = 1.0) -> int:
        return self._take(np.asarray(probabilities, dtype=np.float64), 1.0)

    def choice(self, probabilities: ArrayLike) -> int:
        p = check_probabilities(probabilities)
        return self._take(p, float(p.sum(dtype=np.float64)))

    def weighted(self, p: Probabilities, mass: float) -> tuple[int, float]:
        """fkdsl.base.random.weighted: each outcome by its own probability, which is all of its
        weight."""
        return self._take(p, max(1.0, mass)), 0.0

    def split(self, *key: Key) -> RankedRng:
        return self

    def _take(self, p: Probabilities, mass: float) -> int:
        at = len(self.taken)
        if at < len(self._prefix):
            outcome = self._prefix[at]
            if outcome >= len(p) or p[outcome] <= 0.0:
                raise InternalError("a sampler is not a function of its random stream")
        else:
            found = ranked(p, mass, self._skip if at == len(self._prefix) else 0)
            self.revealed.append((at, self.log_p, found))
            outcome = int(found.order[0])
            self.log_p += float(found.log_p[0])
        self.taken.append(outcome)
        return outcome
