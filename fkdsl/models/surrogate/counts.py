"""Expected counts of a hidden Markov model's events in texts, and the model that they make: the two
steps of expectation maximisation (Baum et al. 1970; Rabiner 1989, section III.C).

Texts are processed side by side, sorted by length, so that those that go on at a position are the
first rows of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.surrogate.model import Array, Surrogate
from fkdsl.models.surrogate.sample import Sample

START_WEIGHT = 0.5
"""Starts, shared out as states are frequent, that are added to those seen."""
LEAST = np.float32(1e-6)
"""Added where a state may never have been seen."""
UNSEEN = 1e-4
"""Share of the unigram that is spread over all tokens alike."""


@dataclass(frozen=True, eq=False)
class Parameters:
    """A hidden Markov model as it is fitted. start: (H,); transition: (H, H); columns: (V, H), the
    transposed emissions. All float32."""

    start: Array
    transition: Array
    columns: Array

    def surrogate(self, fingerprint: str) -> Surrogate:
        return Surrogate.of(self.start, self.transition, self.columns.T, fingerprint)

    @classmethod
    def of(cls, surrogate: Surrogate) -> Parameters:
        return cls(surrogate.start, surrogate.transition, surrogate.emission.T)


@dataclass(frozen=True, eq=False)
class Counts:
    """Expected counts. start: (H,) of states at a text's first token; transition: (H, H) of moves;
    emission: (V, H) of tokens in states. All float32. log_p: nats of the texts, their prompts
    included."""

    start: Array
    transition: Array
    emission: Array
    log_p: float = 0.0

    @classmethod
    def zero(cls, states: int, tokens: int) -> Counts:
        return cls(
            np.zeros(states, dtype=np.float32),
            np.zeros((states, states), dtype=np.float32),
            np.zeros((tokens, states), dtype=np.float32),
        )

    def copy(self) -> Counts:
        return Counts(self.start.copy(), self.transition.copy(), self.emission.copy())

    def moved_towards(self, other: Counts, share: float, scale: float) -> Counts:
        """(1 - share) of these counts plus `share` of `scale` times others: a step of online EM.
        Both are written to: the sum takes their arrays over."""
        pairs = (
            (self.start, other.start),
            (self.transition, other.transition),
            (self.emission, other.emission),
        )
        for mine, theirs in pairs:
            mine *= np.float32(1 - share)
            theirs *= np.float32(share * scale)
            mine += theirs
        return Counts(self.start, self.transition, self.emission)

    def parameters(self, unigram: NDArray[np.float64]) -> Parameters:
        """The model that the counts make. unigram: (V,), all positive, sums to 1.

        A state that was seen to emit d different tokens in n emissions emits by the unigram with
        probability d / (n + d), and moves likewise (Witten and Bell 1991, method C). A count below
        1 is as much of a token seen.
        """
        seen = np.minimum(self.emission, 1).sum(axis=0) + LEAST
        columns = self.emission + unigram.astype(np.float32)[:, None] * seen
        columns /= columns.sum(axis=0)
        states = self.transition.sum(axis=0) + LEAST
        states /= states.sum()
        seen = np.minimum(self.transition, 1).sum(axis=1) + LEAST
        transition = self.transition + seen[:, None] * states
        transition /= transition.sum(axis=1, keepdims=True)
        start = self.start + np.float32(START_WEIGHT) * states
        return Parameters(start / start.sum(), transition, columns)


def unigram_of(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V,) the mean of a sample's rows, all positive. It is less rough than the frequencies of the
    tokens that were drawn from the rows, which are zero for most of a long vocabulary."""
    share = total / total.sum()
    unigram: NDArray[np.float64] = (1 - UNSEEN) * share + UNSEEN / len(total)
    return unigram


