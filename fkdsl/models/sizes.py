"""Checks that the sizes in a configuration can be those of the weights, before a module is built.

A library that builds a module trusts the configuration: ten million layers take hours, and a width
of a million takes all memory, before it finds out that the weights have another shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fkdsl.base.errors import CallError

_LAYERS = re.compile(
    r"num_(hidden|decoder|encoder|nextn_predict|mtp)?_?layers|n_layers?|num_blocks"
    r"|(encoder|decoder)_layers"
)
_WIDTHS = re.compile(
    r"(vocab|hidden|intermediate|embedding|state|ffn)\w*_size|\w*_intermediate_size|head_dim"
    r"|n_embd|n_inner|d_model|d_inner|d_ff|d_kv|(num|n)_\w*(heads?|experts)|n_head|num_experts"
    r"|(encoder|decoder)_(ffn_dim|attention_heads)"
    r"|kv_lora_rank|q_lora_rank"
)
FEW_LAYERS, NARROW = 256, 1 << 16
"""So many layers and such widths are never refused here, since building them costs little."""
PARAMETERS_PER_PACKED_NUMBER = 16
"""Most parameters for each stored number of quantised weights, which pack several into one."""
PARAMETERS_PER_NUMBER = 2
"""Most parameters for each stored number of other weights: two tensors of a module may share one in
the file."""


def verify_sizes(config: Mapping[str, Any], tensors: Mapping[str, int], shown: str) -> None:
    """Raises CallError for a size in a configuration that the weights cannot have. tensors: by
    name, how many numbers each has."""
    elements = sum(tensors.values()) * (
        PARAMETERS_PER_PACKED_NUMBER if "quantization_config" in config else 1
    )
    for key, value in _numbers(config):
        if _LAYERS.fullmatch(key) and not 0 <= value <= max(len(tensors), FEW_LAYERS):
            raise _impossible(shown, key, value, f"the weights hold {len(tensors):,} tensors")
        if _WIDTHS.fullmatch(key) and not 0 <= value <= max(elements, NARROW):
            numbers = sum(tensors.values())
            raise _impossible(shown, key, value, f"the weights hold {numbers:,} numbers")


def verify_parameters(
    parameters: int, tensors: Mapping[str, int], quantised: bool, shown: str
) -> None:
    """Raises CallError if a module has more parameters than the weights can fill."""
    elements = sum(tensors.values())
    if parameters > elements * (
        PARAMETERS_PER_PACKED_NUMBER if quantised else PARAMETERS_PER_NUMBER
    ):
        raise CallError(
            f"the configuration of `{shown}` describes {parameters:,} parameters, its weights hold "
            f"{elements:,}",
            "the configuration and the weights are of different models: fetch the model again",
        )


def _impossible(shown: str, key: str, value: int, but: str) -> CallError:
    return CallError(
        f"the configuration of `{shown}` has {key} = {_digits(value)}, and {but}",
        "the configuration and the weights are of different models: fetch the model again",
    )


def _digits(value: int) -> str:
    return str(value) if abs(value) < 10**20 else f"a number beyond {'-' if value < 0 else ''}1e20"


def _numbers(value: Any, depth: int = 0) -> Iterator[tuple[str, int]]:
    """(key, value) for each whole number in an object and in the objects within it."""
    if depth > 20 or not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if isinstance(inner, int) and not isinstance(inner, bool):
            yield key, inner
        else:
            yield from _numbers(inner, depth + 1)
