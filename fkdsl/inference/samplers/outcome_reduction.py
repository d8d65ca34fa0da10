"""The optimal reduction of Fearnhead and Clifford (2003) among all outcomes of a population's
draws, of which there may be as many as a vocabulary has for each particle.

    kept = reduce_outcomes(rng, [outcomes of particle 0, ...], N)

`optimal_reduction` of resampling.py is the same for a list of weighted particles, in plain Python.
Uniforms are only compared, so that tests can enumerate their outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fkdsl.base.arrays import NDArray, np
from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import Probabilities
from fkdsl.base.random import Rng


class Scored(NamedTuple):
    """Outcomes of one particle: what each is kept by. scores: (n,) not negative. log_scale: nats,
    of all of them."""

    scores: Probabilities
    log_scale: float


class Kept(NamedTuple):
    """An outcome that is kept: of which particle, its index there, and log of 1 / the probability
    of keeping it, nats."""

    particle: int
    outcome: int
    log_factor: float


def reduce_outcomes(rng: Rng, scored: Sequence[Scored], N: int) -> list[Kept]:
    """At most N outcomes, in the order of particles and outcomes.

    Where at most N scores S_j are above zero, exactly those are kept. Else, with c the solution of
    sum_j min(1, c S_j) = N, outcome j is kept with probability min(1, c S_j): for certain, or by
    one systematic pass over the others, of spacing 1/c. So E[1{j is kept} exp(log_factor)] = 1.
    """
    top = max((s.log_scale for s in scored if s.scores.any()), default=-math.inf)
    if top == -math.inf:
        return []
    log_scales = [s.log_scale - top for s in scored]
    scales = [math.exp(x) for x in log_scales]
    if sum(np.count_nonzero(s.scores) for s in scored) <= N:
        positive = [np.flatnonzero(s.scores).tolist() for s in scored]
        return [Kept(k, i, 0.0) for k, found in enumerate(positive) for i in found]
    # Only what can be certain, and what the pass comes to, is looked at outcome by outcome.
    masses = np.array([scale * _sum(s.scores) for s, scale in zip(scored, scales, strict=True)])
    certain = _certain(_largest(scored, scales, N), masses, N)
    rest = _Rest(scored, _by_particle(certain))
    for k in rest.certain:
        masses[k] = scales[k] * _sum(rest.scores(k))
    kept = [Kept(k, i, 0.0) for k, i, _ in certain]
    kept += _pass(rng, rest, log_scales, masses, N - len(certain))
    return sorted(kept)


Weighed = tuple[int, int, float]
"""A particle, one of its outcomes, and the outcome's score on the common scale."""


def _sum(scores: Probabilities) -> float:
    return float(scores.sum(dtype=np.float64))


class _Rest:
    """The outcomes that are not certain, of one particle at a time: rows are long, and particles
    many. certain: by particle."""

    def __init__(self, scored: Sequence[Scored], certain: dict[int, list[int]]) -> None:
        self.certain, self._scored = certain, scored

    def scores(self, k: int) -> Probabilities:
        """(n,) the scores of particle k, zero for those that are certain."""
        scores = self._scored[k].scores
        if k in self.certain:
            scores = scores.copy()
            scores[self.certain[k]] = 0.0
        return scores


def _largest(scored: Sequence[Scored], scales: Sequence[float], N: int) -> list[Weighed]:
    """The N largest positive scores of all, the largest first."""
    values, ks, js = np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for k, (s, scale) in enumerate(zip(scored, scales, strict=True)):
        at = _top(s.scores, N)
        values = np.append(values, scale * s.scores[at].astype(np.float64))
        ks, js = np.append(ks, np.full(len(at), k)), np.append(js, at)
        best = _top(values, N)
        values, ks, js = values[best], ks[best], js[best]
    found = zip(ks.tolist(), js.tolist(), values.tolist(), strict=True)
    return sorted((w for w in found if w[2] > 0.0), key=lambda w: (-w[2], w[0], w[1]))


def _top(scores: Probabilities, N: int) -> NDArray[np.intp]:
    """Where the N largest of some scores are, in any order; all of fewer."""
    n = len(scores)
    return np.argpartition(scores, n - N)[n - N :] if n > N else np.arange(n)


def _certain(largest: Sequence[Weighed], masses: Floats, N: int) -> list[Weighed]:
    """{j : c S_j >= 1}. Taking the k largest for certain, 1/c = (sum of the others) / (N - k); k is
    the first for which the next largest is below that."""
    left = float(masses.sum())
    for k, (_, _, score) in enumerate(largest[:N]):
        if score * (N - k) < left:
            return list(largest[:k])
        left -= score
    # By rounding alone: all but the N - 1 largest share one place.
    return list(largest[: N - 1])


def _by_particle(certain: Sequence[Weighed]) -> dict[int, list[int]]:
    outcomes: dict[int, list[int]] = {}
    for k, i, _ in certain:
        outcomes.setdefault(k, []).append(i)
    return outcomes


def _pass(
    rng: Rng, rest: _Rest, log_scales: Sequence[float], masses: Floats, count: int
) -> list[Kept]:
    """`count` outcomes, each with probability S_j / spacing: one uniform, shifted through the
    scores laid end to end. masses: (n,) of the particles, on the common scale."""
    ends = np.cumsum(masses)
    spacing = float(ends[-1]) / count
    if not spacing > 0.0:  # what is left is below the smallest float
        return []
    U = rng.uniform()
    kept: list[Kept] = []
    scores: Probabilities = np.zeros(0)
    at, sums = -1, scores
    for n in range(count):
        k = _first(U, ends / spacing - n)
        while masses[k] <= 0.0:  # rounding, at the end of the line
            k -= 1
        if k != at:
            at, scores = k, rest.scores(k)
            sums = scores.cumsum(dtype=np.float64)
        # A particle's own running sums end at its mass exactly.
        before = float(ends[k] - masses[k])
        i = _first(U, (before + sums * (masses[k] / sums[-1])) / spacing - n)
        while scores[i] <= 0.0:
            i -= 1
        log_score = log_scales[k] + math.log(float(scores[i]))  # the score itself may be 0
        kept.append(Kept(k, i, math.log(spacing) - log_score))
    return kept


def _first(U: float, bounds: Floats) -> int:
    """The first i at which U is below bounds[i] (n,), which ascend; the last one if there is none.
    It compares U with a few of them only."""
    low, high = 0, len(bounds) - 1
    while low < high:
        middle = (low + high) // 2
        if float(bounds[middle]) > U:
            high = middle
        else:
            low = middle + 1
    return low
