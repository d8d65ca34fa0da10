"""transformers' layers for multi-token prediction (MTP): read from a folder, and run one by one.

    layers = read_layers(module, 2)                # the library's MtpModel, with the weights of the module's folder
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

    Raises what the library raises: ImportError, missing tensors, a configuration that says too
    little; ValueError for a tensor that was not read.
    """
    from transformers.modeling_layers import MtpModel

    if not hasattr(MtpModel, "forward_layer"):
        raise ImportError(f"they need a newer transformers, such as {TESTED_VERSIONS[1]}")
    # They follow the trunk's by number. The library knows only the numbers that published sizes
    # give (5.24).
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
    """The library's cache with these keys and values of its first layers; the others have none
    yet."""
    from transformers.cache_utils import MtpCache

    cache = MtpCache(config=config)
    kept = [*layers, *[None] * (len(cache.layers) - len(layers))]
    # Plain layers for sliding ones too: their masks bound what is seen.
    cache.layers = [attention_layer(of_layer) for of_layer in kept]
    return cache


def run_layer(
    layers: Any, i: int, states: Tensor, places: Tensor, cache: Any, ids: Tensor
) -> Tensor:
    """(B, L, width) what layer i makes of the states (B, L, width) and tokens (B, L) at these
    positions (B, L)."""
    made: Tensor = layers.forward_layer(i, states, places, cache, input_ids=ids)
    return made


def head(layers: Any, states: Tensor) -> Tensor:
    """(B, V) logits of the states (B, width) that a layer made."""
    logits: Tensor = layers._project_to_logits(states)
    return logits
