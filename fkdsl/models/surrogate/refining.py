"""Fits a hidden Markov model that EM has made to what a run asks of it: by gradient ascent of the
likelihood of the next tokens, begun from a state that the model's row tells.

    log P(x_k .. x_{k+AHEAD-1} | z_k ~ softmax(weights^T features(row_k) + bias))

EM fits states to all of a text by a filter alone. Here each position's row, which knows what comes
better than any filter, says in which state the text is, so that states become what rows tell and
the next tokens show. The numbers of rows (weights, bias) are thrown away: head_fitting.py has those
that are kept. They begin at zero, so all of it is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from fkdsl.models.surrogate.ahead import AHEAD, Positions, nats_ahead
from fkdsl.models.surrogate.counts import Parameters
from fkdsl.models.surrogate.gradient import GradientFit, LogLikelihood, ascended
from fkdsl.models.surrogate.head import Array
from fkdsl.models.surrogate.sample import NONE, Sample

RATES = {"weights": 5e-3, "bias": 5e-3, "log_transition": 1e-2, "log_columns": 1e-2}
"""Largest steps, of the numbers of rows and of the logarithms of the model's."""
LEAST_SCALE = 0.05
"""The least standard deviation of a log-probability (nats), of those that hardly vary."""
LEAST = 1e-8
"""Stands for a probability of zero, which has no logarithm."""


def refinement_begun(model: Parameters, sample: Sample) -> GradientFit:
    """Numbers of rows of zero, beside a model: weights (K, H) and bias (H,) of standardised
    features, log_transition (H, H), log_columns (V, H)."""
    mean, scale = scales(sample)
    H = len(model.start)
    numbers = {
        "weights": np.zeros((len(mean), H), dtype=np.float32),
        "bias": np.zeros(H, dtype=np.float32),
        "log_transition": np.log(np.maximum(model.transition, LEAST)),
        "log_columns": np.log(np.maximum(model.columns, LEAST)),
        "mean": mean,
        "scale": scale,
    }
    return GradientFit.begun(numbers, RATES)


def scales(sample: Sample) -> tuple[Array, Array]:
    """(K,) each: the mean and the standard deviation of what a head reads."""
    read = Positions.of(sample).features(sample)
    mean, scale = read.mean(axis=0, dtype=np.float64), read.std(axis=0, dtype=np.float64)
    return mean.astype(np.float32), np.maximum(scale, LEAST_SCALE).astype(np.float32)


def refined(
    fit: GradientFit,
    start: Array,
    sample: Sample,
    held_out: Sample,
    passes: int,
    seed: int,
    *,
    save: Callable[[GradientFit], None] = lambda fit: None,
    observer: Callable[[int, int, float], None] = lambda done, total, nats: None,
) -> GradientFit:
    """The fit after all passes that are missing; see `ascended`. start: (H,) the law of a text's
    first state, which is not fitted. The figure is nats a token of the next AHEAD held-out ones, by
    the filter."""
    return ascended(
        fit,
        RATES,
        _log_likelihood(fit, sample),
        Positions.of(sample),
        passes,
        seed,
        measure=lambda fit: nats_ahead(refined_model(fit, start), held_out)[1],
        save=save,
        observer=observer,
    )


def refined_model(fit: GradientFit, start: Array) -> Parameters:
    """The hidden Markov model of a fit."""
    return Parameters(
        start,
        _softmax(fit.numbers["log_transition"], axis=1),
        _softmax(fit.numbers["log_columns"], axis=0),
    )


def _log_likelihood(fit: GradientFit, sample: Sample) -> LogLikelihood:
    mean, scale = torch.tensor(fit.numbers["mean"]), torch.tensor(fit.numbers["scale"])

    def log_p(numbers: Mapping[str, torch.Tensor], at: Positions) -> torch.Tensor:
        read = (torch.tensor(at.features(sample)) - mean) / scale
        belief = (read @ numbers["weights"] + numbers["bias"]).softmax(1)
        transition, columns = (
            numbers["log_transition"].softmax(1),
            numbers["log_columns"].softmax(0),
        )
        return likelihood_ahead(belief, transition, columns, torch.tensor(at.ahead(sample)))

    return log_p


def likelihood_ahead(
    belief: torch.Tensor,
    transition: torch.Tensor,
    columns: torch.Tensor,
    ahead: torch.Tensor,
    first: int = 0,
) -> torch.Tensor:
    """Nats a token of the tokens `ahead` (m, AHEAD), NONE after a text's end, given a belief (m, H)
    of the state that emits the first. first: from which on they count; those before it are
    given."""
    log_p, tokens = torch.zeros(()), int((ahead[:, first:] != NONE).sum())
    for k in range(AHEAD):
        going = ahead[:, k] != NONE
        if not bool(going.all()):
            belief, ahead = belief[going], ahead[going]
        joint = belief * columns[ahead[:, k]]
        p = joint.sum(1, keepdim=True).clamp(min=1e-30)
        if k >= first:
            log_p = log_p + p.log().sum()
        belief = joint / p @ transition
    return log_p / max(tokens, 1)


def _softmax(logs: Array, axis: int) -> Array:
    p: Array = np.exp(logs - logs.max(axis=axis, keepdims=True))
    p /= p.sum(axis=axis, keepdims=True)
    return p
