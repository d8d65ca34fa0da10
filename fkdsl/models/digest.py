"""A digest of a model's weights that takes milliseconds, since it reads only a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

SAMPLED = 256
"""How many numbers of each tensor a digest reads."""
DIGEST_BLOCKS, BLOCK_BYTES = 256, 4096


def digest_of(weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> str:
    """A digest of the tensors' names, their shapes, and SAMPLED evenly spaced numbers of each. It
    differs for other weights, unless they differ only between the samples. dtype: in which the
    weights are used, None for their own."""
    digest = blake2b(digest_size=16)
    for name in sorted(weights):
        flat = weights[name].detach().reshape(-1)
        step = max(1, len(flat) // SAMPLED)
        digest.update(f"{name} {tuple(weights[name].shape)} ".encode())
        sample = flat[::step].to(dtype or flat.dtype)
        digest.update(sample.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """A digest of a file's size, its first bytes and blocks spread over it, as hex digits."""
    size = path.stat().st_size
    digest = blake2b(size.to_bytes(8, "little"), digest_size=16)
    with path.open("rb") as file:
        for k in range(DIGEST_BLOCKS):
            file.seek(k * max(size - BLOCK_BYTES, 0) // max(DIGEST_BLOCKS - 1, 1))
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
