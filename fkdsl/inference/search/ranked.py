"""The outcomes of a decision by rank, likeliest first, so that a step can be run for some of its
outcomes and the others be visited later.

`RankedRng` replays decisions and then takes the likeliest outcome of each new one. The outcomes
that it does not take are kept as a `Ranked`: at most KEPT of them in order, and the mass of all
that come after. So a vocabulary of 49k tokens costs one partition of its probabilities, and not 49k
runs.

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

from fkdsl.base.arrays import ArrayLike, NDArray, np
from fkdsl.base.errors import InternalError
from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import Probabilities
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Key, WeightedRng, check_probabilities
from fkdsl.inference.enumeration import EnumeratingRng

KEPT = 256
"""Outcomes of one decision that are held in order."""


@dataclass(frozen=True)
class Ranked:
    """The outcomes of one decision from some rank on, likeliest first, equally likely ones in their
    own order.

    order: (k,) the outcomes. log_p: (k,) their log-probabilities, nats. log_from: (k,) log of the
    mass of each and of all after it, those beyond the k too. log_beyond: log of the mass beyond the
    k, -inf for none. next_rank: the rank of the first outcome beyond.
    """

    order: NDArray[np.int64]
    log_p: Floats
    log_from: Floats
    log_beyond: float
    next_rank: int


def ranked(p: Probabilities, mass: float, skip: int = 0) -> Ranked:
    """The outcomes of positive probability p[i] / mass, from rank `skip` on, at most KEPT of
    them."""
    support = np.flatnonzero(p)
    q, beyond = p[support].astype(np.float64), 0.0
    wanted = skip + KEPT
    if len(support) > wanted:
        # Which of several equally likely outcomes come first must not depend on `wanted`.
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
    """A stream that replays the decisions of a prefix, takes the outcome of rank `skip` of the next
    one, and the likeliest outcome of each one after that.

    After a run, `taken` holds every decision, `log_p` the log-probability of those beyond the
    prefix, and `revealed`, for each of these, its index, the log_p before it, and its outcomes from
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
        """As fkdsl.base.random.weighted: each outcome by its own probability, so that its weight is
        1."""
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
            outcomes = ranked(p, mass, self._skip if at == len(self._prefix) else 0)
            self.revealed.append((at, self.log_p, outcomes))
            outcome = int(outcomes.order[0])
            self.log_p += float(outcomes.log_p[0])
        self.taken.append(outcome)
        return outcome
