"""The keys and values of a model, in one pool with a slot for each token of each distinct context.

    segment = KVSegment(pool, past, slots)   # slots: from pool.take(n), returned with the segment
    pool.planes[l]                           # (slots, heads, width): what layer l keeps of a token
    segment.table                            # the slots of the whole context, in order

Contexts share the slots of what they have in common, so a fork copies nothing. A batch takes one
gather for each plane.

One thread at a time runs forwards and so takes slots; segments may be freed in any thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.models.interface import Past

Slots = NDArray[np.int32]

FIRST_BYTES = {"cpu": 512_000_000}
"""The bytes of a new pool, by kind of device. A host commits memory when it is first written, so
there they cost nothing until they are used."""
FIRST_SHARE = 0.25
"""The share of a GPU's free memory that a new pool takes. A pool that grows is copied, and what was
captured of its planes (fkdsl.models.device.graphs) is captured again."""
FEWEST_SLOTS, MOST_FIRST_SLOTS = 512, 65_536
"""Bounds on the slots of a new pool."""


class KVPool:
    """Slots for tokens. planes: for each plane a tensor (capacity, heads, width).

    A full pool is doubled on a host, where unused memory costs nothing; on a device it grows by a
    quarter. generation: how often its planes were replaced by others.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int]], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shapes, self.dtype, self.device = tuple(shapes), dtype, device
        self.slot_bytes: int = (
            sum(h * w for h, w in shapes) * torch.empty((), dtype=dtype).element_size()
        )
        self.growth = 2.0 if device.type == "cpu" else 1.25
        self.first = min(
            MOST_FIRST_SLOTS,
            max(FEWEST_SLOTS, _first_bytes(device) // max(1, self.slot_bytes)),
        )
        self.generation = 0
        self._used = 0
        self._lock = threading.Lock()
        # Freed segments wait here: an append is safe in any thread, and also where Python's
        # collector frees a segment in the midst of `take`.
        self._returned: deque[Slots] = deque()
        self._clear()

    @property
    def used(self) -> int:
        """How many slots segments hold."""
        with self._lock:
            self._reclaim()
            return self._used

    @property
    def capacity(self) -> int:
        """Slots that each plane has."""
        with self._lock:
            self._reclaim()
            return int(self._capacity)

    def _clear(self) -> None:
        self.generation += 1
        self._capacity = self.first
        self.planes = [self._plane(h, w) for h, w in self.shapes]
        self._free = list(range(self.first - 1, -1, -1))

    def _plane(self, heads: int, width: int) -> Tensor:
        return torch.empty((self._capacity, heads, width), dtype=self.dtype, device=self.device)

    def take(self, n: int) -> Slots:
        """n free slots, for the caller to write; a new pool gives its lowest slots first."""
        with self._lock:
            self._reclaim()
            if n > len(self._free):
                self._grow(n)
            slots = self._free[-n:][::-1]
            del self._free[-n:]
            self._used += n
        return np.array(slots, dtype=np.int32)

    def give_back(self, slots: Slots) -> None:
        """Takes back slots that `take` gave, from any thread; they are free from the next `take`
        on."""
        self._returned.append(slots)

    def _reclaim(self) -> None:
        """Frees the slots that were given back; a pool that has grown and is empty begins anew."""
        while self._returned:
            slots = self._returned.popleft()
            self._free.extend(slots[::-1].tolist())
            self._used -= len(slots)
        if self._used == 0 and self._capacity > self.first:
            self._clear()

    def _grow(self, n: int) -> None:
        self.generation += 1
        before = self._capacity
        self._capacity = max(int(before * self.growth), before + n)
        for i, plane in enumerate(self.planes):
            self.planes[i] = self._plane(*self.shapes[i])
            self.planes[i][:before] = plane
        self._free[:0] = range(self._capacity - 1, before - 1, -1)


class KVSegment:
    """A segment as slots of a pool. table: (n,) int32, the slots of the whole context up to the end
    of the segment's tokens.

    It holds a reference to the segment that it continues, since it needs that one's slots.
    unit_facts: what every forward needs to know of the context's beginning, of a model with eyes
    whose context begins with images (fkdsl.models.vision.unit); else None.
    """

    __slots__ = ("_parent", "_pool", "_slots", "table", "unit_facts")
    sliceable = True
    standalone = False

    def __init__(self, pool: KVPool, past: Past | None, slots: Slots) -> None:
        self._pool, self._slots = pool, slots
        self._parent: KVSegment | None = None
        self.table = slots
        self.unit_facts: Any = None
        if past is not None:
            assert isinstance(past.segment, KVSegment)
            self._parent = past.segment
            self.unit_facts = past.segment.unit_facts
            self.table = np.concatenate((table_of(past), slots))

    @property
    def length(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        return self.length * self._pool.slot_bytes + int(self.table.nbytes)

    def tensors(self) -> list[Tensor]:
        """The segment's tokens in each plane, (length, heads, width)."""
        return [
            plane[torch.from_numpy(self._slots).long().to(plane.device)]
            for plane in self._pool.planes
        ]

    def hand_over(self) -> Slots:
        """The segment's own slots, for another segment to hold in its place."""
        slots, self._slots = self._slots, self._slots[:0]
        return slots

    def __del__(self) -> None:
        self._pool.give_back(self._slots)


def _first_bytes(device: torch.device) -> int:
    """The bytes of a new pool on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(FIRST_SHARE * free)
    return FIRST_BYTES.get(device.type, 0)


def table_of(past: Past | None) -> Slots:
    """(n,) the slots of a past's tokens."""
    if past is None:
        return np.empty(0, dtype=np.int32)
    assert isinstance(past.segment, KVSegment)
    table = past.segment.table
    return table[: len(table) - past.segment.length + past.stop]
