"""Linear maps with weights that are packed for the machine once, fused with the operation after
them.

    f = pack(weight, bias, "float32")    # the fastest form for this precision, device and machine
    f(x), f.swish(x)                     # xW' + b, silu(xW' + b)
    f.plus(x, y), f.times(x, y)          # xW' + b + y, (xW' + b) * y

At the few rows of a decoding step oneDNN's packed form is two to three times as fast as a plain
matrix product, and a step takes about as long as reading the weights, so narrower ones
(fkdsl.models.narrow_linear, narrow_weights) take less. The operators are private to torch
(fkdsl.models.compat.kernels); where they are missing or wrong, the plain form is used, and int8 and
int4 are refused.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from fkdsl.base.errors import CallError
from fkdsl.models.compat import kernels
from fkdsl.models.linear_maps import Linear, PackedLinear, PlainLinear, SideBySide
from fkdsl.models.narrow_linear import Int4Linear, Int8Linear
from fkdsl.models.narrow_weights import GroupedWeight, RowWeight, Weight, fits_groups

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
    "int8": torch.float32,
    "int4": torch.float32,
}
"""The precisions, and the dtype in which weights are loaded for each."""

NARROW = {"int8": 8, "int4": 4}
"""Bits of the precisions whose weights stay narrow."""


def head_precision(precision: str) -> str:
    """The precision of the head over the vocabulary: in four bits it would cost more than all
    layers together (docs/performance.md)."""
    return "int8" if precision == "int4" else precision


class PackedModule(nn.Module):  # type: ignore[misc]
    """A `Linear` as a module, to replace an nn.Linear."""

    def __init__(self, plain: nn.Linear, precision: str) -> None:
        super().__init__()
        self.packed = pack(plain.weight, plain.bias, precision)
        self.in_features, self.out_features = plain.in_features, plain.out_features

    def forward(self, x: Tensor) -> Tensor:
        return self.packed(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)

    @property
    def weight(self) -> Tensor:
        """(out, in), unpacked, for families that use the weight directly."""
        return self.packed.plain()

    @property
    def bias(self) -> Tensor | None:
        return self.packed.bias


def pack(weight: Weight, bias: Tensor | None, precision: str) -> Linear:
    """The fastest form of a map. weight: (out, in), on the device where it will be used; a narrow
    one stays as it is. precision: a name of DTYPES; "int4" is eight bits where the sizes do not
    divide into groups."""
    if isinstance(weight, Tensor) and precision in NARROW:
        four = precision == "int4" and fits_groups(weight.shape)
        weight = GroupedWeight.of(weight) if four else RowWeight.of(weight)
    if isinstance(weight, GroupedWeight):
        return Int4Linear(weight, bias)
    if isinstance(weight, RowWeight):
        return Int8Linear(weight, bias)
    if weight.device.type == "cpu" and kernels.packs(weight.dtype):
        return PackedLinear(kernels.pack_weight(weight.detach()), bias)
    return PlainLinear(weight, bias)


def pack_stacked(weights: Sequence[Weight], bias: Tensor | None, precision: str) -> Linear:
    """Several maps of the same x as one, whose outputs stand side by side. bias: of all."""
    if len(weights) == 1:
        return pack(weights[0], bias, precision)
    if all(isinstance(w, Tensor) for w in weights):
        return pack(torch.cat([w for w in weights if isinstance(w, Tensor)]), bias, precision)
    for kind in (RowWeight, GroupedWeight):
        alike = [w for w in weights if isinstance(w, kind)]
        if len(alike) == len(weights):
            return pack(kind.stacked(alike), bias, precision)  # type: ignore[arg-type]
    return SideBySide([pack(w, None, precision) for w in weights], bias)


class Gated(Protocol):
    """The gate and the upward map of a gated MLP: x -> silu(gate x) * (up x)."""

    maps: Sequence[Linear]

    def __call__(self, x: Tensor) -> Tensor: ...


class FusedGate:
    """Two maps, each fused with what follows it."""

    def __init__(self, gate: Linear, up: Linear) -> None:
        self.gate, self.up = gate, up
        self.maps: Sequence[Linear] = (gate, up)

    def __call__(self, x: Tensor) -> Tensor:
        return self.up.times(x, self.gate.swish(x))


class StackedGate:
    """One map, whose outputs are the gate's and then the upward map's. Maps that round x before
    they multiply round it once so."""

    def __init__(self, both: Linear) -> None:
        self.both = both
        self.maps: Sequence[Linear] = (both,)

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = self.both(x).chunk(2, dim=1)
        return silu(gate).mul_(up)


def packs(precision: str, device: str = "cpu") -> bool:
    """Whether there are correct linear maps of a precision on a device."""
    if precision not in NARROW:
        return True
    eight = device == "cpu" and kernels.eight_bit_levels() > 0
    return eight and (precision == "int8" or kernels.multiplies_four_bits())


def verify_precision(precision: str, device: str, fast: bool = True) -> None:
    """Raises CallError for a precision that a device has not. fast: False for the library's own
    module, which has neither int8 nor int4."""
    if precision not in DTYPES:
        raise CallError(f"there is no precision `{precision}`", f"one of {', '.join(DTYPES)}")
    if not packs(precision, device) or (precision in NARROW and not fast):
        raise CallError(
            f"this machine has no {NARROW[precision]}-bit linear maps for the device",
            "use --dtype bfloat16 or float32",
        )


def pack_modules(module: nn.Module, precision: str, leave: Container[str] = ()) -> None:
    """Replaces every nn.Linear of a module by its packed form, in place. The plain weights are
    freed, unless an embedding shares them. leave: names of maps that stay as they are."""
    outputs = getattr(module, "get_output_embeddings", lambda: None)()
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and name not in leave:
                own = head_precision(precision) if child is outputs else precision
                setattr(parent, name, PackedModule(child, own))
