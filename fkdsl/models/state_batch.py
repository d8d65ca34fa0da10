"""Caches other than plain keys and values (recurrent states, hybrids), kept as a snapshot after
each run of tokens.

A snapshot stands for everything before it. Only rows with equal lengths of past and new tokens are
batched, so nothing is padded, and no recurrence has to be masked.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.compat.caches import empty_cache


@dataclass(frozen=True, eq=False)
class StateSegment:
    """A snapshot as a segment. layers[k]: the attributes of the cache's layer k for one row. total:
    tokens of the whole context; length: of the run."""

    layers: tuple[dict[str, Any], ...]
    length: int
    total: int
    sliceable: bool = False
    standalone: bool = True

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for layer in self.layers for t in _tensors(layer))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for v in value.values() for t in _tensors(v)] if isinstance(value, dict) else []


def snapshot(cache: Any, row: int, rows: int, length: int, total: int) -> StateSegment:
    """The state of one row of a batch of `rows`."""
    return StateSegment(
        tuple(_take(vars(layer), row, rows) for layer in cache.layers), length, total
    )


def _take(value: Any, row: int, rows: int) -> Any:
    if isinstance(value, Tensor):
        return (
            value[row : row + 1].clone() if value.ndim and value.shape[0] == rows else value.clone()
        )
    if isinstance(value, dict):
        return {k: _take(v, row, rows) for k, v in value.items()}
    return copy.copy(value)


def restore(config: Any, segments: Sequence[StateSegment]) -> Any:
    """A cache whose rows are copies of the given states."""
    cache = empty_cache(config)
    for k, layer in enumerate(cache.layers):
        for name in segments[0].layers[k]:
            setattr(layer, name, _join([s.layers[k][name] for s in segments]))
    return cache


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values)) if first.ndim else first.clone()
    if isinstance(first, dict):
        return {k: _join([v[k] for v in values]) for k in first}
    return copy.copy(first)
