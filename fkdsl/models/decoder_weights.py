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
from torch.nn.functional import embedding

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.linear import (
    NARROW,
    FusedGate,
    Gated,
    StackedGate,
    head_precision,
    pack_stacked,
)
from fkdsl.models.linear_maps import Linear, PackedLinear
from fkdsl.models.narrow_weights import Weight
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
    gated: Gated
    down: Linear

    @property
    def maps(self) -> tuple[Linear, ...]:
        return (self.qkv, self.out, *self.gated.maps, self.down)


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
        """The shape that a transformers configuration describes. Raises CallError for heads of
        queries that cannot share those of keys evenly."""
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        if heads % kv_heads:
            raise CallError(
                f"the model has {heads} heads of queries and {kv_heads} of keys, which do not "
                "divide them",
                "fetch the model again",
            )
        return cls(
            layers=config.num_hidden_layers,
            heads=heads,
            kv_heads=kv_heads,
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


class Embedding:
    """The vectors of tokens in a table, (V, d)."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def __call__(self, ids: Tensor) -> Tensor:
        return embedding(ids, self.table)


class LayerPacking:
    """Makes layers and linear maps from a decoder's weights, by the names that transformers gives
    them. width: coordinates of a head. precision: a name of linear.DTYPES. file: of the weights,
    if they are in one. Matrices that are narrow already stay as they are."""

    def __init__(
        self,
        weights: Mapping[str, Weight],
        width: int,
        precision: str,
        file: WeightsFile | None = None,
    ) -> None:
        self.weights, self.width, self.precision, self.file = weights, width, precision, file
        # An embedding may be the head too: for as long as a weight is held, it is not converted
        # again.
        self._read: WeakValueDictionary[str, Tensor] = WeakValueDictionary()

    def weight(self, name: str) -> Weight:
        """A weight, in the dtype and on the device where it will be used."""
        held = self._read.get(name)
        if held is not None:
            return held
        weight = self.weights[name]
        if not isinstance(weight, Tensor):
            return weight
        if self.file is None:
            return weight.detach()
        converted = weight.detach().to(self.file.device, self.file.dtype)
        if converted.data_ptr() != weight.data_ptr():
            self._read[name] = converted
        return converted

    def plain(self, name: str) -> Tensor:
        """A weight that is no matrix of a linear map."""
        weight = self.weight(name)
        assert isinstance(weight, Tensor)
        return weight

    def map(self, *names: str) -> Linear:
        """One or more projections as one packed map."""
        return self._map(names, self.precision)

    def head(self, name: str) -> Linear:
        """The map to the logits of the vocabulary."""
        return self._map((name,), head_precision(self.precision))

    def _map(self, names: Sequence[str], precision: str) -> Linear:
        biases = [self._bias(name) for name in names if f"{name}.bias" in self.weights]
        bias = torch.cat(biases) if biases else None
        packed = self.file.packed if self.file is not None else None
        if packed is None:
            return pack_stacked(self._matrices(names), bias, precision)
        key, shapes = " ".join(names), [self.weights[f"{name}.weight"].shape for name in names]
        kept = packed.take(key, (sum(out for out, _ in shapes), shapes[0][1]))
        if kept is not None:
            return PackedLinear(kept[0], bias, memory=kept[1])
        made = pack_stacked(self._matrices(names), bias, precision)
        if isinstance(made, PackedLinear):
            packed.add(key, made.weight)
        return made

    def _matrices(self, names: Sequence[str]) -> list[Weight]:
        """(out, in) the weights of some projections."""
        weights = []
        for name in names:
            weight = self.weight(f"{name}.weight")
            order = self._order(name, weight.shape[0])
            if order is not None:
                weight = weight[order] if isinstance(weight, Tensor) else weight.rows(order)
            weights.append(weight)
        return weights

    def _bias(self, name: str) -> Tensor:
        bias = self.plain(f"{name}.bias")
        order = self._order(name, len(bias))
        return bias if order is None else bias[order]

    def _gated(self, gate: str, up: str) -> Gated:
        if self.precision in NARROW:
            return StackedGate(self.map(gate, up))
        return FusedGate(self.map(gate), self.map(up))

    def layer(self, prefix: str) -> DecoderLayer:
        """The layer whose weights' names begin with a prefix."""
        attention = f"{prefix}.self_attn"
        norms = [
            self.plain(f"{attention}.{n}.weight")[self._pairs()]
            if f"{attention}.{n}.weight" in self.weights
            else None
            for n in ("q_norm", "k_norm")
        ]
        return DecoderLayer(
            norm=self.plain(f"{prefix}.input_layernorm.weight").clone(),
            qkv=self.map(*(f"{attention}.{n}_proj" for n in "qkv")),
            q_norm=norms[0],
            k_norm=norms[1],
            out=self.map(f"{attention}.o_proj"),
            mlp_norm=self.plain(f"{prefix}.post_attention_layernorm.weight").clone(),
            gated=self._gated(f"{prefix}.mlp.gate_proj", f"{prefix}.mlp.up_proj"),
            down=self.map(f"{prefix}.mlp.down_proj"),
        )

    def _pairs(self) -> Tensor:
        """(width,) the order of a head's coordinates in which i and i + width / 2, which are
        rotated as a pair, stand side by side, as the parts of a complex number."""
        half = self.width // 2
        return torch.arange(self.width).view(2, half).t().reshape(-1)

    def _order(self, name: str, outputs: int) -> Tensor | None:
        """(outputs,) the order of a projection's outputs, None for the weights' own. Queries and
        keys have each head's coordinates in the order of `_pairs`, the same order for both, so that
        their products do not change."""
        if not name.endswith(("q_proj", "k_proj")):
            return None
        heads = torch.arange(outputs // self.width)
        return (heads[:, None] * self.width + self._pairs()).view(-1)
