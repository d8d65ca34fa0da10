"""Copies keys and values of attention layers from the pool into a batch of transformers' own cache,
and new ones back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.compat.caches import attention_cache, kept_by
from fkdsl.models.interface import Past
from fkdsl.models.kv_pool import KVPool, KVSegment, table_of


@dataclass(frozen=True)
class CacheLayout:
    """The planes of a pool. places: for each layer the planes of its keys and of its values; None
    for a layer that keeps none of its own. shapes: (heads, width) of each plane."""

    places: tuple[tuple[int, int] | None, ...]
    shapes: tuple[tuple[int, int], ...]


def layout_of(layers: Sequence[Any], others: Collection[int] = ()) -> CacheLayout:
    """The layout of a cache after its first forward. others: the numbers of layers that keep
    something else than the tokens."""
    shapes: list[tuple[int, int]] = []
    places: list[tuple[int, int] | None] = []
    for number, layer in enumerate(layers):
        tensors = None if number in others else kept_by(layer)
        places.append((len(shapes), len(shapes) + 1) if tensors is not None else None)
        shapes.extend((t.shape[1], t.shape[3]) for t in tensors or ())
    return CacheLayout(tuple(places), tuple(shapes))


def assemble(
    pasts: Sequence[Past | None], layout: CacheLayout | None, pool: KVPool | None
) -> tuple[Any, int]:
    """(a cache whose rows are the given pasts, padded on the left; its length). It shares no memory
    with the pool."""
    tables = [table_of(past) for past in pasts]
    longest = max(map(len, tables))
    if layout is None or pool is None:
        return attention_cache(), 0
    if longest == 0:
        return attention_cache([None] * len(layout.places)), 0
    padded = np.zeros((len(tables), longest), dtype=np.int64)
    for i, table in enumerate(tables):
        padded[i, longest - len(table) :] = table
    index = torch.from_numpy(padded).to(pool.device).view(-1)

    def rows(plane: Tensor) -> Tensor:
        return (
            plane.index_select(0, index)
            .view(len(tables), longest, *plane.shape[1:])
            .transpose(1, 2)
        )

    layers = [
        None if place is None else (rows(pool.planes[place[0]]), rows(pool.planes[place[1]]))
        for place in layout.places
    ]
    return attention_cache(layers), longest


def store(
    layers: Sequence[Any],
    layout: CacheLayout,
    pool: KVPool,
    pasts: Sequence[Past | None],
    start: int,
    lengths: Sequence[int],
) -> list[KVSegment]:
    """Writes a batch's new tokens into the pool; the segment of each row. The new tokens of row i
    are at positions `start` to start + lengths[i] - 1 of the cache's layers."""
    slots = pool.take(sum(lengths))
    index = torch.from_numpy(slots.astype(np.int64)).to(pool.device)
    row = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(pool.device)
    at = torch.from_numpy(np.concatenate([np.arange(start, start + n) for n in lengths])).to(
        pool.device
    )
    for layer, place in zip(layers, layout.places, strict=True):
        if place is not None:
            for p, t in zip(place, (layer.keys, layer.values), strict=True):
                pool.planes[p].index_copy_(0, index, t[row, :, at])
    ends = np.cumsum(lengths)
    return [
        KVSegment(pool, past, slots[end - n : end])
        for past, n, end in zip(pasts, lengths, ends, strict=True)
    ]
