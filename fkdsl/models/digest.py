"""A model's weights told apart in a moment: a digest of a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from torch import Tensor

SAMPLED = 256
"""Weights of each tensor that a digest looks at."""


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """A digest of tensors' names, shapes and SAMPLED evenly spaced values of each: other weights
    have another one."""
    digest = blake2b(digest_size=16)
    for name in sorted(weights):
        flat = weights[name].detach().reshape(-1)
        step = max(1, len(flat) // SAMPLED)
        digest.update(f"{name} {tuple(weights[name].shape)} ".encode())
        digest.update(flat[::step].float().cpu().numpy().tobytes())
    return digest.hexdigest()
