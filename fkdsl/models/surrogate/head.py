"""A surrogate's head: what the language model itself says of the hidden state.

A filter knows of a text what its last tokens say to the surrogate. The model's own row of the next
token knows the whole text, the prompt too. Log-probabilities are a linear function of a model's
last hidden vector, up to a constant, so those of some hundred tokens say what the vector says, for
every kind of model (LTLA, Yidou-Weng et al. 2025, arXiv 2511.16054, has a head on the vector):

    P(z | row, text) ~ exp(weights^T max(row[tokens], LEAST) + bias) filter(z)^share
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.quick_dataclass import dataclass

Array = NDArray[np.float32]

LEAST = -20.0
"""Log-probabilities (nats) below it are taken for it: a table has tokens of probability zero."""
TOKENS = 256
"""Tokens that a head reads the log-probabilities of."""
LEAST_BELIEF = 1e-8
"""Probabilities of the filter below it are taken for it."""


@dataclass(frozen=True, eq=False)
class Head:
    """tokens: (K,) int64. weights: (K, H) float32. bias: (H,) float32. share: of the filter."""

    tokens: NDArray[np.int64]
    weights: Array = field(repr=False)
    bias: Array = field(repr=False)
    share: float = 0.0

    def belief(self, row: NDArray[Any], filtered: Array) -> Array:
        """(H,) float32: the law of the state that emits the next token, given the log-probabilities
        of the next token (V,), nats, and the filter's law (H,). Pure."""
        return self.of_features(features(row[self.tokens]), filtered)

    def of_features(self, read: Array, filtered: Array) -> Array:
        """(..., H) likewise, given the features (..., K) of rows."""
        logits = read @ self.weights + self.bias
        logits += np.float32(self.share) * np.log(np.maximum(filtered, LEAST_BELIEF))
        belief: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
        belief /= belief.sum(axis=-1, keepdims=True)
        return belief


def features(log_probs: NDArray[Any]) -> Array:
    """What a head reads of log-probabilities (nats) of its tokens, of the same shape."""
    cut: Array = np.maximum(log_probs, LEAST).astype(np.float32)
    return cut
