"""Which operators a decoder's steps use on a device: Triton's kernels where they are right there.

Kernels are compiled for the machine, by a compiler that may be missing or have errors of its own.
So they run once on numbers of the decoder's sizes, and what they give is compared with torch's
public operators. Where they fail or differ, a note says so, and the public operators are used.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK
from fkdsl.models.decoder import Decoder
from fkdsl.models.device.operators import PlainOperators, StepOperators
from fkdsl.models.device.row_operators import PlainRowOperators, RowOperators
from fkdsl.models.device.step_inputs import StepBuffers, StepTables

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.03, torch.float16: 0.005}
"""Most that a coordinate x may differ, as a share of 1 + |x|, by precision."""
ROWS, SHARED, LONGEST = 5, 100, 130
"""Of the numbers on which kernels are tried."""


def operators_for(decoder: Decoder) -> StepOperators:
    """The operators of a decoder's steps on its device."""
    plain, device = PlainOperators(decoder), decoder.device
    if device.type != "cuda" or decoder.dtype not in TOLERANCES:
        return plain
    if find_spec("triton") is None:
        return _without("Triton is not installed", plain)
    try:
        from fkdsl.models.device.triton_operators import TritonOperators

        processors = torch.cuda.get_device_properties(device).multi_processor_count
        fast = TritonOperators(programs=2 * processors)
        difference = largest_difference(decoder, fast, plain)
    except Exception as error:  # of a compiler that is not ours
        return _without(
            f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}", plain
        )
    if not difference <= TOLERANCES[decoder.dtype]:
        return _without(f"its kernels are off by {difference:.2g}", plain)
    return fast


T = TypeVar("T")


def _without(reason: str, plain: T) -> T:
    warnings.warn(f"the GPU computes without Triton's kernels, more slowly: {reason}", stacklevel=3)
    return plain


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def largest_difference(decoder: Decoder, fast: StepOperators, plain: StepOperators) -> float:
    """Between what two kinds of operators give for rows that share a beginning and for a single
    one, of queries, of what they write into a plane, and of attention: of coordinates x the largest
    difference as a share of 1 + |x|."""
    heads, kv_heads, width = decoder.heads, decoder.kv_heads, decoder.width
    there = {"dtype": decoder.dtype, "device": decoder.device}
    generator = torch.Generator().manual_seed(1)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(**there)

    n_slots = SHARED + ROWS * LONGEST
    free = torch.randperm(n_slots, generator=generator).numpy().astype(np.int32)
    shared, rest = free[:SHARED], free[SHARED:].reshape(ROWS, LONGEST)
    worst = 0.0
    for rows in (1, ROWS):
        tables = [np.concatenate([shared, rest[i, : 1 + i * LONGEST // ROWS]]) for i in range(rows)]
        step = StepTables.of(tables)
        inputs = StepBuffers(there["device"], 1 << 13).fill(
            step, [0] * rows, [len(table) - 1 for table in tables], int(free[-1]), rows
        )
        plane, qkv = (
            numbers(n_slots, 2 * kv_heads, width),
            numbers(rows, heads + 2 * kv_heads, width),
        )
        rotations = decoder.rotations_of(inputs.positions)
        results = []
        for operators in (fast, plain):
            mine = plane.clone()
            places = operators.places(inputs, operators.sizes(len(step.shared), step.longest))
            q = operators.rotated(2.0 * qkv, rotations, places, mine)
            results.append((q, mine, operators.attention(q, mine, places)))
        for one, other in zip(*results, strict=True):
            apart = (one.float() - other.float()).abs() / (1.0 + other.float().abs())
            worst = max(worst, float(apart.max()))
    return worst


@cache
def row_operators_for(device: torch.device) -> RowOperators:
    """What computes rows of the vocabulary on a device."""
    plain = PlainRowOperators()
    if find_spec("triton") is None:  # which `operators_for` says
        return plain
    try:
        from fkdsl.models.device.triton_rows import TritonRowOperators

        fast = TritonRowOperators()
        difference = largest_row_difference(device, fast, plain)
    except Exception as error:  # of a compiler that is not ours
        return _without(_first_line(error), plain)
    if not difference <= TOLERANCES[torch.float32]:
        return _without(f"its kernels are off by {difference:.2g}", plain)
    return fast


def largest_row_difference(device: torch.device, fast: RowOperators, plain: RowOperators) -> float:
    """Between what two kinds of operators give for rows whose last block is short: of
    log-probabilities and of sums, with masks and without."""
    V, generator = 9 * BLOCK + 40, torch.Generator().manual_seed(1)
    logits = (3.0 * torch.randn((3, V), generator=generator)).to(device)
    logits[1, : 8 * BLOCK] = -torch.inf
    bits = torch.randint(0, 256, (2, -(-V // 8)), dtype=torch.uint8, generator=generator)
    rows, masks = torch.tensor([[2, 0, 1, 0], [1, -1, 0, 0]]).to(device)
    results = []
    for operators in (fast, plain):
        log_p, sums = operators.normalised(logits)
        left = operators.masked_sums(log_p, sums, rows, bits.to(device), masks)
        results.append((log_p.exp(), sums, left))
    return max(float((a - b).abs().max()) for a, b in zip(*results, strict=True))
