"""Bits per byte on held-out text: of each head, of gzip and xz, and of an n-gram; and how far the
heads' drafts go.

A symbol is a byte or END, which stands for what was between two documents; for the compressors it
is one byte more. Every figure is bits in all / symbols in all, so that they compare.
"""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from fkdsl.models.tiny.data import Documents
from fkdsl.models.tiny.links import Links
from fkdsl.models.tiny.transformer import END, SYMBOLS, Transformer

WINDOWS_AT_ONCE = 16


def model_bits(
    model: Transformer, documents: Documents, window: int | None = None, most: int | None = None
) -> list[float]:
    """Bits per byte of each head: mean of -log2 p(symbol i + k | symbols before i + 1).

    Windows (of the model's context, if nothing is said) overlap by half and only their second half
    counts, so that each symbol is predicted from half a window or more. most: about so many
    symbols, in windows spread evenly over the text.
    """
    T, n = window or model.shape.context, model.shape.ahead
    nats, counts = np.zeros(n), np.zeros(n)
    with torch.inference_mode():
        for rows, counted in _windows(documents, T, n, most):
            z = model.trunk(rows[:, :T].clamp(min=0))
            for k in range(1, n + 1):
                aims = torch.where(counted, rows[:, k : k + T], -1)
                logits = model.head(k, z).flatten(0, 1)
                nats[k - 1] += cross_entropy(
                    logits, aims.flatten(), ignore_index=-1, reduction="sum"
                ).item()
                counts[k - 1] += int((aims >= 0).sum())
    return [float(b) for b in nats / np.maximum(counts, 1) / math.log(2)]


def _windows(
    documents: Documents, T: int, n: int, most: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of windows: symbols (B, T + n), -1 beyond the text, and (B, T) which of their
    positions count."""
    symbols = torch.from_numpy(documents.symbols.astype(np.int64))
    half = T // 2
    firsts = list(range(0, max(1, len(symbols) - half - n + 1), half))
    if most is not None and len(firsts) * half > most:
        firsts = firsts[:: math.ceil(len(firsts) * half / most)]
    padded = torch.cat((symbols, torch.full((T + n,), -1)))
    for at in range(0, len(firsts), WINDOWS_AT_ONCE):
        rows = torch.stack([padded[f : f + T + n] for f in firsts[at : at + WINDOWS_AT_ONCE]])
        counted = torch.ones(len(rows), T, dtype=torch.bool)
        counted[:, :half] = torch.tensor([f == 0 for f in firsts[at : at + WINDOWS_AT_ONCE]])[
            :, None
        ]
        yield rows, counted


@dataclass(frozen=True)
class DraftQuality:
    """How well heads 2..n draft. bits: per byte, of each. accepted: mean over the text of sum_x
    min(p(x), q(x)), the probability that speculative sampling at temperature 1 keeps a symbol that
    the head drafts after the text's own. tokens: mean of 1 + a_2 + a_2 a_3 + .., of these
    probabilities: tokens for each forward of the model."""

    bits: tuple[float, ...]
    accepted: tuple[float, ...]
    tokens: float


def draft_quality(
    model: Transformer, linked: Sequence[Links], documents: Documents, most: int | None = None
) -> list[DraftQuality]:
    """How well a model's heads draft with each of some links, on the windows of `model_bits`."""
    T, n = model.shape.context, model.shape.ahead
    L = max(0, T - n + 1)  # positions whose rows of p, up to n - 1 places on, are within the window
    sums, count = np.zeros((len(linked), 3, n - 1)), 0
    with torch.inference_mode():
        for rows, counted in _windows(documents, T, n, most):
            here = counted[:, :L] & (rows[:, n : n + L] >= 0)
            count += int(here.sum())
            x = rows.clamp(min=0)
            z = model.trunk(x[:, :T])
            p = model.head(1, z).softmax(-1)
            apart = {k: model.head(k, z)[:, :L] for k in range(2, n + 1)}
            for links, total in zip(linked, sums, strict=True):
                so_far = torch.ones(here.shape)
                for k, logits in apart.items():
                    log_q = (logits + links.added(k, x, L)).log_softmax(-1)
                    nats = -log_q.gather(-1, x[:, k : k + L, None])[..., 0]
                    kept = torch.minimum(p[:, k - 1 : k - 1 + L], log_q.exp()).sum(-1)
                    so_far = so_far * kept
                    total[:, k - 2] += [float(t[here].sum()) for t in (nats, kept, so_far)]
    means = sums / max(count, 1)
    return [
        DraftQuality(
            tuple((nats / math.log(2)).tolist()), tuple(kept.tolist()), 1.0 + float(so_far.sum())
        )
        for nats, kept, so_far in means
    ]


def gzip_bits(held_out: Documents) -> float:
    """Of the held-out text alone, at gzip's highest level."""
    raw = _bytes(held_out)
    return 8 * len(gzip.compress(raw, 9)) / len(raw)


def xz_bits(held_out: Documents, training: Documents | None = None) -> float:
    """Of the held-out text alone, or as what it adds to the training text; at xz's highest
    level."""
    raw, before = _bytes(held_out), b"" if training is None else _bytes(training)
    size = len(lzma.compress(before + raw, preset=9 | lzma.PRESET_EXTREME))
    return (
        8
        * (size - (len(lzma.compress(before, preset=9 | lzma.PRESET_EXTREME)) if before else 0))
        / len(raw)
    )


def ngram_bits(training: Documents, held_out: Documents, n: int = 5) -> float:
    """Of an n-gram of symbols counted on the training text, with interpolated Witten-Bell
    smoothing:

    p(x | h) = (c(hx) + D(h) p(x | h')) / (c(h) + D(h)), where c counts, D(h) is how many symbols
    were seen after h, h' is h without its first symbol, and p(x) after less than nothing is 1/V
    (Witten and Bell 1991; Chen and Goodman 1998, section 2.4).
    """
    length = len(held_out.symbols) - 1
    p = np.full(length, 1.0 / SYMBOLS)
    for size in range(n):
        seen, tested = _grams(training.symbols, size), _grams(held_out.symbols, size)
        grams, count = np.unique(seen, return_counts=True)
        contexts, distinct = np.unique(grams // SYMBOLS, return_counts=True)
        total = np.add.reduceat(count, np.searchsorted(grams // SYMBOLS, contexts))
        c = _looked_up(grams, count, tested)
        D, C = (_looked_up(contexts, values, tested // SYMBOLS) for values in (distinct, total))
        # The first symbols have no context of this size: they keep the smaller one's probability.
        tail = p[length - len(tested) :]
        p[length - len(tested) :] = np.where(C > 0, (c + D * tail) / np.maximum(C + D, 1), tail)
    return float(-np.log2(p).mean())


def _grams(symbols: NDArray[np.int16], size: int) -> NDArray[np.int64]:
    """Each symbol but the first with the `size` before it, as one number, where there are so
    many."""
    wide = symbols.astype(np.int64)
    first = max(1, size)
    code = np.zeros(len(wide) - first, dtype=np.int64)
    for back in range(size, -1, -1):
        code = code * SYMBOLS + wide[first - back : len(wide) - back]
    return code


def _looked_up(
    keys: NDArray[np.int64], values: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The value of each wanted key, 0 where there is none. keys: ascending."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def _bytes(documents: Documents) -> bytes:
    """A text as a compressor has it: all symbols but the first, END as a byte of 0."""
    symbols = documents.symbols[1:]
    return np.where(symbols == END, 0, symbols).astype(np.uint8).tobytes()
