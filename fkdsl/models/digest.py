"""A digest of a model's weights that takes milliseconds, since it reads only a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor

SAMPLED = 256
"""How many numbers of each tensor a digest reads."""


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
