"""Linear maps with weights that are packed for the machine once, fused with the operation after
them.

    f = pack(weight, bias, "float32")    # the fastest form for this precision, device and machine
    f(x), f.swish(x)                     # xW' + b, silu(xW' + b)
    f.plus(x, y), f.times(x, y)          # xW' + b + y, (xW' + b) * y

At the few rows of a decoding step oneDNN's packed form is two to three times as fast as a plain
matrix product. Its operators are private to torch (fkdsl.models.compat.kernels); where they are
missing or wrong, the plain form is used. int8 quantises weights by output channel and activations
by row, so that a row's result does not depend on the other rows of its batch.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from fkdsl.models.compat import kernels

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
    "int8": torch.float32,
}
"""The precisions, and the dtype in which weights are loaded for each."""


class Linear(Protocol):
    """A linear map, x (n, in) to (n, out), in the dtype of x."""

    bias: Tensor | None

    def plain(self) -> Tensor:
        """The weight, (out, in)."""
        ...

    def __call__(self, x: Tensor) -> Tensor: ...

    def swish(self, x: Tensor) -> Tensor:
        """silu(xW' + b)."""
        ...

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        """xW' + b + y."""
        ...

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        """(xW' + b) * y."""
        ...


class Unfused:
    """The operations after a map, as separate operators."""

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def swish(self, x: Tensor) -> Tensor:
        return silu(self(x), inplace=True)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self(x).add_(y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return self(x).mul_(y)


class PlainLinear(Unfused):
    """torch's own linear map."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()

    def plain(self) -> Tensor:
        return self.weight

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        # One operator on a GPU, which adds y before it rounds.
        return torch.addmm(y, x, self.weight.t()) if self.bias is None else super().plus(x, y)


class PackedLinear:
    """oneDNN's packed weights, float32 or bfloat16. memory: what holds their bytes, if that is not
    the weight itself."""

    def __init__(self, packed: Tensor, bias: Tensor | None, memory: Tensor | None = None) -> None:
        self.weight, self.memory = packed, memory
        self.bias = None if bias is None else bias.detach()

    def plain(self) -> Tensor:
        return self.weight.to_dense()

    def __call__(self, x: Tensor) -> Tensor:
        return kernels.packed_linear(x, self.weight, self.bias)

    def swish(self, x: Tensor) -> Tensor:
        return kernels.linear_swish(x, self.weight, self.bias)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return kernels.linear_plus(x, self.weight, self.bias, y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return kernels.linear_times(x, self.weight, self.bias, y)


class Int8Linear(Unfused):
    """A map in eight bits, float32 in and out. Weights are scaled by output channel, activations by
    row. Activations have 255 levels, or 127 on a processor whose products would overflow."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        w = weight.detach().float()
        self.scale = w.abs().amax(dim=1).div_(127.0).clamp_(min=1e-12)
        levels = (w / self.scale[:, None]).round_().to(torch.int8)
        self.columns = w.shape[1]
        self.weight = kernels.pack_levels(levels)
        self.zeros = torch.zeros(w.shape[0], dtype=torch.int64)
        self.bias = None if bias is None else bias.detach().float()
        self.most = kernels.eight_bit_levels()

    def plain(self) -> Tensor:
        without = Int8Linear.__new__(Int8Linear)
        without.__dict__ = {**self.__dict__, "bias": None}
        return without(torch.eye(self.columns)).t()

    def __call__(self, x: Tensor) -> Tensor:
        zero = self.most + 1
        by = x.abs().amax(dim=1, keepdim=True).div_(float(self.most)).clamp_(min=1e-12)
        levels = (x / by).round_().add_(float(zero)).to(torch.uint8)
        y = kernels.linear_levels(levels, zero, self.weight, self.scale, self.zeros).mul_(by)
        return y if self.bias is None else y.add_(self.bias)


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


def pack(weight: Tensor, bias: Tensor | None, precision: str) -> Linear:
    """The fastest form of a map. weight: (out, in), on the device where it will be used. precision:
    a dtype's name, or "int8"."""
    if precision == "int8":
        return Int8Linear(weight, bias)
    if weight.device.type == "cpu" and kernels.packs(weight.dtype):
        return PackedLinear(kernels.pack_weight(weight.detach()), bias)
    return PlainLinear(weight, bias)


def packs_int8() -> bool:
    """Whether this machine has correct 8-bit linear maps."""
    return kernels.eight_bit_levels() > 0


def pack_modules(module: nn.Module, precision: str, leave: Container[str] = ()) -> None:
    """Replaces every nn.Linear of a module by its packed form, in place. The plain weights are
    freed, unless an embedding shares them. leave: names of maps that stay as they are."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and name not in leave:
                setattr(parent, name, PackedModule(child, precision))
