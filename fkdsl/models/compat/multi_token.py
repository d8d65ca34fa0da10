"""transformers' layers for multi-token prediction (MTP): read from a folder, and run one by one.

    layers = read_layers(module, 2)      # the library's MtpModel, read from the module's folder
    cache = layers_cache(layers.config, [(keys, values), None])
    run_layer(layers, 0, states, places, cache, ids)

Older releases of transformers (5.16) have no such classes, or others; ImportError says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fkdsl.models.compat import TESTED_VERSIONS
from fkdsl.models.compat.caches import attention_layer
from fkdsl.models.compat.quiet import quiet_transformers


def read_layers(module: Any, n: int) -> Any:
    """The n MTP layers of a module, from the folder that it was loaded from.

    Raises what the library raises, for missing tensors or an incomplete configuration; ImportError
    for a release without the classes; ValueError for a tensor that was not read.
    """
    from transformers.modeling_layers import MtpModel

    if not hasattr(MtpModel, "forward_layer"):
        raise ImportError(f"they need a newer transformers, such as {TESTED_VERSIONS[1]}")
    # The MTP layers have the numbers after the trunk's. The library (5.24) only knows the numbers
    # that they have in models of the published sizes.
    first = module.config.get_text_config(decoder=True).num_hidden_layers
    numbers = {rf"^model\.layers\.{k}\." for k in range(first, first + n)}
    module._keys_to_ignore_on_load_unexpected = {
        *(module._keys_to_ignore_on_load_unexpected or ()),
        *numbers,
    }
    with quiet_transformers():
        layers = MtpModel.from_pretrained(module, device_map={"": module.device})
    if unread := [name for name, p in layers.named_parameters() if p.is_meta]:
        raise ValueError(f"{unread[0]} was not read")
    return layers


def layers_cache(config: Any, layers: Sequence[tuple[Tensor, Tensor] | None]) -> Any:
    """The library's cache. layers: the keys and the values of its first layers, None for a layer
    that has none yet."""
    from transformers.cache_utils import MtpCache

    cache = MtpCache(config=config)
    all_layers = [*layers, *[None] * (len(cache.layers) - len(layers))]
    # Plain layers replace sliding ones too: the masks bound what these attend to.
    cache.layers = [attention_layer(layer) for layer in all_layers]
    return cache


def run_layer(
    layers: Any, i: int, states: Tensor, places: Tensor, cache: Any, ids: Tensor
) -> Tensor:
    """(B, L, width) the output of layer i. states: (B, L, width); places: (B, L) the positions in
    the contexts; ids: (B, L) the tokens."""
    output: Tensor = layers.forward_layer(i, states, places, cache, input_ids=ids)
    return output


def head(layers: Any, states: Tensor) -> Tensor:
    """(B, V) the logits of a layer's outputs, (B, width)."""
    logits: Tensor = layers._project_to_logits(states)
    return logits
