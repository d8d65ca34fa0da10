"""Attention of a decode step over the tables of its rows, by torch's public operators: what all
rows share once for all of them, the rest of each row copied from the pool to lie in a row of its
own, padded to a size of `bucket`.

Where Triton is installed its kernels (triton_operators.py) read the pool in place instead.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.compat import kernels
from fkdsl.models.decoder import Decoder
from fkdsl.models.device.step_inputs import StepInputs
from fkdsl.models.shared_attention import SharedBeginning, attend, gathered

FEWEST_OWN = 16
"""Places that a row's own tokens have at least."""


def bucket(n: int, least: int = 1) -> int:
    """The size to which n rows or tokens are filled up: powers of two, and from 16 on those between
    that are half as much again.

    >>> [bucket(n) for n in (1, 3, 16, 17, 25, 100)]
    [1, 4, 16, 24, 32, 128]
    """
    size = max(least, 1)
    while size < n:
        between = size + size // 2
        if size >= 16 and n <= between:
            return between
        size *= 2
    return size


class StepOperators(Protocol):
    """Attention of a decode step."""

    def sizes(self, shared: int, longest: int) -> tuple[int, ...]:
        """What its shapes depend on, of the numbers of tokens that all rows share and that the
        longest row has beside."""
        ...

    def places(self, inputs: StepInputs, sizes: tuple[int, ...]) -> Any:
        """What all layers use of a step's inputs, computed once."""
        ...

    def rotated(self, qkv: Tensor, rotations: Tensor, places: Any, plane: Tensor) -> Tensor:
        """(rows, heads, width) the rotated queries of the new tokens, whose keys and values are
        written into a layer's plane, (slots, 2 x kv heads, width). qkv: (rows, heads + 2 x kv
        heads, width). rotations: (rows, 1, width / 2) complex."""
        ...

    def attention(self, q: Tensor, plane: Tensor, places: Any) -> Tensor:
        """(rows, heads x width) the attention of the queries, (rows, heads, width), to their
        contexts."""
        ...


@dataclass(frozen=True)
class Places:
    """slots: (rows,) int64 of the new tokens. rest: the contexts."""

    slots: Tensor
    rest: SharedBeginning
    nothing_shared: bool


class PlainOperators:
    """Attention by torch's public operators."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def sizes(self, shared: int, longest: int) -> tuple[int, ...]:
        return (bucket(shared, 32) if shared else 0, bucket(longest, FEWEST_OWN))

    def places(self, inputs: StepInputs, sizes: tuple[int, ...]) -> Places:
        shared, longest = sizes
        count = torch.arange(max(shared, longest), device=inputs.tables.device, dtype=torch.int32)
        own = count[:longest] < inputs.lengths[:, None]  # (rows, longest)
        begun = count[:shared] < inputs.shared
        # Padding reads the first slot of the tables, which is written: zero times NaN is NaN.
        at = (inputs.starts[:, None] + count[:longest]) * own
        slots = inputs.tables.index_select(0, at.reshape(-1))
        return Places(
            inputs.slots.long(),
            SharedBeginning(
                torch.where(begun, inputs.tables[:shared], inputs.tables[:1]),
                slots,
                longest,
                self._scores(own)[:, None, None],
                self._scores(begun)[None, None, None],
            ),
            shared == 0,
        )

    def _scores(self, seen: Tensor) -> Tensor:
        """What is added to scores: 0 where a token is seen, else -inf."""
        dtype = self.decoder.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(
            ~seen, -torch.inf
        )

    def rotated(self, qkv: Tensor, rotations: Tensor, places: Places, plane: Tensor) -> Tensor:
        return self.decoder.written(qkv, rotations, places.slots, plane)

    def attention(self, q: Tensor, plane: Tensor, places: Places) -> Tensor:
        K = self.decoder.kv_heads
        if not places.nothing_shared:
            return attend(q, plane, places.rest, K)
        rows, heads, width = q.shape
        own = gathered(plane, places.rest.index, rows)
        y, _ = kernels.attention(
            q.reshape(rows, K, heads // K, width), own[:, :K], own[:, K:], places.rest.mask
        )
        return y.reshape(rows, heads * width)
