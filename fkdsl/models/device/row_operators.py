"""What a device computes of long rows, by torch's public operators: log-probabilities from logits,
and sums over blocks of the vocabulary, of all tokens or of those that masks leave.

Masks come as bits, 8 tokens a byte (fkdsl.models.device.masks). Where Triton's kernels are right on
a device they take fewer passes over the rows (triton_rows.py).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK

AT_ONCE = 64
"""Rows whose masks are unpacked at once: a byte for each token."""


class RowOperators(Protocol):
    """Of rows on a device. Nothing waits for it."""

    def normalised(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """((n, V) log-probabilities in nats, (n, blocks) the sums of the probabilities of each
        block), of logits (n, V); float64 of float64, else float32. A row with NaN has sums of
        NaN."""
        ...

    def masked_sums(
        self, log_p: Tensor, sums: Tensor, rows: Tensor, bits: Tensor, masks: Tensor
    ) -> Tensor:
        """(n, blocks) for each of n draws the sums of the probabilities that its mask leaves.
        log_p: (m, V); sums: (m, blocks) its own. rows: (n,) int64, the row of each draw. bits:
        (k, bytes) uint8, masks of 8 tokens a byte, the first in the lowest bit; masks: (n,) int64
        which of them, -1 for none."""
        ...


class PlainRowOperators:
    """By torch's public operators."""

    def normalised(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        log_p = logits.to(wide, copy=True)
        log_p -= log_p.amax(-1, keepdim=True)
        sums = block_sums_of(log_p.exp())
        total = sums.sum(-1, keepdim=True)  # of fewer numbers than a row has: it rounds less
        log_p -= total.log()
        return log_p, sums.div_(total)

    def masked_sums(
        self, log_p: Tensor, sums: Tensor, rows: Tensor, bits: Tensor, masks: Tensor
    ) -> Tensor:
        left = sums[rows]
        for at in range(0, len(rows), AT_ONCE):
            some, masked = rows[at : at + AT_ONCE], masks[at : at + AT_ONCE, None]
            p = log_p[some].exp_()
            p *= unpacked(bits[masked[:, 0].clamp(min=0)], p.shape[1])
            part = left[at : at + AT_ONCE]
            left[at : at + AT_ONCE] = torch.where(masked < 0, part, block_sums_of(p))
        return left


def unpacked(bits: Tensor, size: int) -> Tensor:
    """(n, size) uint8, 1 where a token is left, of (n, bytes) bits."""
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return ((bits[..., None] >> places) & 1).view(len(bits), -1)[:, :size]


def block_sums_of(p: Tensor) -> Tensor:
    """(n, blocks) of (n, V)."""
    n, V = p.shape
    p = torch.nn.functional.pad(p, (0, -V % BLOCK))
    return p.view(n, -(-V // BLOCK), BLOCK).sum(-1)
