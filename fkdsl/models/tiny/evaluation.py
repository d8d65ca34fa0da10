"""Figures on held-out text: bits per byte of each head, of gzip and xz and of an n-gram, and how
well the heads draft.

A symbol is a byte or END, which stands for what separates two documents; the compressors read END
as one more byte. Every figure is the bits of the whole text over the symbols of the whole text, so
that the figures can be compared.
"""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.tiny.data import Documents
from fkdsl.models.tiny.links import Links
from fkdsl.models.tiny.transformer import END, SYMBOLS, Transformer

WINDOWS_AT_ONCE = 16


def model_bits(
    model: Transformer, documents: Documents, window: int | None = None, most: int | None = None
) -> list[float]:
    """Bits per byte of each head: the mean of -log2 p(symbol i + k | symbols up to i).

    Windows, by default as long as the model's context, overlap by half. Only the second half of
    each counts, so that every symbol is predicted from at least half a window. most: about so many
    symbols count, in windows spread evenly over the text.
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
    """Batches of windows: (symbols (B, T + n), -1 beyond the text; whether each position counts,
    (B, T))."""
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
    """How well heads 2..n draft. bits: bits per byte of each. accepted: for each head the mean over
    the text of a_k = sum_x min(p(x), q(x)), the probability that speculative sampling at
    temperature 1 keeps a symbol that the head drafts after the text's own symbols. tokens: the mean
    of 1 + a_2 + a_2 a_3 + .., the tokens for each forward of the model."""

    bits: tuple[float, ...]
    accepted: tuple[float, ...]
    tokens: float


def draft_quality(
    model: Transformer, linked: Sequence[Links], documents: Documents, most: int | None = None
) -> list[DraftQuality]:
    """How well a model's heads draft with each of some Links, on the windows of `model_bits`."""
    T, n = model.shape.context, model.shape.ahead
    L = max(0, T - n + 1)  # positions for which the n rows of p from there on are in the window
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
    """Bits per byte of gzip, at its highest level, on the held-out text alone."""
    raw = _bytes(held_out)
    return 8 * len(gzip.compress(raw, 9)) / len(raw)


def xz_bits(held_out: Documents, training: Documents | None = None) -> float:
    """Bits per byte of xz, at its highest level, on the held-out text: alone, or by what it adds to
    the compressed training text."""
    raw, before = _bytes(held_out), b"" if training is None else _bytes(training)

    def compressed(data: bytes) -> int:
        return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) if data else 0

    return 8 * (compressed(before + raw) - compressed(before)) / len(raw)


def ngram_bits(training: Documents, held_out: Documents, n: int = 5) -> float:
    """Bits per byte of an n-gram of symbols, counted on the training text, with interpolated
    Witten-Bell smoothing (Witten and Bell 1991; Chen and Goodman 1998, section 2.4):

        p(x | h) = (c(hx) + D(h) p(x | h')) / (c(h) + D(h))

    c counts, D(h) is how many different symbols follow h, and h' is h without its first symbol; the
    recursion ends below the empty h, with 1/V.
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
        # The first symbols have no context of this size, so their p of the smaller size stays.
        tail = p[length - len(tested) :]
        p[length - len(tested) :] = np.where(C > 0, (c + D * tail) / np.maximum(C + D, 1), tail)
    return float(-np.log2(p).mean())


def _grams(symbols: NDArray[np.int16], size: int) -> NDArray[np.int64]:
    """Each symbol with the `size` symbols before it, as one number. From the second symbol on, and
    only symbols that have so many before them."""
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
    """A text for a compressor: all symbols but the first, END as a byte of 0."""
    symbols = documents.symbols[1:]
    return np.where(symbols == END, 0, symbols).astype(np.uint8).tobytes()
