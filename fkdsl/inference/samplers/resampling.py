"""Resampling: from weights and a random stream to ancestors, and the optimal reduction of Fearnhead
and Clifford.

Every scheme gives N ancestors with E[#{i : A_i = j}] = N W_j exactly. Ancestors come in ascending
order, so that survivors keep their places; a particle of weight zero is nobody's ancestor. Uniforms
are only compared, so that tests can enumerate their outcomes.

>>> from fkdsl.base.random import KeyedRng
>>> RESAMPLING["systematic"](KeyedRng(1), np.array([0.5, 0.0, 0.25, 0.25]), 4)
[0, 0, 2, 3]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fkdsl.base.arrays import np
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.random import Rng

Scheme = Callable[[Rng, Floats, int], list[int]]
RESAMPLING: dict[str, Scheme] = {}
"""Every scheme by name."""


def resampling_scheme(function: Scheme) -> Scheme:
    """Registers a scheme under its name."""
    RESAMPLING[function.__name__] = function
    return function


def _live(W: Floats) -> list[int]:
    return [int(j) for j in np.flatnonzero(W > 0.0)]


@resampling_scheme
def multinomial(rng: Rng, W: Floats, N: int) -> list[int]:
    """N independent draws from W."""
    return sorted(rng.choice(W) for _ in range(N))


@resampling_scheme
def stratified(rng: Rng, W: Floats, N: int) -> list[int]:
    """One uniform in each of N strata of equal width (Kitagawa 1996)."""
    A, live, j = [], _live(W), 0
    c = np.cumsum(W[live])
    for n in range(N):
        U = rng.uniform() + n
        while j < len(live) - 1 and N * c[j] / c[-1] < U:
            j += 1
        A.append(live[j])
    return A


@resampling_scheme
def systematic(rng: Rng, W: Floats, N: int) -> list[int]:
    """One uniform, shifted through N strata of equal width."""
    A, live, j = [], _live(W), 0
    c = np.cumsum(W[live])
    U = rng.uniform()
    for n in range(N):
        while j < len(live) - 1 and U + n > N * c[j] / c[-1]:
            j += 1
        A.append(live[j])
    return A


@resampling_scheme
def residual(rng: Rng, W: Floats, N: int) -> list[int]:
    """floor(N W_j) copies for certain, the others by multinomial draws from the remainders (Liu and
    Chen 1998)."""
    copies = _whole(N * W)
    R = N - int(copies.sum())
    A = [j for j in range(len(W)) for _ in range(int(copies[j]))]
    remainders = np.maximum(N * W - copies, 0.0)
    remainders[W <= 0.0] = 0.0
    A.extend(rng.choice(remainders) for _ in range(R))
    return sorted(A)


@resampling_scheme
def ssp(rng: Rng, W: Floats, N: int) -> list[int]:
    """Srinivasan sampling process (Gerber, Chopin and Whiteley 2019): pairs of fractions of N W_j
    are rounded, each pair keeping its sum, until at most one is left."""
    copies = _whole(N * W)
    fraction = np.clip(N * W - copies, 0.0, 1.0)
    open_ = [j for j in _live(W) if fraction[j] > 0.0]
    i = open_.pop(0) if open_ else None
    while i is not None and open_:
        j = open_.pop(0)
        up, down = min(fraction[j], 1.0 - fraction[i]), min(fraction[i], 1.0 - fraction[j])
        # With probability down / (up + down) mass `up` moves from j to i, else mass `down` from i
        # to j: both expectations stay, and one of the two fractions becomes whole.
        if rng.choice([down, up]) == 0:
            fraction[i], fraction[j] = fraction[i] + up, fraction[j] - up
        else:
            fraction[i], fraction[j] = fraction[i] - down, fraction[j] + down
        keep = i if SLIVER < fraction[i] < 1.0 - SLIVER else j
        for k in (i, j):
            if k != keep or not SLIVER < fraction[k] < 1.0 - SLIVER:
                copies[k] += round(fraction[k])
                fraction[k] = 0.0
        i = keep if fraction[keep] > 0.0 else (open_.pop(0) if open_ else None)
    if i is not None:
        # The fractions sum to a whole number, so a last one alone is 0 or 1 up to rounding.
        copies[i] += N - int(copies.sum())
    return [j for j in range(len(W)) for _ in range(int(copies[j]))]


SLIVER = 1e-12
"""Fractions of a copy below this come from rounding."""


def _whole(x: Floats) -> Floats:
    """floor(x); a number within rounding of a whole one counts as that."""
    result: Floats = np.floor(x + SLIVER)
    return result


def optimal_reduction(rng: Rng, log_weights: Floats, N: int) -> tuple[list[int], Floats]:
    """At most N of n weighted particles: indices, ascending, and their new log weights (nats).

    Fearnhead and Clifford 2003. If at most N weights are non-zero, exactly those, unchanged. Else c
    solves sum_j min(1, c W_j) = N; each j with c W_j >= 1 is kept at its weight; of the others N -
    |kept| are drawn by one systematic pass with spacing alpha = (sum of their W) / (N - |kept|) =
    1/c, and each weighs 1/c of the total.

    The sum of weights is conserved on every path, and E[new w_j] = w_j for every j.
    """
    alive = [int(j) for j in np.flatnonzero(log_weights > -np.inf)]
    if len(alive) <= N:
        return alive, log_weights[alive]
    det = _certain(log_weights, alive, N)
    stoch = [j for j in alive if j not in det]
    # alpha in log space and not normalised: the weight that each of the drawn ones will have.
    log_alpha = log_sum_exp(log_weights[stoch]) - math.log(N - len(det))
    strat = _systematic_pass(rng, log_weights, stoch, log_alpha, N - len(det))
    kept = sorted([*det, *strat])
    return kept, np.array([log_weights[j] if j in det else log_alpha for j in kept])


def _certain(log_weights: Floats, alive: Sequence[int], N: int) -> set[int]:
    """{j : c W_j >= 1} for the c with sum_j min(1, c W_j) = N, where more than N weights are
    non-zero.

    Taking the k largest for certain, 1/c = (sum of the others) / (N - k); k is the first for which
    the next largest weight is below that.
    """
    order = sorted(alive, key=lambda j: -log_weights[j])
    rest = np.logaddexp.accumulate(log_weights[order[::-1]])[
        ::-1
    ]  # rest[k] = log sum of all but the k largest
    for k in range(N):
        if log_weights[order[k]] < rest[k] - math.log(N - k):
            return set(order[:k])
    # Weights that differ by more than float64 can hold lead here: all but the N - 1 largest share
    # one place.
    return set(order[: N - 1])


def _systematic_pass(
    rng: Rng, log_weights: Floats, stoch: Sequence[int], log_alpha: float, count: int
) -> list[int]:
    """Exactly `count` of `stoch`, each j with probability W_j / alpha: one uniform, shifted by
    alpha along the weights laid end to end."""
    strat: list[int] = []
    U = rng.uniform()
    for place, j in enumerate(stoch):
        U = U - math.exp(log_weights[j] - log_alpha)
        # Rounding must not leave fewer than `count`: the last ones are taken if they are needed.
        if len(strat) < count and (U < 0 or len(stoch) - place == count - len(strat)):
            strat.append(j)
            U = U + 1.0
    return strat
