"""A decode step: the decoder's forward of one new token for each row, with shapes that depend on a
few sizes alone and no wait for the device, so that it can be recorded as a CUDA graph.

    step = DecodeStep(decoder)                  # on a GPU; on a CPU the same, nothing recorded
    if step.fits(rows): logits, segments = step.forward(rows)

Rows are filled up to a size of `bucket`. The host says where each row's context lies in the pool
(fkdsl.models.device.step_inputs); the rest happens on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from fkdsl.models.decoder import Decoder
from fkdsl.models.device.graphs import CudaCapture, Graphs
from fkdsl.models.device.operators import StepOperators, bucket
from fkdsl.models.device.step_inputs import StepBuffers, StepInputs, StepTables
from fkdsl.models.device.trial import operators_for
from fkdsl.models.interface import ForwardRow
from fkdsl.models.kv_pool import KVSegment


class DecodeStep:
    """The decode steps of a decoder, over its own pool."""

    def __init__(self, decoder: Decoder, operators: StepOperators | None = None) -> None:
        self.decoder = decoder
        self.device: torch.device = decoder.device
        with self._on_device(), torch.inference_mode():
            self.operators = operators or operators_for(decoder)
        self.buffers = StepBuffers(self.device)
        self.graphs = Graphs(CudaCapture()) if self.device.type == "cuda" else None

    def fits(self, rows: Sequence[ForwardRow]) -> bool:
        """Whether a batch is a decode step: one new token for each row, whose law is wanted."""
        return bool(rows) and all(len(row.tokens) == 1 and row.wanted == (0,) for row in rows)

    def forward(self, rows: Sequence[ForwardRow]) -> tuple[Tensor, list[KVSegment]]:
        """((n, V) the logits after each row, which the next step may write over; the segment of
        each row)."""
        with self._on_device():
            return self._forward(rows)

    def _forward(self, rows: Sequence[ForwardRow]) -> tuple[Tensor, list[KVSegment]]:
        pool, n = self.decoder.pool, len(rows)
        size = bucket(n)
        slots = pool.take(n + 1)
        segments = [KVSegment(pool, row.past, slots[i : i + 1]) for i, row in enumerate(rows)]
        spare = KVSegment(pool, None, slots[n:])  # where fillers write
        tables = StepTables.of([segment.table for segment in segments])
        inputs = self.buffers.fill(
            tables,
            [row.tokens[0] for row in rows],
            [len(segment.table) - 1 for segment in segments],
            int(spare.table[0]),
            size,
        )
        lengths = self.operators.sizes(len(tables.shared), tables.longest)
        if self.graphs is None:
            logits = self.compute(inputs, lengths)
        else:
            logits = self.graphs.run(
                (size, *lengths),
                (pool.generation, self.buffers.generation),
                lambda: self.compute(inputs, lengths),
            )
        return logits[:n], segments

    def compute(self, inputs: StepInputs, lengths: tuple[int, ...]) -> Tensor:
        """(rows, V) logits, on the device. Its shapes depend on the number of rows and on
        `lengths`, the operators' sizes of the contexts."""
        decoder, operators = self.decoder, self.operators
        x = decoder.embed(inputs.ids)
        places = operators.places(inputs, lengths)
        rotations = decoder.rotations_of(inputs.positions)
        for layer, plane in zip(decoder.layers, decoder.pool.planes, strict=True):
            qkv = decoder.projected(layer, x)
            q = operators.rotated(qkv, rotations, places, plane)
            x = decoder.after_attention(layer, operators.attention(q, plane, places), x)
        return decoder.logits(x)

    def _on_device(self) -> AbstractContextManager[object]:
        """Kernels and graphs start on the device that is the current one."""
        device: AbstractContextManager[object] = torch.cuda.device_of(self.decoder.norm)
        return device
