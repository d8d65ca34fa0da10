"""The caches of transformers' modules: the name by which a module takes one, its layers, and how
one is put together.

    name = cache_name(module)    # "cache" from 5.24 on; "past_key_values" or "cache_params" before
    cache = attention_cache([(keys, values), None])
    module(input_ids=ids, use_cache=True, **{name: cache})
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache

from fkdsl.models.compat import CacheUnknown

_OTHERS: tuple[type, ...] = tuple(
    kind
    for name in ("LinearAttentionCacheLayerMixin", "DynamicIndexedLayer")
    if (kind := getattr(cache_utils, name, None)) is not None
)
"""Layers that keep more than keys and values, though they may be DynamicLayers too; not every
release has them."""


def cache_name(module: Any, **given: Any) -> str:
    """The keyword by which a module's forward takes a cache: the field of its output that has one.

    transformers' own `generate` passes a cache back under the name of that field, whatever the
    release calls it. The signature does not tell the name, since forwards are wrapped and ignore
    keywords that they do not know. Runs one forward of one token. given: what the module needs
    beside it. Raises CacheUnknown if it fails, or its output has no
    cache.
    """
    device = module.get_input_embeddings().weight.device
    ids = torch.zeros((1, 1), dtype=torch.long, device=device)
    try:
        with torch.inference_mode():
            output = module(input_ids=ids, use_cache=True, **given)
    except Exception as error:  # the library raises many kinds for a cache that it does not make
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CacheUnknown(
            f"models of the family {module.config.model_type} make no cache: {reason}"
        ) from error
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
    """Whether every layer of a configuration's cache keeps keys and values and nothing else."""
    layers = empty_cache(config).layers
    return all(
        isinstance(layer, DynamicLayer) and not isinstance(layer, _OTHERS) for layer in layers
    )


def attention_cache(layers: Sequence[tuple[Tensor, Tensor] | None] | None = None) -> Any:
    """A cache of attention layers. layers: the keys and the values of each, (rows, heads, length,
    width); None for a layer that has none yet. Without `layers`, the cache makes its layers during
    a forward."""
    if layers is None:
        return Cache(layer_class_to_replicate=DynamicLayer)
    return Cache(layers=[attention_layer(layer) for layer in layers])


def encoder_decoder_cache(own: Any, cross: Any) -> Any:
    """The cache of a decoder that reads a source. own, cross: of its attention to its own tokens
    and to the source; where `cross` has keys and values, the decoder computes none."""
    return EncoderDecoderCache(own, cross)


def attention_layer(keys_and_values: tuple[Tensor, Tensor] | None) -> Any:
    """A cache's layer with these keys and values."""
    layer = DynamicLayer()
    if keys_and_values is not None:
        layer.lazy_initialization(*keys_and_values)
        layer.keys, layer.values = keys_and_values
    return layer


def kept_by(layer: Any) -> tuple[Tensor, Tensor] | None:
    """The keys and values of a cache's layer; None for a layer that uses another's and keeps none
    of its own."""
    if not getattr(layer, "is_initialized", False) or layer.keys is None or not layer.keys.numel():
        return None
    return layer.keys, layer.values
