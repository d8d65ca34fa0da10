"""What is kept of a prompt: the keys and values of its tokens and the row after it, and of which
model they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fkdsl.base.errors import CallError
from fkdsl.base.probability_blocks import Sums
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.interface import ForwardRow, LanguageModel, LogProbRows, Past
from fkdsl.models.kv_pool import KVPool, KVSegment, table_of
from fkdsl.models.tokenized import TokenizedModel


@dataclass(frozen=True)
class StoredContext:
    """A context in a file. model: the program's name for its model. planes: (tokens, heads, width)
    each; row: (V,), nats; sums: (blocks,) of the row, or None."""

    model: str
    tokens: tuple[int, ...]
    planes: tuple[Tensor, ...]
    row: LogProbRows
    sums: Sums | None = None


def identity(model: LanguageModel) -> dict[str, str]:
    """What must be equal of two models for one to use the other's keys and values: weights,
    precision and vocabulary; and the model's name. Raises CallError for a model without keys and
    values."""
    facts = model.describe()
    if not isinstance(model, TokenizedModel) or "digest" not in facts:
        raise CallError(
            f"{model.name} has no keys and values to store",
            "a prefill is for transformers; a table computes nothing for its prompt",
        )
    return {
        "model": model.name,
        "weights": str(facts["digest"]),
        "dtype": str(facts["dtype"]),
        "vocabulary": model.vocabulary.fingerprint,
    }


def check_tokens(model: LanguageModel, tokens: Sequence[int]) -> None:
    """Raises CallError for a prompt with an attachment, whose keys and values are not stored."""
    if any(i < 0 for i in tokens):
        raise CallError(
            f"the prompt of {model.name} has a source or images, which a prefill does not hold",
            "run the program without a prefill: they are encoded once for the population",
        )


def differences(stored: Mapping[str, str], here: Mapping[str, str]) -> str:
    """How a stored model differs from the one in use, in words; "" if it does not."""
    different: list[str] = []
    if stored.get("dtype") != here.get("dtype"):
        different.append(f"precision {stored.get('dtype')} and {here.get('dtype')}")
    for key in ("vocabulary", "weights"):
        if stored.get(key) != here.get(key):
            different.append(f"other {key}")
    return ", ".join(different)


def planes_of(model: LanguageModel, past: Past, first: int = 0) -> tuple[Tensor, ...]:
    """(tokens, heads, width) for each plane: what a model's pool holds of a context from its token
    `first` on, copied to the CPU. Raises CallError for a model that keeps something else."""
    pool = pool_of(model)
    if pool is None or not isinstance(past.segment, KVSegment):
        raise CallError(
            f"{model.name} keeps no keys and values that a file could hold",
            "a prefill is for models that fkdsl itself computes, with attention in all layers",
        )
    index = torch.from_numpy(table_of(past)[first:].astype(np.int64)).to(pool.device)
    return tuple(plane.index_select(0, index).cpu() for plane in pool.planes)


def plane_shapes(model: LanguageModel, token: int) -> tuple[tuple[int, int], ...]:
    """(heads, width) of each plane of a model's pool; () for a model without one. token: any token
    of the model, since a library module's cache is known only after a forward."""
    if pool_of(model) is None and isinstance(model, TokenizedModel):
        model.forward([ForwardRow(None, (token,), ())])
    pool = pool_of(model)
    return pool.shapes if pool is not None else ()


def segment_of(model: LanguageModel, planes: tuple[Tensor, ...], token: int) -> KVSegment:
    """The planes (tokens, heads, width) of a context as a segment of the model's own pool. token:
    as for `plane_shapes`. Raises CallError if they have other shapes than the pool's."""
    shapes = plane_shapes(model, token)
    pool, n = pool_of(model), len(planes[0]) if planes else 0
    if pool is None or [tuple(p.shape) for p in planes] != [(n, h, w) for h, w in shapes]:
        raise CallError(
            "the stored keys and values are not of this model's shape", "make the file again"
        )
    slots = pool.take(n)
    index = torch.from_numpy(slots.astype(np.int64)).to(pool.device)
    with torch.inference_mode():
        for plane, values in zip(pool.planes, planes, strict=True):
            plane.index_copy_(0, index, values.to(plane))
    return KVSegment(pool, None, slots)


def pool_of(model: LanguageModel) -> KVPool | None:
    """A model's pool of keys and values; None for one that has none, or none yet."""
    return model.pool if isinstance(model, TokenizedModel) else None
