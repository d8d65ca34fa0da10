"""Keys and values of attention layers: cut into segments by row, and put together into a batch.

All keys and values of one shape (heads, width) are kept as one stack (n, heads, tokens, width), so that a row of many
segments is put together by one concatenation and not by one for each layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from fkdsl.models.interface import Past


@dataclass(frozen=True, eq=False)
class KVSegment:
    """stacks[g]: (n_g, heads, length, width), the keys and values of every layer of shape g."""

    stacks: tuple[Tensor, ...]
    length: int
    sliceable: bool = True
    standalone: bool = False

    @property
    def nbytes(self) -> int:
        return sum(s.numel() * s.element_size() for s in self.stacks)


@dataclass(frozen=True)
class Layout:
    """Where each layer's keys and values stand: (group, position) pairs by layer, None for a layer without any."""

    places: tuple[tuple[tuple[int, int], tuple[int, int]] | None, ...]
    groups: int


def layout_of(layers: Sequence[Any]) -> Layout:
    """The layout of a cache after its first forward."""
    shapes: dict[tuple[int, int], int] = {}
    counts: list[int] = []
    places: list[tuple[tuple[int, int], tuple[int, int]] | None] = []

    def place(t: Tensor) -> tuple[int, int]:
        group = shapes.setdefault((t.shape[1], t.shape[3]), len(shapes))
        if group == len(counts):
            counts.append(0)
        counts[group] += 1
        return group, counts[group] - 1

    for layer in layers:
        # A layer that shares another's keys and values keeps none of its own.
        held = getattr(layer, "is_initialized", False) and layer.keys is not None and layer.keys.numel()
        places.append((place(layer.keys), place(layer.values)) if held else None)
    return Layout(tuple(places), len(counts))


def cut(layers: Sequence[Any], layout: Layout, start: int, lengths: Sequence[int]) -> list[KVSegment]:
    """The segments of a batch's new tokens: those from `start` on, lengths[i] of row i."""
    collected: list[list[Tensor]] = [[] for _ in range(layout.groups)]
    for layer, place in zip(layers, layout.places, strict=True):
        if place is not None:
            for (group, _), t in zip(place, (layer.keys, layer.values), strict=True):
                collected[group].append(t[:, :, start:])
    stacks = [torch.stack(ts) for ts in collected]  # (n, B, heads, L, width)
    return [KVSegment(tuple(s[:, i, :, :n].clone() for s in stacks), n) for i, n in enumerate(lengths)]


def assemble(pasts: Sequence[Sequence[Past]], layout: Layout | None) -> tuple[Cache, int]:
    """A cache whose rows are the given pasts, padded on the left, and its length. Nothing in it is shared."""
    longest = max(sum(p.stop - p.start for p in past) for past in pasts)
    layers = [DynamicLayer() for _ in layout.places] if layout is not None else []
    if longest == 0 or layout is None:
        return Cache(layers=layers) if layers else Cache(layer_class_to_replicate=DynamicLayer), 0
    batches: list[Tensor] = []
    for group in range(layout.groups):
        rows = [_row(past, group) for past in pasts]
        like = next(r for r in rows if r is not None)
        batch = like.new_zeros((like.shape[0], len(rows), like.shape[1], longest, like.shape[3]))
        for i, row in enumerate(rows):
            if row is not None:
                batch[:, i, :, longest - row.shape[2] :] = row
        batches.append(batch)
    for layer, place in zip(layers, layout.places, strict=True):
        if place is not None:
            (gk, ik), (gv, iv) = place
            layer.lazy_initialization(batches[gk][ik], batches[gv][iv])
            layer.keys, layer.values = batches[gk][ik], batches[gv][iv]
    return Cache(layers=layers), longest


def _row(past: Sequence[Past], group: int) -> Tensor | None:
    """One row's keys and values of a group, (n, heads, tokens, width)."""
    parts = []
    for p in past:
        assert isinstance(p.segment, KVSegment)
        parts.append(p.segment.stacks[group][:, :, p.start : p.stop])
    return torch.cat(parts, dim=2) if parts else None
