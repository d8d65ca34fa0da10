"""Whether the sizes that a configuration names can be those of the weights beside it, before
anything is built by them.

A library that builds a module believes the configuration: ten million layers take hours, a width of
a million takes all memory, and only then does it find out that the weights are of another shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fkdsl.base.errors import CallError

_LAYERS = re.compile(
    r"num_(hidden|decoder|encoder|nextn_predict|mtp)?_?layers|n_layers?|num_blocks"
)
_WIDTHS = re.compile(
    r"(vocab|hidden|intermediate|embedding|state|ffn)\w*_size|\w*_intermediate_size|head_dim|n_embd|n_inner|d_model"
    r"|d_inner|d_ff|(num|n)_\w*(heads?|experts)|n_head|num_experts|kv_lora_rank|q_lora_rank"
)
FEW_LAYERS, NARROW = 256, 1 << 16
"""Layers and widths that cost little to describe: whether the weights have them is seen when the
module is."""
PARAMETERS_PER_PACKED_NUMBER = 16
"""Parameters that one stored number may hold in weights that are quantised, where padding is
counted in."""
PARAMETERS_PER_NUMBER = 2
"""Parameters that a module may have for each stored number of other weights: two tensors may be one
in the file."""


def verify_sizes(config: Mapping[str, Any], tensors: Mapping[str, int], shown: str) -> None:
    """Raises CallError for a number of a configuration that these weights (by name, their elements)
    cannot have."""
    elements = sum(tensors.values()) * (
        PARAMETERS_PER_PACKED_NUMBER if "quantization_config" in config else 1
    )
    for key, value in _numbers(config):
        if _LAYERS.fullmatch(key) and not 0 <= value <= max(len(tensors), FEW_LAYERS):
            raise _strange(shown, key, value, f"the weights hold {len(tensors):,} tensors")
        if _WIDTHS.fullmatch(key) and not 0 <= value <= max(elements, NARROW):
            raise _strange(shown, key, value, f"the weights hold {sum(tensors.values()):,} numbers")


def verify_parameters(
    parameters: int, tensors: Mapping[str, int], quantised: bool, shown: str
) -> None:
    """Raises CallError if a module of so many parameters cannot be filled by these weights."""
    elements = sum(tensors.values())
    if parameters > elements * (
        PARAMETERS_PER_PACKED_NUMBER if quantised else PARAMETERS_PER_NUMBER
    ):
        raise CallError(
            f"the configuration of `{shown}` describes {parameters:,} parameters, its weights hold {elements:,}",
            "the configuration and the weights are of different models: fetch the model again",
        )


def _strange(shown: str, key: str, value: int, but: str) -> CallError:
    return CallError(
        f"the configuration of `{shown}` has {key} = {_digits(value)}, and {but}",
        "the configuration and the weights are of different models: fetch the model again",
    )


def _digits(value: int) -> str:
    return str(value) if abs(value) < 10**20 else f"a number beyond {'-' if value < 0 else ''}1e20"


def _numbers(value: Any, depth: int = 0) -> Iterator[tuple[str, int]]:
    """(key, whole number) of an object, and of those in it."""
    if depth > 20 or not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if isinstance(inner, int) and not isinstance(inner, bool):
            yield key, inner
        else:
            yield from _numbers(inner, depth + 1)
