"""Fits a surrogate's head: gradient ascent of the likelihood of the tokens that follow the next
one, under the hidden Markov model begun from what the head and the filter say,

    log P(x_{k+1} .. x_{k+AHEAD-1} | x_k, z_k ~ head(row_k, filter_k))

The next token itself is given. A run has the model's own law of it, and asks the surrogate what
comes after; a head that is fitted to tell x_k as well knows of the rest less than the filter. The
head begins as the filter, with share 1 and the other numbers at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from fkdsl.models.surrogate.ahead import Positions, filtered, nats_ahead
from fkdsl.models.surrogate.counts import Parameters
from fkdsl.models.surrogate.gradient import GradientFit, LogLikelihood, ascended
from fkdsl.models.surrogate.head import LEAST_BELIEF, Head
from fkdsl.models.surrogate.refining import likelihood_ahead, scales
from fkdsl.models.surrogate.sample import Sample

RATES = {"weights": 5e-3, "bias": 5e-3, "share": 5e-3}
"""Largest steps."""


def head_begun(states: int, sample: Sample) -> GradientFit:
    """The filter: weights (K, H) and bias (H,) of standardised features, and share (1,)."""
    mean, scale = scales(sample)
    numbers = {
        "weights": np.zeros((len(mean), states), dtype=np.float32),
        "bias": np.zeros(states, dtype=np.float32),
        "share": np.ones(1, dtype=np.float32),
        "mean": mean,
        "scale": scale,
    }
    return GradientFit.begun(numbers, RATES)


def head_fitted(
    fit: GradientFit,
    model: Parameters,
    sample: Sample,
    held_out: Sample,
    passes: int,
    seed: int,
    *,
    save: Callable[[GradientFit], None] = lambda fit: None,
    observer: Callable[[int, int, float], None] = lambda done, total, nats: None,
) -> GradientFit:
    """The fit after all passes that are missing; see `ascended`. The figure is nats a token of the
    AHEAD - 1 held-out ones that follow the next."""
    return ascended(
        fit,
        RATES,
        _log_likelihood(fit, model, sample),
        Positions.of(sample),
        passes,
        seed,
        measure=lambda fit: nats_ahead(model, held_out, head_of(fit))[1],
        save=save,
        observer=observer,
    )


def head_of(fit: GradientFit, tokens: NDArray[np.int64] | None = None) -> Head:
    """The head of a fit. tokens: (K,) whose log-probabilities it reads."""
    numbers = fit.numbers
    # A file keeps 16 bits of a weight; the bias goes with those that it keeps.
    weights = (numbers["weights"] / numbers["scale"][:, None]).astype(np.float16)
    weights = weights.astype(np.float32)
    bias = (numbers["bias"] - numbers["mean"] @ weights).astype(np.float32)
    read = np.arange(len(weights)) if tokens is None else tokens
    return Head(read, weights, bias, float(numbers["share"][0]))


def _log_likelihood(fit: GradientFit, model: Parameters, sample: Sample) -> LogLikelihood:
    mean, scale = torch.tensor(fit.numbers["mean"]), torch.tensor(fit.numbers["scale"])
    transition, columns = torch.tensor(model.transition), torch.tensor(model.columns)
    beliefs = filtered(model, sample)

    def log_p(numbers: Mapping[str, torch.Tensor], at: Positions) -> torch.Tensor:
        read = (torch.tensor(at.features(sample)) - mean) / scale
        belief = torch.tensor(beliefs[at.texts, at.places].astype(np.float32))
        logits = read @ numbers["weights"] + numbers["bias"]
        logits = logits + numbers["share"] * belief.clamp(min=LEAST_BELIEF).log()
        ahead = torch.tensor(at.ahead(sample))
        return likelihood_ahead(logits.softmax(1), transition, columns, ahead, first=1)

    return log_p
