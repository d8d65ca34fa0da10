"""The weights of a decoder of the Llama family: its shape, its layers, and how they are packed.

if has_decoder_form(config):
    shape = DecoderShape.of(config, frequencies, scaling)
    layer = LayerPacking(weights, shape.width, "float32").layer("model.layers.0")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.linear import Linear, PackedLinear, pack
from fkdsl.models.packed_file import PackedFile

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROTARY = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions whose frequencies do not depend on the length of the text."""


def has_decoder_form(config: Any) -> bool:
    """Whether fkdsl.models.decoder can run a model of a transformers configuration."""
    layers = getattr(config, "layer_types", None) or []
    rotary = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in FAMILIES
        and getattr(config, "hidden_act", "") == "silu"
        and all(kind == "full_attention" for kind in layers)
        and (bool(layers) or getattr(config, "sliding_window", None) is None)
        and rotary.get("rope_type", "") in ROTARY
        and rotary.get("partial_rotary_factor", 1.0) == 1.0
        and getattr(config, "pretraining_tp", 1) == 1
    )


@dataclass(frozen=True)
class DecoderLayer:
    """The weights of one layer. qkv: queries, keys and values as one map. q_norm, k_norm: the norms
    of each head's queries and keys, None in families without."""

    norm: Tensor
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Linear
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder. heads, kv_heads: of queries, of keys and values; width: coordinates of a
    head. eps: of the norms. frequencies: (width / 2,) the angle, in radians a position, by which
    each pair of coordinates is rotated; scaling: the factor of the rotated coordinates."""

    layers: int
    heads: int
    kv_heads: int
    width: int
    eps: float
    frequencies: Tensor
    scaling: float

    @classmethod
    def of(cls, config: Any, frequencies: Tensor, scaling: float) -> DecoderShape:
        """The shape that a transformers configuration describes."""
        heads = config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            width=getattr(config, "head_dim", None) or config.hidden_size // heads,
            eps=config.rms_norm_eps,
            frequencies=frequencies.detach().float(),
            scaling=scaling,
        )


@dataclass(frozen=True)
class WeightsFile:
    """How a decoder reads weights that lie in a file which nobody else writes. Each is converted to
    `dtype` and moved to `device` when it is read. packed: where the packed maps are kept from run
    to run, None for nowhere."""

    dtype: torch.dtype
    device: str
    packed: PackedFile | None


class LayerPacking:
    """Makes layers and linear maps from a decoder's weights, by the names that transformers gives
    them. width: coordinates of a head. precision: a dtype's name, or "int8". file: of the weights,
    if they are in one."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        width: int,
        precision: str,
        file: WeightsFile | None = None,
    ) -> None:
        self.weights, self.width, self.precision, self.file = weights, width, precision, file
        # An embedding may be the head too: for as long as a weight is held, it is not read again.
        self._read: WeakValueDictionary[str, Tensor] = WeakValueDictionary()

    def weight(self, name: str) -> Tensor:
        """A weight, in the dtype and on the device where it will be used."""
        if self.file is None:
            return self.weights[name].detach()
        weight = self._read.get(name)
        if weight is None:
            weight = self.weights[name].detach().to(self.file.device, self.file.dtype)
            self._read[name] = weight
        return weight

    def map(self, *names: str) -> Linear:
        """One or more projections as one packed map."""
        biases = [self._bias(name) for name in names if f"{name}.bias" in self.weights]
        bias = torch.cat(biases) if biases else None
        packed = self.file.packed if self.file is not None else None
        if packed is None:
            return pack(self._joined(names), bias, self.precision)
        key, shapes = " ".join(names), [self.weights[f"{name}.weight"].shape for name in names]
        kept = packed.take(key, (sum(out for out, _ in shapes), shapes[0][1]))
        if kept is not None:
            return PackedLinear(kept[0], bias, memory=kept[1])
        made = pack(self._joined(names), bias, self.precision)
        if isinstance(made, PackedLinear):
            packed.add(key, made.weight)
        return made

    def _joined(self, names: Sequence[str]) -> Tensor:
        """(out, in) the weights of some projections, one below the other."""
        weights = [self._in_order(name, self.weight(f"{name}.weight")) for name in names]
        # torch.cat of one tensor copies it, and packing copies it again.
        return torch.cat(weights) if len(weights) > 1 else weights[0]

    def _bias(self, name: str) -> Tensor:
        return self._in_order(name, self.weight(f"{name}.bias"))

    def layer(self, prefix: str) -> DecoderLayer:
        """The layer whose weights' names begin with a prefix."""
        attention = f"{prefix}.self_attn"
        norms = [
            self.weight(f"{attention}.{n}.weight")[self._pairs()]
            if f"{attention}.{n}.weight" in self.weights
            else None
            for n in ("q_norm", "k_norm")
        ]
        return DecoderLayer(
            norm=self.weight(f"{prefix}.input_layernorm.weight").clone(),
            qkv=self.map(*(f"{attention}.{n}_proj" for n in "qkv")),
            q_norm=norms[0],
            k_norm=norms[1],
            out=self.map(f"{attention}.o_proj"),
            mlp_norm=self.weight(f"{prefix}.post_attention_layernorm.weight").clone(),
            gate=self.map(f"{prefix}.mlp.gate_proj"),
            up=self.map(f"{prefix}.mlp.up_proj"),
            down=self.map(f"{prefix}.mlp.down_proj"),
        )

    def _pairs(self) -> Tensor:
        """(width,) the order of a head's coordinates in which i and i + width / 2, which are
        rotated as a pair, stand side by side, as the parts of a complex number."""
        half = self.width // 2
        return torch.arange(self.width).view(2, half).t().reshape(-1)

    def _in_order(self, name: str, weight: Tensor) -> Tensor:
        """A projection's weight or bias. Those of queries and keys have each head's coordinates in
        the order of `_pairs`, the same order for both, so that their products do not change."""
        if not name.endswith(("q_proj", "k_proj")):
            return weight
        heads = weight.shape[0] // self.width
        return weight[(torch.arange(heads)[:, None] * self.width + self._pairs()).view(-1)]
