"""What a decode step reads: token ids, positions and the tables of where each row's context lies in
the pool, in one buffer on the device whose address does not change, filled by one copy a step.

    inputs = buffers.fill(StepTables.of(tables), ids, rows=16)    # 16 rows, the last ones fillers
    inputs.ids                          # (16,) int32, on the device

The pool's pages are of one token, so that a fork copies nothing and a token is freed with its
context. A token's keys and values of a layer lie together, some hundred bytes or more, so larger
pages would be read no faster. Tables are ragged: what all rows share comes first and once, then the
rest of each row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.kv_pool import Slots

FEWEST_SHARED = 32
"""Tokens that must be shared at least; fewer are read by each row."""
FIRST_TABLE = 1 << 18
"""Entries of the tables that a new buffer has room for; 4 bytes each."""
COLUMNS = 5
"""Numbers of a row that stand before the tables."""


@dataclass(frozen=True)
class StepTables:
    """Where the contexts of a step lie in the pool. shared: the slots of what all of them begin
    with. own: for each row those of the rest, its new token the last."""

    shared: Slots
    own: list[Slots]

    @classmethod
    def of(cls, tables: Sequence[Slots]) -> StepTables:
        """tables: the slots of each context, its new token the last."""
        n = shared_length(tables)
        return cls(tables[0][:n], [table[n:] for table in tables])

    @property
    def longest(self) -> int:
        """Slots of the longest row beside the shared ones."""
        return max(map(len, self.own))


def shared_length(tables: Sequence[Slots]) -> int:
    """How many slots all tables begin with, 0 where it does not pay to read them apart.

    A slot holds a token of one context, so tables that agree at a place agree before it, and the
    place is found by halving.
    """
    most = min(map(len, tables)) - 1  # a row's last token is its own
    if len(tables) < 2 or most < FEWEST_SHARED:
        return 0
    starts = np.cumsum([0, *map(len, tables[:-1])])
    flat = np.concatenate(tables)

    def agree(at: int) -> bool:
        column = flat[starts + at]
        return bool((column == column[0]).all())

    low, high = 0, most  # they agree before low; at high and after it they do not
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if agree(middle) else (low, middle)
    return low if low >= FEWEST_SHARED else 0


@dataclass(frozen=True)
class StepInputs:
    """Views of a buffer, int32. ids, positions, slots: (rows,) the new tokens, and the slots where
    their keys and values go. starts, lengths: (rows,) where each row's own table begins in
    `tables`, and its length. shared: (1,) how many of the first of `tables` all rows share."""

    ids: Tensor
    positions: Tensor
    slots: Tensor
    starts: Tensor
    lengths: Tensor
    shared: Tensor
    tables: Tensor

    @property
    def rows(self) -> int:
        return len(self.ids)


class StepBuffers:
    """The buffer of a decoder's steps. generation: how often it was replaced by a larger one."""

    def __init__(self, device: torch.device, first: int = FIRST_TABLE) -> None:
        self.device, self.generation = device, 0
        self._make(first)

    def _make(self, size: int) -> None:
        self.generation += 1
        pinned = self.device.type == "cuda"
        self._host = torch.empty(size, dtype=torch.int32, pin_memory=pinned)
        self._numbers: NDArray[np.int32] = self._host.numpy()
        self._there = torch.zeros(size, dtype=torch.int32, device=self.device)
        self._views: dict[int, StepInputs] = {}
        self._copied = torch.cuda.Event() if pinned else None

    def fill(
        self,
        tables: StepTables,
        ids: Sequence[int],
        positions: Sequence[int],
        spare: int,
        rows: int,
    ) -> StepInputs:
        """The inputs of a step of `rows` rows. Those after the given ones are fillers, of one token
        whose keys and values go to the slot `spare`."""
        n, shared = len(ids), len(tables.shared)
        lengths = np.ones(rows, dtype=np.int32)
        lengths[:n] = [len(own) for own in tables.own]
        used = 1 + COLUMNS * rows + shared + int(lengths.sum())
        if 2 * used > len(self._host):  # room for views of padded sizes
            self._make(4 * used)
        if self._copied is not None:
            self._copied.synchronize()  # of the step before, which has long been done
        numbers = self._numbers
        numbers[0] = shared
        columns = numbers[1 : 1 + COLUMNS * rows].reshape(COLUMNS, rows)
        columns[:2] = 0
        columns[0, :n], columns[1, :n] = ids, positions
        columns[2] = spare
        columns[2, :n] = [own[-1] for own in tables.own]
        columns[3] = shared + np.cumsum(lengths) - lengths
        columns[4] = lengths
        begin, end = 1 + COLUMNS * rows, used - (rows - n)
        np.concatenate([tables.shared, *tables.own], out=numbers[begin:end])
        numbers[end:used] = spare
        self._there[:used].copy_(self._host[:used], non_blocking=True)
        if self._copied is not None:
            self._copied.record()
        return self._inputs(rows)

    def _inputs(self, rows: int) -> StepInputs:
        """The views of a step of `rows` rows."""
        if rows not in self._views:
            end = 1 + COLUMNS * rows
            ids, positions, slots, starts, lengths = self._there[1:end].view(COLUMNS, rows)
            self._views[rows] = StepInputs(
                ids, positions, slots, starts, lengths, self._there[:1], self._there[end:]
            )
        return self._views[rows]
