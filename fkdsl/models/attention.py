"""Attention of a batch whose rows have contexts of different lengths, and some or all of whose new
tokens are queries.

    queries = queries_of(positions, counts, longest, at, put, dtype)    # once a forward
    y = attend_apart(q, keys, values, queries)       # (m, heads x width), at every layer

A long run of new tokens, as of a prompt, takes half of what it would with a mask over all pairs:
where contexts begin with it, each token's keys end with itself and no mask is needed, and else its
queries go in blocks, each with the keys up to its last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

LONG_CONTEXT = 256
"""In bfloat16 on a CPU, contexts of more tokens are attended faster with each query head apart."""

BLOCK = 256
"""Queries of a row that attend together, if there is a mask."""


@dataclass(frozen=True)
class QueryBlock:
    """Some queries of each row. begin, end: which, in the order of the row. keys: how many keys of
    the row's context they see at most. mask: (rows, 1, end - begin, keys) added to the scores,
    None if every query sees all of them. causal: whether the i-th query sees the first i + 1 keys,
    which needs no mask."""

    begin: int
    end: int
    keys: int
    mask: Tensor | None
    causal: bool = False


@dataclass(frozen=True)
class Queries:
    """The m new tokens of a batch for which a layer computes its output, row after row; of the
    other new tokens it computes keys and values only.

    at: (m,) their indices among the batch's tokens, None if they are all of them. blocks: of the
    queries, as many of each row as of the row with most. places: (rows, most) the indices among
    the m of each row's tokens, padded, None if each row has one. flat: (m,) their indices in the
    flattened (rows x most); a token that is filler has the index of another.
    """

    at: Tensor | None
    blocks: tuple[QueryBlock, ...]
    places: Tensor | None
    flat: Tensor | None


def queries_of(
    positions: NDArray[np.int64],
    counts: NDArray[np.int64],
    longest: int,
    at: Tensor | None,
    put: Callable[[NDArray[Any]], Tensor],
    dtype: torch.dtype,
    filler: int = 0,
) -> Queries:
    """The queries of m tokens. positions: (m,) in their contexts; counts: (rows,) how many tokens
    of each row; longest: tokens of a context; at: as in Queries; put: moves an array to the device;
    dtype: of the masks; filler: how many tokens follow, which stand for nothing."""
    most = int(counts.max())
    real = np.arange(most) < counts[:, None]  # (rows, most), False for padding
    last = np.zeros(real.shape, dtype=np.int64)
    last[real] = positions
    places = flat = None
    if most > 1 or not (counts == 1).all():
        order = np.zeros(real.shape, dtype=np.int64)
        order[real] = np.arange(len(positions))
        tokens = np.flatnonzero(real)
        places, flat = put(order), put(np.append(tokens, np.repeat(tokens[-1:], filler)))
    if most > 1 and most == longest and (positions == _within(counts)).all():
        # A row's padding stands after all its tokens, so none of them sees it.
        return Queries(at, (QueryBlock(0, most, most, None, causal=True),), places, flat)
    return Queries(at, tuple(_blocks(last, longest, put, dtype)), places, flat)


def _within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(m,) the number of each token within its row."""
    starts = np.cumsum(counts) - counts
    numbers: NDArray[np.int64] = np.arange(counts.sum()) - np.repeat(starts, counts)
    return numbers


def _blocks(
    last: NDArray[np.int64],
    longest: int,
    put: Callable[[NDArray[Any]], Tensor],
    dtype: torch.dtype,
) -> Iterator[QueryBlock]:
    """last: (rows, most) the position of the last key that each query sees."""
    most = last.shape[1]
    for begin in range(0, most, BLOCK):
        end = min(begin + BLOCK, most)
        sees = last[:, begin:end, None]
        keys = int(sees.max()) + 1 if most > BLOCK else longest
        mask = None
        if (sees + 1 != keys).any():
            seen = np.arange(keys) <= sees
            mask = put(np.where(seen, np.float32(0), np.float32(-np.inf)))[:, None].to(dtype)
        yield QueryBlock(begin, end, keys, mask)


def attend_apart(q: Tensor, keys: Tensor, values: Tensor, queries: Queries) -> Tensor:
    """(m, heads x width) the attention of queries q, (m, heads, width), to keys and values, (rows,
    kv heads, longest, width), of each row's own."""
    if queries.places is None:
        return _one_each(q, keys, values, queries.blocks[0].mask)
    assert queries.flat is not None
    rows = q[queries.places].transpose(1, 2)  # (rows, heads, most, width)
    grouped = q.shape[1] != keys.shape[1]
    parts = [
        scaled_dot_product_attention(
            rows[:, :, block.begin : block.end],
            keys[:, :, : block.keys],
            values[:, :, : block.keys],
            block.mask,
            is_causal=block.causal,
            enable_gqa=grouped,
        )
        for block in queries.blocks
    ]
    y = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
    return y.transpose(1, 2).reshape(-1, q.shape[1] * q.shape[2])[queries.flat]


def _one_each(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """The attention of one query a row.

    The query heads that share a head of keys take the place of a sequence, so that no key is
    repeated. In bfloat16 with long contexts on a CPU torch's own grouping (enable_gqa) is some 20 %
    faster, elsewhere slower.
    """
    (n, H, W), K = q.shape, keys.shape[1]
    apart = q.dtype == torch.bfloat16 and q.device.type == "cpu" and keys.shape[2] > LONG_CONTEXT
    q = q.reshape(n, H, 1, W) if apart else q.reshape(n, K, H // K, W)
    y = scaled_dot_product_attention(q, keys, values, mask, enable_gqa=apart and H != K)
    return y.reshape(n, H * W)
