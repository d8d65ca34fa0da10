"""What a surrogate is compared with on held-out texts: the unigram, and the bigram that backs off
to it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fkdsl.models.surrogate.sample import NONE, Sample


def unigram_nats(held_out: Sample, unigram: NDArray[np.float64]) -> float:
    """-log P(token), the mean over the held-out tokens that were drawn."""
    positions = np.arange(held_out.tokens.shape[1])
    drawn = (positions >= held_out.given[:, None]) & (held_out.tokens != NONE)
    return float(-np.log(unigram[held_out.tokens[drawn]]).mean())


def bigram_nats(training: Sample, held_out: Sample, unigram: NDArray[np.float64]) -> float:
    """-log P(token | the one before), likewise. After a token that was followed by d different ones
    in n places, the unigram has weight d / (n + d) (Witten and Bell 1991, method C)."""
    pairs: Counter[tuple[int, int]] = Counter()
    for text in training.tokens.tolist():
        pairs.update((a, b) for a, b in pairwise(text) if b != NONE)
    follow: Counter[int] = Counter()
    different = Counter(a for a, _ in pairs)
    for (a, _), n in pairs.items():
        follow[a] += n
    total = 0.0
    for text, given in zip(held_out.tokens.tolist(), held_out.given.tolist(), strict=True):
        for k, b in enumerate(text):
            if k < given or b == NONE:
                continue
            # No token stands before the first one, and of some nothing is known.
            a = text[k - 1] if k else NONE
            n, d = follow[a], different[a]
            p = (pairs[a, b] + d * unigram[b]) / (n + d) if n else unigram[b]
            total -= float(np.log(p))
    return total / held_out.drawn
