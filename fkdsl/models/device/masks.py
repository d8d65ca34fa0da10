"""Masks of a vocabulary on a device: each is moved there once, by the array that a constraint has
for a state of its automaton, as bits, and stays until others need its place.

    places = masks.places([mask, None, mask])   # [0, -1, 0]; a mask that is new is on its way
    masks.bits[0]                               # (bytes,) uint8, on the device

49,152 tokens are 6 kilobytes, so the masks of a long automaton take a few megabytes there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fkdsl.base.locks import locked
from fkdsl.base.probability_blocks import Mask
from fkdsl.models.device.transfer import to_device

KEPT = 512
"""Masks that are kept, of each size of vocabulary; more where one step needs more."""


class DeviceMasks:
    """Masks of one size of vocabulary on one device, the least recently used replaced first."""

    def __init__(self, size: int, device: torch.device, most: int = KEPT) -> None:
        self.size, self.device, self.lock = size, device, threading.RLock()
        # A mask is known by its array, which is held, so that no other gets its id.
        self._places: OrderedDict[int, tuple[Mask, int]] = OrderedDict()
        self.bits = self._empty(most)

    def _empty(self, most: int) -> Tensor:
        return torch.zeros((most, -(-self.size // 8)), dtype=torch.uint8, device=self.device)

    @locked
    def places(self, masks: Sequence[Mask | None]) -> list[int]:
        """Where in `bits` each mask is, -1 for None; as long as the caller holds `lock`, none is
        replaced. Nobody writes to a mask. Those that are new are moved in one transfer, which
        nothing waits for."""
        distinct = {id(mask): mask for mask in masks if mask is not None}
        for key in distinct.keys() & self._places.keys():
            self._places.move_to_end(key)
        new = [mask for key, mask in distinct.items() if key not in self._places]
        if new:
            self._move(new, len(distinct))
        return [-1 if mask is None else self._places[id(mask)][1] for mask in masks]

    def _move(self, new: Sequence[Mask], needed: int) -> None:
        if needed > len(self.bits):
            larger = self._empty(2 * needed)
            larger[: len(self.bits)] = self.bits
            self.bits = larger
        free = range(len(self._places), len(self.bits))
        # Those of this step were used last, so none of them is replaced.
        at = [
            free[i] if i < len(free) else self._places.popitem(last=False)[1][1]
            for i in range(len(new))
        ]
        packed, index = to_device(
            self.device,
            np.packbits(np.stack(new), axis=1, bitorder="little"),
            np.array(at, dtype=np.int64),
        )
        self.bits.index_copy_(0, index, packed)
        self._places.update((id(mask), (mask, i)) for mask, i in zip(new, at, strict=True))


_of_size: dict[tuple[int, str], DeviceMasks] = {}


def masks_of(size: int, device: torch.device) -> DeviceMasks:
    """The masks of a size of vocabulary that are on a device."""
    key = size, str(device)
    masks = _of_size.get(key)
    return masks if masks is not None else _of_size.setdefault(key, DeviceMasks(size, device))
