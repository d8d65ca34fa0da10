"""Fitting the log of a conditional mean: log h(x) = log E[R | x], from particles with their
features, their weights, and the weight that their descendants came to.

A particle of log weight log w, x its features, whose descendants weigh d in the end, has d / w for
an unbiased estimate of h(x): R is the weight that is still to come, and many are 0. With f(x) =
theta . phi(x), the loss

    L(theta) = sum_i [ w_i exp f(x_i) - d_i f(x_i) ] + penalty / 2 |theta|^2

has its least mean where exp f(x) = E[R | x] (a Poisson likelihood with a log link). It is the
contrastive loss of twisted SMC for language models (Zhao, Brekelmans, Makhzani and Grosse 2024,
section 4.1, arXiv 2404.17546): its gradient is the mean of grad f under exp f less that under the
posterior, here with the level of f fitted too. It takes dead particles as they are, where a
regression of log R would need a floor for them; and it is convex, so Newton's steps find the one
answer.

>>> x = np.array([[0.0], [0.0], [1.0], [1.0]])
>>> flock = Flock(x, np.zeros(4), np.array([0.0, 2.0, 1.0, 5.0]), np.arange(4))
>>> theta = fit(with_bias(x), flock, penalty=1e-9)
>>> np.round(np.exp(with_bias(np.array([[0.0], [1.0]])) @ theta), 4).tolist()
[1.0, 3.0]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check
from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass

STEPS = 30
"""Newton's steps at most."""
ENOUGH = 1e-7
"""Relative decrease of the loss under which no further step is made."""
LARGEST = 50.0
"""Exponents are cut off at it while the fit is still far away."""
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Penalties that are tried on runs left out of the fit. Descendants of one particle are counted at
each of its steps, and are far from independent, so that large ones are often the best."""
FOLDS = 3
"""Parts into which the runs are divided to choose the penalty."""


@dataclass(frozen=True)
class Flock:
    """Particles of one or more runs. x (n, F): features. log_w (n,): nats. descendants (n,): the
    weight of a particle's descendants at the end, 0 for one without. run (n,): the number of its
    run; particles of different runs are independent."""

    x: Floats
    log_w: Floats
    descendants: Floats
    run: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.log_w)

    def only(self, kept: NDArray[np.bool_]) -> Flock:
        """The particles that are kept (n,)."""
        return Flock(self.x[kept], self.log_w[kept], self.descendants[kept], self.run[kept])


def rescaled(flock: Flock, log_factor: float) -> Flock:
    """The particles, both weights times exp(log_factor)."""
    return Flock(
        flock.x, flock.log_w + log_factor, flock.descendants * np.exp(log_factor), flock.run
    )


def joined(flocks: Sequence[Flock]) -> Flock:
    """All of them as one."""
    return Flock(
        np.concatenate([f.x for f in flocks]),
        np.concatenate([f.log_w for f in flocks]),
        np.concatenate([f.descendants for f in flocks]),
        np.concatenate([f.run for f in flocks]),
    )


def with_bias(phi: Floats) -> Floats:
    """phi (n, P) with a column of ones behind it."""
    return np.concatenate([phi, np.ones((len(phi), 1))], axis=1)


def fit(phi: Floats, flock: Flock, penalty: float, start: Floats | None = None) -> Floats:
    """theta (P,) with the least loss; the last column of phi (n, P) is 1 and bears no penalty. An
    infinite penalty leaves the best constant."""
    if penalty == np.inf:
        return _constant(phi, flock)
    penalties = np.full(phi.shape[1], penalty)
    penalties[-1] = 1e-9
    theta = start if start is not None else _constant(phi, flock)
    best = _loss(phi, flock, theta, penalties)
    for _ in range(STEPS):
        check()
        mu = np.exp(np.minimum(flock.log_w + phi @ theta, LARGEST))
        gradient = phi.T @ (mu - flock.descendants) + penalties * theta
        hessian = (phi * mu[:, None]).T @ phi + np.diag(penalties)
        step = np.asarray(
            np.linalg.solve(hessian + 1e-9 * np.eye(len(theta)), gradient), np.float64
        )
        theta, now = _shorter_until_better(phi, flock, theta, step, penalties, best)
        if best - now <= ENOUGH * (abs(best) + 1.0):
            break
        best = now
    return theta


def _constant(phi: Floats, flock: Flock) -> Floats:
    """theta of the best constant."""
    theta = np.zeros(phi.shape[1])
    top = float(flock.log_w.max())
    mass = float(np.exp(flock.log_w - top).sum())
    theta[-1] = np.log(max(float(flock.descendants.sum()), 1e-300)) - np.log(mass) - top
    return theta


def _shorter_until_better(
    phi: Floats, flock: Flock, theta: Floats, step: Floats, penalties: Floats, best: float
) -> tuple[Floats, float]:
    """theta less the step or a part of it that makes the loss smaller, and the loss there; theta
    itself where none does."""
    for halvings in range(20):
        tried = theta - step * 0.5**halvings
        loss = _loss(phi, flock, tried, penalties)
        if loss < best:
            return tried, loss
    return theta, best


def _loss(phi: Floats, flock: Flock, theta: Floats, penalties: Floats) -> float:
    f = phi @ theta
    mu = np.exp(np.minimum(flock.log_w + f, 600.0))
    loss = float(mu.sum() - flock.descendants @ f + 0.5 * (penalties * theta**2).sum())
    return loss if np.isfinite(loss) else np.inf


def deviance(f: Floats, flock: Flock) -> float:
    """2 sum_i [d log(d / mu) - d + mu], mu = w exp f: 0 where every mean is what came."""
    d = flock.descendants
    log_mu = np.clip(flock.log_w + f, -600.0, 600.0)
    logs = np.log(np.maximum(d, 1e-300)) - log_mu
    return float(2.0 * (np.where(d > 0.0, d * logs, 0.0) - d + np.exp(log_mu)).sum())


def explained(phi: Floats, flock: Flock, penalty: float) -> float:
    """The share of the deviance of the best constant that a fit explains on runs left out of it: 1
    at most, below 0 where it is worse than the constant. NaN for fewer than two runs."""
    parts = flock.run % min(FOLDS, len(np.unique(flock.run)))
    if len(np.unique(parts)) < 2:
        return float("nan")
    of_fit = of_constant = 0.0
    for part in np.unique(parts):
        inside, outside = parts != part, parts == part
        kept, left_out = flock.only(inside), flock.only(outside)
        if not kept.descendants.any():
            continue
        theta = fit(phi[inside], kept, penalty)
        of_fit += deviance(phi[outside] @ theta, left_out)
        of_constant += deviance(phi[outside] @ _constant(phi[inside], kept), left_out)
    return 1.0 - of_fit / of_constant if of_constant > 0.0 else float("nan")


def best_penalty(phi: Floats, flock: Flock) -> tuple[float, float]:
    """The penalty whose fit explains most of runs left out of it, and that share. Where none
    explains anything, inf, which leaves the constant; where the runs are too few to tell, the
    largest."""
    shares = {penalty: explained(phi, flock, penalty) for penalty in PENALTIES}
    known = {penalty: share for penalty, share in shares.items() if np.isfinite(share)}
    if not known:
        return PENALTIES[-1], float("nan")
    best = max(known, key=lambda penalty: (known[penalty], penalty))
    return (best, known[best]) if known[best] > 0.0 else (np.inf, 0.0)


def thinned(flock: Flock, most: int, rng: np.random.Generator) -> Flock:
    """About `most` of the particles, drawn by their weights and by their descendants' and weighing
    as much more as they are fewer: every sum over the flock keeps its mean."""
    if len(flock) <= most:
        return flock
    share = _shares(np.exp(flock.log_w - flock.log_w.max())) + _shares(flock.descendants)
    p = np.minimum(1.0, most * 0.5 * share + 1e-12)
    kept = rng.random(len(flock)) < p
    thin = flock.only(kept)
    return Flock(thin.x, thin.log_w - np.log(p[kept]), thin.descendants / p[kept], thin.run)


def _shares(weights: Floats) -> Floats:
    total = float(weights.sum())
    return weights / total if total > 0.0 else weights


def tempered(descendants: Floats, weights: Floats, enough: float) -> tuple[Floats, float]:
    """(d, power): what a step's particles' descendants weigh, the ratios d / w raised to a power in
    (0, 1] and scaled to the same sum. The power is the largest of a few at which their effective
    number is `enough`, or half of those that have any: where one heavy path outweighs all others a
    fit would learn that path by heart, and the next round, which is run with this fit, sees more of
    them. weights (n,): of the particles in that step, as they were run."""
    living = descendants > 0.0
    if not living.any():
        return descendants, 1.0
    w, d = weights[living], descendants[living]
    level = d.sum() / weights.sum()
    wanted = min(enough, 0.25 * float(living.sum()))
    for power in (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1):
        flatter = w * (d / w / level) ** power
        if flatter.sum() ** 2 >= wanted * float((flatter**2).sum()):
            break
    result = np.zeros_like(descendants)
    result[living] = flatter * d.sum() / flatter.sum()
    return result, power
