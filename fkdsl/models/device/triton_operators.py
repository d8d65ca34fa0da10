"""Attention of a decode step by kernels that read the pool in place: nothing is copied together
first, no shape depends on the lengths of contexts, and so one CUDA graph serves a size of batch.

    q = rotated(qkv, rotations, slots, plane)       # keys and values are in the plane now
    y = attention(q, plane, inputs, programs=264)

What all rows share is attended to by the queries of many rows at once; a second pass goes on, for
each row, with its own table. With TRITON_INTERPRET=1 in the environment all of this runs on a CPU,
and tests hold it to fkdsl.models.device.operators.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.device import triton_kernels
from fkdsl.models.device.step_inputs import StepInputs

KEYS = 64
"""Keys that a program reads at once."""
MOST_QUERIES = 64
"""Queries that a program of the shared part attends with, of as many rows as fit."""
FEWEST_QUERIES = 16
"""The least that a matrix product of Triton takes."""
MOST_PARTS = 16
"""Parts that a table is split into at most, where there are few rows."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What the kernels compute in, their sums in float32."""


class TritonOperators:
    """Attention by Triton's kernels. programs: how many the device runs at once."""

    def __init__(self, programs: int) -> None:
        self.programs = programs

    def sizes(self, shared: int, longest: int) -> tuple[int, ...]:
        """See StepOperators: no shape depends on a length."""
        return ()

    def places(self, inputs: StepInputs, sizes: tuple[int, ...]) -> StepInputs:
        """See StepOperators."""
        return inputs

    def rotated(self, qkv: Tensor, rotations: Tensor, places: StepInputs, plane: Tensor) -> Tensor:
        """See StepOperators."""
        return rotated(qkv, rotations, places.slots, plane)

    def attention(self, q: Tensor, plane: Tensor, places: StepInputs) -> Tensor:
        """See StepOperators."""
        return attention(q, plane, places, self.programs)


def rotated(qkv: Tensor, rotations: Tensor, slots: Tensor, plane: Tensor) -> Tensor:
    """(rows, heads, width) the rotated queries of one token a row, whose keys and values are
    written into a plane, (slots, 2 x kv heads, width). qkv: (rows, heads + 2 x kv heads, width).
    rotations: (rows, 1, width / 2) complex. slots: (rows,) int32."""
    rows, all_heads, width = qkv.shape
    kv = plane.shape[1] // 2
    heads = all_heads - 2 * kv
    q = torch.empty((rows, heads, width), dtype=qkv.dtype, device=qkv.device)
    triton_kernels.rotate[(rows, all_heads)](
        qkv.contiguous(), torch.view_as_real(rotations).contiguous(), slots, q, plane,
        HEADS=heads, KV=kv, WIDTH=width, PAIRS=triton.next_power_of_2(width // 2), num_warps=1,
    )  # fmt: skip
    return q


def attention(q: Tensor, plane: Tensor, inputs: StepInputs, programs: int) -> Tensor:
    """(rows, heads x width) the attention of one query a row, q (rows, heads, width), to its
    context. programs: how many the device runs at once; tables are split into parts where there are
    fewer."""
    q = q.contiguous()
    rows, heads, width = q.shape
    kv = plane.shape[1] // 2
    group = heads // kv
    few = max(FEWEST_QUERIES, triton.next_power_of_2(group))
    # In float32 a program takes half as many, to fit into a multiprocessor's memory.
    half = q.dtype == torch.float32
    many, keys = max(few, MOST_QUERIES // 2 if half else MOST_QUERIES), KEYS // 2 if half else KEYS

    def empty(parts: int) -> Parts:
        there = {"dtype": torch.float32, "device": q.device}
        y = torch.empty((parts, rows, heads, width), **there)
        return Parts(y, torch.empty((parts, rows, heads), **there), parts)

    def run(queries: int, rows_each: int, before: Parts, to: Parts, shared: bool) -> None:
        triton_kernels.attend[(triton.cdiv(rows, rows_each), kv, to.n)](
            q, plane, inputs.tables, inputs.starts, inputs.shared if shared else inputs.lengths,
            before.y, before.sums, to.y, to.sums, rows, to.n, before.n, width**-0.5,
            HEADS=heads, KV=kv, WIDTH=width,
            PADDED=max(FEWEST_QUERIES, triton.next_power_of_2(width)),
            QUERIES=queries, ROWS=rows_each, KEYS=keys, SHARED=shared,
            LAST=not shared and to.n == 1, num_warps=4,
        )  # fmt: skip

    y = torch.empty_like(q)
    begun = Parts(y, y, 0)
    if rows > 1:
        rows_each = many // group
        begun = empty(_parts(programs, triton.cdiv(rows, rows_each) * kv))
        run(many, rows_each, Parts(y, y, 0), begun, True)
    n = _parts(programs, rows * kv)
    whole = Parts(y, y, 1) if n == 1 else empty(n)
    run(few, 1, begun, whole, False)
    if n > 1:
        triton_kernels.join[(rows * heads,)](
            whole.y, whole.sums, y, rows * heads, n,
            WIDTH=width, PADDED=triton.next_power_of_2(width), num_warps=1,
        )  # fmt: skip
    return y.view(rows, heads * width)


@dataclass(frozen=True)
class Parts:
    """Attention by n parts of a table. y: (n, rows, heads, width) float32; sums: (n, rows, heads)
    the log-sums of the exponentiated scores. Of none, and of one that is the output, sums are not
    used."""

    y: Tensor
    sums: Tensor
    n: int


def _parts(programs: int, others: int) -> int:
    """The parts of a table, where `others` programs run for each part: a power of two."""
    parts: int = triton.next_power_of_2(max(1, programs // others))
    return min(MOST_PARTS, parts)
