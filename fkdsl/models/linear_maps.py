"""The interface of linear maps, and those of whole weights, in torch's own and in oneDNN's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from fkdsl.models.compat import kernels


class Linear(Protocol):
    """A linear map, x (n, in) to (n, out), in the dtype of x."""

    bias: Tensor | None
    weights: int
    weight_bytes: int
    """How many weights it has, and their bytes as they are kept."""

    def plain(self) -> Tensor:
        """The weight, (out, in)."""
        ...

    def kept(self) -> list[Tensor]:
        """The tensors that hold the weights."""
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
        self.weights, self.weight_bytes = weight.numel(), weight.nbytes

    def plain(self) -> Tensor:
        return self.weight

    def kept(self) -> list[Tensor]:
        return [self.weight]

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        # One operator on a GPU, which adds y before it rounds.
        return torch.addmm(y, x, self.weight.t()) if self.bias is None else super().plus(x, y)


APART_ROWS = 48
"""Up to so many rows a sum, product or silu after a packed map is computed as an operator of its
own, since oneDNN copies the other tensor before it adds or multiplies. From 64 rows on the fused
form takes up to a fifth less time in bfloat16."""


class PackedLinear(Unfused):
    """oneDNN's packed weights, float32 or bfloat16. memory: what holds their bytes, if that is not
    the weight itself."""

    def __init__(self, packed: Tensor, bias: Tensor | None, memory: Tensor | None = None) -> None:
        self.weight, self.memory = packed, memory
        self.bias = None if bias is None else bias.detach()
        self.weights = packed.numel()
        self.weight_bytes = self.weights * packed.element_size()

    def plain(self) -> Tensor:
        return self.weight.to_dense()

    def kept(self) -> list[Tensor]:
        return [self.weight]

    def __call__(self, x: Tensor) -> Tensor:
        return kernels.packed_linear(x, self.weight, self.bias)

    def swish(self, x: Tensor) -> Tensor:
        if len(x) <= APART_ROWS:
            return super().swish(x)
        return kernels.linear_swish(x, self.weight, self.bias)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        if len(x) <= APART_ROWS:
            return super().plus(x, y)
        return kernels.linear_plus(x, self.weight, self.bias, y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        if len(x) <= APART_ROWS:
            return super().times(x, y)
        return kernels.linear_times(x, self.weight, self.bias, y)


class SideBySide(Unfused):
    """Maps of different forms, whose outputs stand side by side. bias: of all."""

    def __init__(self, maps: Sequence[Linear], bias: Tensor | None) -> None:
        self.maps, self.bias = maps, None if bias is None else bias.detach()
        self.weights = sum(f.weights for f in maps)
        self.weight_bytes = sum(f.weight_bytes for f in maps)

    def plain(self) -> Tensor:
        return torch.cat([f.plain() for f in self.maps])

    def kept(self) -> list[Tensor]:
        return [tensor for f in self.maps for tensor in f.kept()]

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.cat([f(x) for f in self.maps], dim=1)
        return y if self.bias is None else y.add_(self.bias)
