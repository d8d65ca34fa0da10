"""How well a surrogate tells the next tokens of held-out texts: from what its filter says of the
state, and from what its head says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.surrogate.counts import Parameters
from fkdsl.models.surrogate.head import Array, Head, features
from fkdsl.models.surrogate.sample import NONE, Sample

AHEAD = 8
"""Tokens that are told from a position on."""
BATCH = 1024
"""Positions at a time."""


@dataclass(frozen=True, eq=False)
class Positions:
    """The positions (n,) of a sample from which a token was drawn: the text of each, and its place
    there."""

    texts: NDArray[np.intp]
    places: NDArray[np.intp]

    @classmethod
    def of(cls, sample: Sample) -> Positions:
        places = np.arange(sample.tokens.shape[1])
        drawn = (places >= sample.given[:, None]) & (sample.tokens != NONE)
        return cls(*np.nonzero(drawn))

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, some: NDArray[np.intp]) -> Positions:
        return Positions(self.texts[some], self.places[some])

    def features(self, sample: Sample) -> Array:
        """(n, K) what a head reads there."""
        return features(sample.features[self.texts, self.places])

    def ahead(self, sample: Sample) -> NDArray[np.int64]:
        """(n, AHEAD) the tokens from there on, NONE after a text's end."""
        length = sample.tokens.shape[1]
        places = self.places[:, None] + np.arange(AHEAD)
        tokens = sample.tokens[self.texts[:, None], np.minimum(places, length - 1)]
        return np.where(places < length, tokens, NONE).astype(np.int64)


def nats_ahead(model: Parameters, sample: Sample, head: Head | None = None) -> tuple[float, float]:
    """-log P(token) by a model begun from what the head says, or from what the filter says without
    one: of the next token, and of each of the AHEAD - 1 after it; means over the drawn positions of
    a sample."""
    positions = Positions.of(sample)
    beliefs = filtered(model, sample)
    sums, counts = np.zeros(AHEAD), np.zeros(AHEAD)
    for some in np.array_split(np.arange(len(positions)), len(positions) // BATCH + 1):
        at = positions.part(some)
        belief = beliefs[at.texts, at.places].astype(np.float32)
        if head is not None:
            belief = head.of_features(at.features(sample), belief)
        ahead = at.ahead(sample)
        for k in range(AHEAD):
            going = ahead[:, k] != NONE
            ahead, belief = ahead[going], belief[going]
            joint = belief * model.columns[ahead[:, k]]
            p = joint.sum(axis=1, keepdims=True)
            sums[k] -= float(np.log(p, dtype=np.float64).sum())
            counts[k] += len(p)
            belief = joint / p @ model.transition
    return float(sums[0] / counts[0]), float(sums[1:].sum() / max(counts[1:].sum(), 1))


def filtered(model: Parameters, sample: Sample) -> NDArray[np.float16]:
    """(n, L, H) the law of the state that emits each token, given all before it."""
    n, length = sample.tokens.shape
    result = np.zeros((n, length, len(model.start)), dtype=np.float16)
    ahead = np.tile(model.start, (n, 1))
    for k in range(length):
        result[:, k] = ahead
        going = sample.tokens[:, k] != NONE
        joint = ahead[going] * model.columns[sample.tokens[going, k]]
        ahead[going] = joint / joint.sum(axis=1, keepdims=True) @ model.transition
    return result
