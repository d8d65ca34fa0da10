"""Hidden states to begin with: clusters of contexts by their futures, and classes of tokens.

A hidden Markov model that begins from random numbers needs many passes over the texts, and ends in
a worse place. So each position of a sample is labelled first by k-means over sketches of the row
that follows it: contexts that the model goes on from alike have one label. That is the distillation
of latent variables of Liu et al. 2023 (arXiv 2210.04398), with rows in place of hidden vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.surrogate.counts import summed_by
from fkdsl.models.surrogate.model import Array
from fkdsl.models.surrogate.sample import NONE, Sample

ROUNDS = 12
"""Of k-means."""
SWEEPS = 4
"""Over all tokens, of the exchange algorithm."""
ROWS = 4096
"""Vectors that are compared with all centres at a time."""


def context_labels(sample: Sample, states: int, seed: int) -> NDArray[np.intp]:
    """(n, L) the cluster of each context that ends with a token, -1 where no row follows it."""
    follows = np.zeros(sample.tokens.shape, dtype=bool)
    k = np.arange(sample.tokens.shape[1])
    follows[:, :-1] = ((k >= sample.given[:, None]) & (sample.tokens != NONE))[:, 1:]
    vectors = sample.sketch[:, 1:][follows[:, :-1]].astype(np.float32)
    labels = np.full(sample.tokens.shape, -1, dtype=np.intp)
    labels[follows] = clustered(vectors, states, seed)
    return labels


def clustered(vectors: Array, k: int, seed: int) -> NDArray[np.intp]:
    """(n,) the clusters of vectors (n, D) by Lloyd's algorithm, begun from k of them."""
    if not len(vectors):
        return np.zeros(0, dtype=np.intp)
    rng = np.random.default_rng((seed, k))
    centres = vectors[rng.choice(len(vectors), k, replace=len(vectors) < k)]
    labels = np.zeros(len(vectors), dtype=np.intp)
    for _ in range(ROUNDS):
        norms = (centres**2).sum(axis=1)
        for i in range(0, len(vectors), ROWS):
            labels[i : i + ROWS] = (norms - 2 * vectors[i : i + ROWS] @ centres.T).argmin(axis=1)
        sizes = np.bincount(labels, minlength=k)
        means = summed_by(labels, vectors, k) / np.maximum(sizes, 1)[:, None]
        # An empty cluster begins again from a vector drawn at random.
        others = vectors[rng.choice(len(vectors), k)]
        centres = np.where(sizes[:, None] > 0, means, others)
    return labels


def token_classes(tokens: NDArray[np.int32], size: int, classes: int) -> NDArray[np.intp]:
    """(V,) a class for each token, -1 for one that is not in the texts (n, L).

    By the exchange algorithm (Martin, Liermann and Ney 1998): each token in turn is moved to the
    class in which the likelihood of the texts under a bigram of classes is largest. The most
    frequent tokens begin in classes of their own, the others in the last one.
    """
    pairs = Counter(
        zip(
            *(side[(tokens[:, 1:] != NONE)].tolist() for side in (tokens[:, :-1], tokens[:, 1:])),
            strict=True,
        )
    )
    frequency = np.bincount(tokens[tokens != NONE], minlength=size)
    order = np.argsort(-frequency, kind="stable")[: int((frequency > 0).sum())]
    result = np.full(size, -1, dtype=np.intp)
    result[order] = np.minimum(np.arange(len(order)), classes - 1)
    if len(order) <= classes:
        return result
    neighbours = _Neighbours(pairs, size)
    bigram = np.zeros((classes, classes))
    for (a, b), n in pairs.items():
        bigram[result[a], result[b]] += n
    for _ in range(SWEEPS):
        moved = sum(_exchange(token, result, bigram, neighbours) for token in order.tolist())
        if not moved:
            break
    return result


class _Neighbours:
    """The tokens after and before each token, with their counts."""

    def __init__(self, pairs: Counter[tuple[int, int]], size: int) -> None:
        self.after: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        self.before: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        for (a, b), n in pairs.items():
            self.after[a].append((b, n))
            self.before[b].append((a, n))


def _by_class(
    neighbours: Sequence[tuple[int, int]], classes: NDArray[np.intp], k: int
) -> NDArray[np.float64]:
    """(k,) how many of the neighbours are in each class."""
    if not neighbours:
        return np.zeros(k)
    tokens, counts = np.array(neighbours).T
    return np.bincount(classes[tokens], counts.astype(np.float64), k).astype(np.float64)


def _exchange(
    token: int, classes: NDArray[np.intp], bigram: NDArray[np.float64], neighbours: _Neighbours
) -> bool:
    """Moves a token to its best class; returns whether that is another one.

    The part of the log-likelihood that depends on the classes is the sum of N log N over the pairs
    of classes, less the sums over their two margins. A token's pairs with itself are left out.
    """
    k, own = len(bigram), int(classes[token])
    after, before = (
        _by_class([(t, n) for t, n in side[token] if t != token], classes, k)
        for side in (neighbours.after, neighbours.before)
    )
    bigram[own] -= after
    bigram[:, own] -= before
    gain = np.zeros(k)
    for counts, table in ((after, bigram), (before, bigram.T)):
        seen = np.flatnonzero(counts)
        gain += (_n_log_n(table[:, seen] + counts[seen]) - _n_log_n(table[:, seen])).sum(axis=1)
        margin = table.sum(axis=1)
        gain -= _n_log_n(margin + counts.sum()) - _n_log_n(margin)
    best = int(gain.argmax())
    # Only what is better by more than rounding moves, so that the sweeps end.
    new = best if gain[best] > gain[own] + 1e-6 else own
    itself = next((n for t, n in neighbours.after[token] if t == token), 0)
    bigram[new] += after
    bigram[:, new] += before
    bigram[own, own] -= itself
    bigram[new, new] += itself
    classes[token] = new
    return new != own


def _n_log_n(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = counts * np.log(np.maximum(counts, 1e-12))
    return result