def expected_counts(model: Parameters, sample: Sample, texts: NDArray[np.intp]) -> Counts:
    """The expected counts of some texts of a sample under a model, by the forward and the backward
    pass. Each position of the forward pass is scaled to sum to 1."""
    lengths = sample.lengths[texts]
    order = np.argsort(-lengths, kind="stable")
    lengths, tokens = lengths[order], sample.tokens[texts[order]]
    widths = [int((lengths > k).sum()) for k in range(int(lengths[0]))]
    columns = [model.columns[tokens[:n, k]] for k, n in enumerate(widths)]
    filtered: list[Array] = []  # of each position: (n, H) P(z_k | x_1 .. x_k)
    scales: list[Array] = []  # (n, 1) P(x_k | x_1 .. x_{k-1})
    ahead = np.tile(model.start, (len(texts), 1))
    for emitted in columns:
        joint = ahead[: len(emitted)] * emitted
        scales.append(joint.sum(axis=1, keepdims=True))
        filtered.append(joint / scales[-1])
        ahead = filtered[-1] @ model.transition
    moves = np.zeros_like(model.transition)
    smoothed: list[Array] = [filtered[-1]]
    backward = np.ones_like(filtered[-1])
    for k in range(len(widths) - 2, -1, -1):
        following = columns[k + 1] * backward / scales[k + 1]
        n = len(following)
        moves += filtered[k][:n].T @ following
        backward = np.ones_like(filtered[k])
        backward[:n] = following @ model.transition.T
        smoothed.append(filtered[k] * backward)
    smoothed.reverse()
    places = np.concatenate([tokens[:n, k] for k, n in enumerate(widths)])
    return Counts(
        smoothed[0].sum(axis=0),
        model.transition * moves,
        summed_by(places, np.concatenate(smoothed), len(model.columns)),
        float(sum(np.log(s.astype(np.float64)).sum() for s in scales)),
    )


def summed_by(places: NDArray[np.integer], rows: Array, size: int) -> Array:
    """(size, H) the sum of the rows (n, H) of each place (n,)."""
    result = np.zeros((size, rows.shape[1]), dtype=np.float32)
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    firsts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    result[ordered[firsts]] = np.add.reduceat(rows[order], firsts, axis=0)
    return result


def nats_per_token(model: Parameters, sample: Sample, batch: int = 256) -> float:
    """-log P(token | all before it) under a model, the mean over the tokens that were drawn."""
    order = np.argsort(-sample.lengths, kind="stable")
    total = 0.0
    for i in range(0, len(order), batch):
        texts = order[i : i + batch]
        tokens, given, lengths = sample.tokens[texts], sample.given[texts], sample.lengths[texts]
        ahead = np.tile(model.start, (len(texts), 1))
        for k in range(int(lengths[0])):
            n = int((lengths > k).sum())
            joint = ahead[:n] * model.columns[tokens[:n, k]]
            p = joint.sum(axis=1)
            total += float(np.log(p[given[:n] <= k].astype(np.float64)).sum())
            ahead = (joint / p[:, None]) @ model.transition
    return -total / sample.drawn


def counts_of_labels(
    tokens: NDArray[np.int32], labels: NDArray[np.intp], states: int, size: int
) -> Counts:
    """The counts where the hidden state of each token is known. tokens, labels: (n, L); a label
    below 0 is not known, and counts nothing."""
    known = labels >= 0
    counts = Counts.zero(states, size)
    np.add.at(counts.emission, (tokens[known], labels[known]), 1)
    both = known[:, :-1] & known[:, 1:]
    np.add.at(counts.transition, (labels[:, :-1][both], labels[:, 1:][both]), 1)
    np.add.at(counts.start, labels[:, 0][known[:, 0]], 1)
    return counts


def batches(n: int, rows: int, key: Sequence[int]) -> list[NDArray[np.intp]]:
    """The numbers below n in a random order, in batches of about `rows`. A function of the
    arguments alone."""
    order = np.random.default_rng(key).permutation(n)
    return np.array_split(order, max(1, n // rows))
