"""Arrays to a device and back, several in one transfer. What goes there waits for nothing: it is
copied from memory that the system may not move (pinned), as the device has time. What comes back
waits for all that the device was given before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TRANSFERS = [0]
"""How many times bytes came from a device, each of which waits for it."""
NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64}
TORCH: dict[Any, torch.dtype] = {
    np.dtype(np.float64): torch.float64,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.uint8): torch.uint8,
}
ALIGNED = 16
"""Bytes at whose multiples each array begins."""


def to_host(*tensors: Tensor) -> list[NDArray[Any]]:
    """The tensors as arrays, by one transfer."""
    TRANSFERS[0] += 1
    flat = [_bytes_of(t) for t in tensors]
    together = flat[0] if len(flat) == 1 else torch.cat(flat)
    if together.device.type == "cuda":
        pinned = torch.empty(together.shape, dtype=torch.uint8, pin_memory=True)
        pinned.copy_(together, non_blocking=True)
        torch.cuda.current_stream(together.device).synchronize()
        together = pinned
    raw = together.cpu().numpy()
    arrays, at = [], 0
    for tensor, part in zip(tensors, flat, strict=True):
        own = raw[at : at + len(part)].tobytes()
        arrays.append(np.frombuffer(own, NUMPY[tensor.dtype]).reshape(tuple(tensor.shape)))
        at += len(part)
    return arrays


def _bytes_of(tensor: Tensor) -> Tensor:
    """A tensor's bytes, one after the other, on its device."""
    flat = tensor.reshape(-1)
    if flat.stride(0) != 1:  # a single number may have any stride, also of a contiguous tensor
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8)


def to_device(device: torch.device, *arrays: NDArray[Any]) -> list[Tensor]:
    """The arrays as tensors on a device, by one transfer."""
    begins, size = [], 0
    for array in arrays:
        begins.append(size)
        size += -(-array.nbytes // ALIGNED) * ALIGNED
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    raw = host.numpy()
    for begin, array in zip(begins, arrays, strict=True):
        raw[begin : begin + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    there = host.to(device, non_blocking=True)
    return [
        there[begin : begin + array.nbytes].view(TORCH[array.dtype]).view(array.shape)
        for begin, array in zip(begins, arrays, strict=True)
    ]
