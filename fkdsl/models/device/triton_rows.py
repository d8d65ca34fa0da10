"""What a device computes of long rows, by kernels: logits are read twice and log-probabilities
written once, and what masks leave is summed in one pass over the rows, with the masks as bits.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK
from fkdsl.models.device import triton_kernels
from fkdsl.models.device.row_operators import PlainRowOperators

BLOCKS = 8
"""Blocks of a row that a program sums."""
TOKENS = BLOCKS * BLOCK
"""Tokens of them."""


class TritonRowOperators:
    """See RowOperators. Rows of float64 go by torch's public operators."""

    def __init__(self) -> None:
        self._plain = PlainRowOperators()

    def normalised(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        if logits.dtype == torch.float64:
            return self._plain.normalised(logits)
        with torch.cuda.device_of(logits):  # kernels start on the device that is the current one
            return self._normalised(logits.contiguous())

    def _normalised(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        n, V = logits.shape
        blocks, chunks = triton.cdiv(V, BLOCK), triton.cdiv(V, TOKENS)
        there = {"dtype": torch.float32, "device": logits.device}
        tops = torch.empty((n, chunks), **there)
        sums, log_p = torch.empty((n, blocks), **there), torch.empty((n, V), **there)
        if not n:
            return log_p, sums
        triton_kernels.chunk_sums[(n, chunks)](
            logits, tops, sums, V, blocks, BLOCK=BLOCK, BLOCKS=BLOCKS, num_warps=4
        )
        top = tops.amax(-1)  # NaN where a logit is
        sums *= (tops - top[:, None]).exp().repeat_interleave(BLOCKS, -1)[:, :blocks]
        total = sums.sum(-1)
        triton_kernels.less[(n, chunks)](
            logits, top, total.log(), log_p, V, TOKENS=TOKENS, num_warps=4
        )
        return log_p, sums.div_(total[:, None])

    def masked_sums(
        self, log_p: Tensor, sums: Tensor, rows: Tensor, bits: Tensor, masks: Tensor
    ) -> Tensor:
        if log_p.dtype == torch.float64:
            return self._plain.masked_sums(log_p, sums, rows, bits, masks)
        log_p, sums = log_p.contiguous(), sums.contiguous()
        n, (V, blocks) = len(rows), (log_p.shape[1], sums.shape[1])
        left = torch.empty((n, blocks), dtype=sums.dtype, device=sums.device)
        with torch.cuda.device_of(log_p):
            triton_kernels.masked_sums[(n, triton.cdiv(blocks, BLOCKS))](
                log_p, sums, rows, bits, masks, left, V, blocks, bits.shape[1],
                BLOCK=BLOCK, BLOCKS=BLOCKS, num_warps=4,
            )  # fmt: skip
        return left
