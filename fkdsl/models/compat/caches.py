"""The caches of transformers' modules: by which name one goes in, what its layers are, and how one
is put together.

name = cache_name(module)                      # "cache" from 5.24 on; "past_key_values" or
"cache_params" before cache = attention_cache([(keys, values), None]) module(input_ids=ids,
use_cache=True, **{name: cache})
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from fkdsl.models.compat import CacheUnknown

_OTHERS: tuple[type, ...] = tuple(
    kind
    for name in ("LinearAttentionCacheLayerMixin", "DynamicIndexedLayer")
    if (kind := getattr(cache_utils, name, None)) is not None
)
"""Layers that keep more than keys and values, though they may be DynamicLayers too; not every
release has them."""


def cache_name(module: Any) -> str:
    """The keyword by which a module's forward takes a cache: the field of its output that holds
    one.

    `generate` of transformers hands a cache back in under the name it came out by, whatever the
    release calls it. The signature does not say the name: forwards are wrapped, and what they do
    not know they swallow. One forward of one token. Raises CacheUnknown where no cache comes out.
    """
    device = module.get_input_embeddings().weight.device
    with torch.inference_mode():
        output = module(
            input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=True
        )
    for name, value in output.items():
        if isinstance(value, Cache):
            return str(name)
    raise CacheUnknown(
        f"models of the family {module.config.model_type} keep no cache that fkdsl can use"
    )


def empty_cache(config: Any) -> Any:
    """A cache of a configuration's own kinds of layers, with nothing in it."""
    return DynamicCache(config=config)


def keeps_keys_and_values(config: Any) -> bool:
    """Whether every layer of a configuration's cache keeps keys and values, and nothing else."""
    layers = empty_cache(config).layers
    return all(
        isinstance(layer, DynamicLayer) and not isinstance(layer, _OTHERS) for layer in layers
    )


def attention_cache(layers: Sequence[tuple[Tensor, Tensor] | None] | None = None) -> Any:
    """A cache of attention layers with these keys and values, (rows, heads, length, width) each;
    None for a layer that has none yet. Without `layers`: one that makes its layers as they are
    asked for."""
    if layers is None:
        return Cache(layer_class_to_replicate=DynamicLayer)
    return Cache(layers=[attention_layer(kept) for kept in layers])


def attention_layer(kept: tuple[Tensor, Tensor] | None) -> Any:
    """A layer of a cache with these keys and values."""
    layer = DynamicLayer()
    if kept is not None:
        layer.lazy_initialization(*kept)
        layer.keys, layer.values = kept
    return layer


def kept_by(layer: Any) -> tuple[Tensor, Tensor] | None:
    """The keys and values of an attention layer; None for a layer that shares another's and keeps
    none of its own."""
    if not getattr(layer, "is_initialized", False) or layer.keys is None or not layer.keys.numel():
        return None
    return layer.keys, layer.values
