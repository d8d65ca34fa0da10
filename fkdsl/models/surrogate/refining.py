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
from numpy.typing import NDArray

from fkdsl.models.surrogate.ahead import AHEAD, Positions, nats_ahead
from fkdsl.models.surrogate.counts import Parameters
from fkdsl.models.surrogate.gradient import GradientFit, LogLikelihood, ascended
from fkdsl.models.surrogate.head import Array
from fkdsl.models.surrogate.sample import NONE, Sample

RATES = {"weights": 5e-3, "bias": 5e-3, "log_transition": 1e-2, "log_own": 1e-2, "log_share": 1e-2}
"""Largest steps, of the numbers of rows and of the logarithms of the model's."""
LEAST_SCALE = 0.05
"""The least standard deviation of a log-probability (nats), of those that hardly vary."""
LEAST = 1e-8
"""Stands for a probability of zero, which has no logarithm."""
OWN, LEAST_OWN, FEW = 1.5, 3e-6, 1 << 20
"""A state has a number of its own for a token, in the place of its share of the unigram, if it
emits it with more than the first times that share, and with more than the second; and in any case
where there are at most so many pairs of a token and a state."""


def refinement_begun(
    model: Parameters, sample: Sample, unigram: NDArray[np.float64]
) -> GradientFit:
    """Numbers of rows of zero, beside a model: weights (K, H) and bias (H,) of standardised
    features, log_transition (H, H), and of the emissions

        columns[x, z] ~ own[x, z], where it has one, else share[z] unigram[x]

    log_own (E,) of the pairs (x, z) of `tokens` and `states` (E,), log_share (H,), and rest (H,)
    the unigram of the other tokens. Of a long vocabulary a state has seen few tokens, so E is a
    small part of V H."""
    mean, scale = scales(sample)
    H = len(model.start)
    of_unigram = unigram.astype(np.float32)[:, None]
    share = (model.columns / of_unigram).min(axis=0)
    own = (model.columns > OWN * share * of_unigram) & (model.columns > LEAST_OWN)
    tokens, states = np.nonzero(own | (own.size <= FEW))
    rest = 1.0 - np.bincount(states, of_unigram[tokens, 0], minlength=H)
    numbers = {
        "weights": np.zeros((len(mean), H), dtype=np.float32),
        "bias": np.zeros(H, dtype=np.float32),
        "log_transition": np.log(np.maximum(model.transition, LEAST)),
        "log_own": np.log(model.columns[tokens, states]),
        "log_share": np.log(share),
        "mean": mean,
        "scale": scale,
        "tokens": tokens.astype(np.int64),
        "states": states.astype(np.int64),
        "rest": np.maximum(rest, 0.0).astype(np.float32),
        "unigram": of_unigram[:, 0],
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
    numbers = fit.numbers
    share, own = np.exp(numbers["log_share"]), np.exp(numbers["log_own"])
    columns: Array = numbers["unigram"][:, None] * share
    columns[numbers["tokens"], numbers["states"]] = own
    columns /= columns.sum(axis=0)
    return Parameters(start, _softmax(numbers["log_transition"], axis=1), columns)


def _log_likelihood(fit: GradientFit, sample: Sample) -> LogLikelihood:
    mean, scale = torch.tensor(fit.numbers["mean"]), torch.tensor(fit.numbers["scale"])
    tokens, states = torch.tensor(fit.numbers["tokens"]), torch.tensor(fit.numbers["states"])
    unigram, rest = torch.tensor(fit.numbers["unigram"]), torch.tensor(fit.numbers["rest"])
    H = len(fit.numbers["log_share"])

    def log_p(numbers: Mapping[str, torch.Tensor], at: Positions) -> torch.Tensor:
        read = (torch.tensor(at.features(sample)) - mean) / scale
        belief = (read @ numbers["weights"] + numbers["bias"]).softmax(1)
        # Only the rows of tokens that follow these positions are made.
        ahead = at.ahead(sample)
        some, places = np.unique(np.maximum(ahead, 0), return_inverse=True)
        row_of = torch.full((len(unigram),), NONE)
        row_of[torch.tensor(some)] = torch.arange(len(some))
        own, share = numbers["log_own"].exp(), numbers["log_share"].exp()
        sums = share * rest + torch.zeros(H).index_add(0, states, own)
        rows = row_of[tokens]
        seen = torch.nonzero(rows >= 0)[:, 0]
        columns = unigram[torch.tensor(some)][:, None] * share
        columns = columns.index_put((rows[seen], states[seen]), own[seen])
        follow = np.where(ahead == NONE, NONE, places.reshape(ahead.shape))
        transition = numbers["log_transition"].softmax(1)
        return likelihood_ahead(belief, transition, columns / sums, torch.tensor(follow))

    return log_p


def likelihood_ahead(
    belief: torch.Tensor,
    transition: torch.Tensor,
    columns: torch.Tensor,
    ahead: torch.Tensor,
    first: int = 0,
) -> torch.Tensor:
    """Nats a token of the tokens `ahead` (m, AHEAD), rows of `columns`, NONE after a text's end,
    given a belief (m, H) of the state that emits the first. first: from which on they count; those
    before it are given."""
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
