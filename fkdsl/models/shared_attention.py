"""Attention of a batch whose contexts begin with the same tokens, as those of a population that
goes on from one prompt: what they share is read once for all rows.

    shared = shared_beginning(index, lengths, put, dtype)   # once a forward; None where it costs
    y = attend(q, plane, shared, kv_heads)      # (rows, heads x width), at every layer

All queries attend to the shared tokens together, and each to the rest of its own context. The two
are put together by their log-sums of exponentiated scores, so y is what attention to the whole
context gives, up to rounding (Hydragen, Juravsky et al. 2024, arXiv 2402.05099, section 3.1).

Slots that follow each other, as those of a prompt do, are read where they stand. So a single row
goes the same way, where its context begins with a long run of such slots: it is not copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.models.compat import kernels

FEWEST = 32
"""Tokens that must be shared at least."""
SAVED = 500
"""Readings of a token by a row that must be saved at least: two attentions cost more than one."""
UNCOPIED = 256
"""Tokens of a single row that must stand in slots that follow each other, for the same reason."""


@dataclass(frozen=True)
class SharedBeginning:
    """at: the slots of the shared tokens in the pool, a slice where they follow each other. index:
    (rows x longest,) the slots of the rest of each row's context, padded. mask: (rows, 1, 1,
    longest) added to the scores of the rest, None where no row is padded. begun: (1, 1, 1, shared)
    added to the scores of the shared tokens, None where none is padding."""

    at: slice | Tensor
    index: Tensor
    longest: int
    mask: Tensor | None
    begun: Tensor | None = None


def shared_beginning(
    index: NDArray[np.int64],
    lengths: NDArray[np.int64],
    put: Callable[[NDArray[Any]], Tensor],
    dtype: torch.dtype,
) -> SharedBeginning | None:
    """What contexts share, of which every row has one query, after its last token. index: (rows,
    longest) their slots, padded. lengths: (rows,) of the contexts. put: moves an array to the
    device. dtype: of the scores' mask. None where too little is shared."""
    n = _run(index[0]) if len(index) == 1 else _common(index, lengths)
    if n == 0:
        return None
    at, rest = slots_of(index[:1, :n], put), index[:, n:]
    mask = None
    if (lengths != index.shape[1]).any():
        seen = np.arange(rest.shape[1]) < (lengths - n)[:, None]
        mask = put(np.where(seen, np.float32(0), np.float32(-np.inf))).to(dtype)[:, None, None]
    return SharedBeginning(at, put(np.ascontiguousarray(rest).reshape(-1)), rest.shape[1], mask)


def _common(index: NDArray[np.int64], lengths: NDArray[np.int64]) -> int:
    """How many tokens all rows begin with; 0 where it does not pay."""
    rows, most = len(index), int(lengths.min()) - 1  # each row's last token is its own
    if most < FEWEST or most * (rows - 1) < SAVED:
        return 0
    same = (index[1:, :most] == index[0, :most]).all(axis=0)
    n = most if same.all() else int(same.argmin())
    return n if n >= FEWEST and n * (rows - 1) >= SAVED else 0


def _run(slots: NDArray[np.int64]) -> int:
    """With how many slots that follow each other a context begins; 0 where these are too few to
    pay, or all, which `slots_of` gives as a slice."""
    gaps = np.flatnonzero(np.diff(slots) != 1)
    return int(gaps[0]) + 1 if len(gaps) and gaps[0] + 1 >= UNCOPIED else 0


def slots_of(index: NDArray[np.int64], put: Callable[[NDArray[Any]], Tensor]) -> slice | Tensor:
    """(rows x longest,) the slots of rows' contexts, from an array (rows, longest); a slice of the
    pool where they are those of one row and follow each other."""
    if len(index) == 1 and (np.diff(index[0]) == 1).all():
        return slice(int(index[0, 0]), int(index[0, -1]) + 1)
    return put(np.ascontiguousarray(index).reshape(-1))


def attend(q: Tensor, plane: Tensor, shared: SharedBeginning, kv_heads: int) -> Tensor:
    """(rows, heads x width) the attention of one query a row, q (rows, heads, width). plane:
    (slots, 2 x kv_heads, width) the keys and then the values of a layer's tokens."""
    rows, heads, width = q.shape
    group = heads // kv_heads
    q = q.view(rows, kv_heads, group, width)
    begun = gathered(plane, shared.at, 1)
    own = gathered(plane, shared.index, rows)
    # The queries of all rows stand as a sequence, one after the other.
    a, log_a = kernels.attention(
        q.transpose(0, 1).reshape(1, kv_heads, rows * group, width),
        begun[:, :kv_heads],
        begun[:, kv_heads:],
        shared.begun,
    )
    b, log_b = kernels.attention(q, own[:, :kv_heads], own[:, kv_heads:], shared.mask)
    a = a.view(kv_heads, rows, group, width).transpose(0, 1)
    share = torch.sigmoid(log_a.view(kv_heads, rows, group).transpose(0, 1) - log_b)[..., None]
    y = torch.lerp(b.to(share.dtype), a.to(share.dtype), share)
    return y.to(q.dtype).reshape(rows, heads * width)


def gathered(plane: Tensor, index: slice | Tensor, rows: int) -> Tensor:
    """(rows, 2 x kv_heads, longest, width) the keys and values of rows' contexts, copied from a
    plane where they do not stand one after the other. index: their slots, of `slots_of`."""
    read = plane[index] if isinstance(index, slice) else plane.index_select(0, index)
    return read.view(rows, -1, *plane.shape[1:]).transpose(1, 2)
