"""Fits a surrogate to a sample: by online expectation maximisation from clusters of contexts, or as
a bigram of classes of tokens.

Online EM (Cappe and Moulines 2009, section 2.2) moves the expected counts towards those of each
batch of texts, by a share that falls with the batches. A few passes over the texts come further
than four times as many of plain EM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.surrogate.clusters import context_labels, token_classes
from fkdsl.models.surrogate.counts import (
    Counts,
    batches,
    counts_of_labels,
    expected_counts,
    nats_per_token,
)
from fkdsl.models.surrogate.sample import NONE, Sample

KINDS = ("hmm", "bigram")
DECAY = 0.5
"""The share of a batch falls as (number of batches + 2) ** -DECAY."""
TEXTS, BATCHES = 64, 100
"""The least texts in a batch, and the most batches of a pass, where there are so many texts."""


@dataclass(frozen=True)
class FitSettings:
    """kind: "hmm", or "bigram" for a bigram of classes of tokens, whose hidden state is the class.
    states: H. passes: over all texts, of EM; none for a bigram."""

    kind: str = "hmm"
    states: int = 256
    passes: int = 5
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Fit:
    """A fit so far. passes: that are done. steps: batches that are done, over all passes. curve:
    nats a held-out token, before the first pass and after each."""

    counts: Counts
    passes: int = 0
    steps: int = 0
    curve: tuple[float, ...] = field(default=())

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {
            "start": self.counts.start,
            "transition": self.counts.transition,
            "emission": self.counts.emission,
            "done": np.array([self.passes, self.steps]),
            "curve": np.array(self.curve),
        }

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> Fit:
        counts = Counts(tensors["start"], tensors["transition"], tensors["emission"])
        passes, steps = tensors["done"].tolist()
        return cls(counts, passes, steps, tuple(tensors["curve"].tolist()))


def begun(sample: Sample, held_out: Sample, settings: FitSettings, unigram: Any) -> Fit:
    """The counts of the first labels: of contexts for a hidden Markov model, of tokens for a bigram
    of classes."""
    if settings.kind == "bigram":
        classes = token_classes(sample.tokens, len(unigram), settings.states)
        labels = np.where(sample.tokens == NONE, -1, classes[np.maximum(sample.tokens, 0)])
    else:
        labels = context_labels(sample, settings.states, settings.seed)
    counts = counts_of_labels(sample.tokens, labels, settings.states, len(unigram))
    return Fit(counts, curve=(nats_per_token(counts.parameters(unigram), held_out),))


def fitted(
    fit: Fit,
    sample: Sample,
    held_out: Sample,
    settings: FitSettings,
    unigram: NDArray[np.float64],
    *,
    save: Callable[[Fit], None] = lambda fit: None,
    observer: Callable[[int, int, float], None] = lambda done, total, nats: None,
) -> Fit:
    """The fit after all passes that are missing. save: is told after each pass. observer: is told
    after each batch (batches done, batches of all passes, the last figure on the held-out texts).

    A function of its arguments alone: a fit that is read back after a pass goes on to the same end.
    """
    passes = 0 if settings.kind == "bigram" else settings.passes
    n = len(sample.tokens)
    while fit.passes < passes:
        order = batches(n, max(TEXTS, n // BATCHES), (settings.seed, fit.passes))
        counts, steps = fit.counts.copy(), fit.steps
        model = counts.parameters(unigram)
        for texts in order:
            seen = expected_counts(model, sample, texts)
            # The labels' counts are one guess at all states: nothing of them is kept.
            share = (steps + 2) ** -DECAY if steps else 1.0
            counts = counts.moved_towards(seen, share, n / len(texts))
            steps += 1
            model = counts.parameters(unigram)
            observer(steps, passes * len(order), fit.curve[-1])
        nats = nats_per_token(model, held_out)
        fit = Fit(counts, fit.passes + 1, steps, (*fit.curve, nats))
        save(fit)
    return fit
