"""Linear maps whose weights stay in eight or four bits while they are multiplied.

    f = Int8Linear(RowWeight.of(weight), bias)
    f = Int4Linear(GroupedWeight.of(weight), bias)

Activations are float32 in and out, and a row's result does not depend, to the last bit, on what
else is in its batch. In eight bits a row of activations is rounded to 16 bits and multiplied as two
rows of 8-bit digits: sums of whole numbers are exact, and a decoding step waits for the weights,
not for the products, so the second digit costs little. One digit is not enough: it moved
next-token distributions ten times as far as the rounding of the weights does. In four bits
activations are rounded to bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fkdsl.models.compat import kernels
from fkdsl.models.linear_maps import Unfused
from fkdsl.models.narrow_weights import GroupedWeight, RowWeight


class Int8Linear(Unfused):
    """A map in eight bits."""

    def __init__(self, weight: RowWeight, bias: Tensor | None) -> None:
        self.columns = weight.shape[1]
        self.weights = weight.levels.numel()
        self.weight_bytes = self.weights + weight.scale.nbytes
        self.digits = Digits(2 * (kernels.eight_bit_levels() + 1))
        self.levels = kernels.pack_levels(weight.levels)
        self.scale = weight.scale / self.digits.steps
        self.zeros = torch.zeros(weight.shape[0], dtype=torch.int64)
        self.bias = None if bias is None else bias.detach().float()

    def plain(self) -> Tensor:
        return plain_of(self)

    def kept(self) -> list[Tensor]:
        return [self.levels]

    def __call__(self, x: Tensor) -> Tensor:
        levels, most = self.digits.of(x)
        y = kernels.linear_levels(levels, self.digits.zero, self.levels, self.scale, self.zeros)
        n = len(x)
        y = y[n:].add_(y[:n], alpha=self.digits.base).mul_(most)
        return y if self.bias is None else y.add_(self.bias)


class Digits:
    """Rows of numbers as whole multiples of a fraction of their greatest, in two digits. base: of
    the digits, 256, or 128 on a processor whose 8-bit products would overflow."""

    def __init__(self, base: int) -> None:
        self.base, self.shift, self.zero = base, base.bit_length() - 1, base // 2
        # Both digits are stored with `zero` added, so that they are never negative.
        offset = base * self.zero + self.zero
        self.steps = base * base - 1 - offset
        self.offset = torch.tensor(offset + 0.5)

    def of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(levels, most) of x (n, in): levels (2n, in) uint8, the upper digits and then the lower
        ones; most (n, 1) the greatest size in each row; but for rounding, x = most / steps (base
        (upper - zero) + lower - zero). A row of zeros has any digits."""
        n, columns = x.shape
        most = x.abs().amax(dim=1, keepdim=True)
        whole = torch.addcdiv(self.offset, x, most, value=self.steps).to(torch.int32)
        levels = torch.empty(2 * n, columns, dtype=torch.uint8)
        upper = whole >> self.shift
        levels[:n].copy_(upper)
        levels[n:].copy_(whole.sub_(upper, alpha=self.base))
        return levels, most


class Int4Linear(Unfused):
    """A map in four bits. Scales and offsets of the groups are rounded to bfloat16."""

    def __init__(self, weight: GroupedWeight, bias: Tensor | None) -> None:
        self.columns = weight.shape[1]
        self.packed = kernels.pack_four_bits(weight.levels)
        self.scales = kernels.group_scales(weight.scale, weight.low)
        self.weights = weight.levels.numel()
        self.weight_bytes = self.weights // 2 + self.scales.nbytes
        self.bias = None if bias is None else bias.detach().float()

    def plain(self) -> Tensor:
        return plain_of(self)

    def kept(self) -> list[Tensor]:
        return [self.packed]

    def __call__(self, x: Tensor) -> Tensor:
        y = kernels.linear_four_bits(x.bfloat16(), self.packed, self.scales).float()
        return y if self.bias is None else y.add_(self.bias)


def plain_of(f: Int8Linear | Int4Linear) -> Tensor:
    """(out, in) the weight of a map, by its products with the unit vectors."""
    y = f(torch.eye(f.columns))
    return (y if f.bias is None else y - f.bias).t()
