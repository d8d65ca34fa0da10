"""Weights in eight and in four bits.

    RowWeight.of(weight)        # 255 levels, a scale for each output
    GroupedWeight.of(weight)    # 16 levels, a scale and an offset for each 32 neighbours

The rows of either can be put into another order, and several weights of a kind can be stacked,
without de-quantising them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.compat import kernels

GROUP = kernels.GROUP
MOST_LEVEL = 127
CHUNK = 1 << 22
"""How many weights are rounded at a time, which bounds the memory for what lies between."""
LEAST = 1e-30
"""The smallest value of a level, that of weights which are all 0, or all alike."""


@dataclass(frozen=True)
class RowWeight:
    """A weight (out, in) in eight bits: level * scale. levels: (out, in) int8, -127 to 127; scale:
    (out,) float32."""

    levels: Tensor
    scale: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> RowWeight:
        """A weight rounded to 255 levels of each output's greatest."""
        rows = max(1, CHUNK // weight.shape[1])
        return cls.of_chunks(weight.detach().split(rows))

    @classmethod
    def of_chunks(cls, chunks: Iterable[Tensor]) -> RowWeight:
        """The same, of a weight whose rows come a few at a time."""
        levels, scales = [], []
        for chunk in chunks:
            w = chunk.float()
            scale = w.abs().amax(dim=1).div_(MOST_LEVEL).clamp_(min=LEAST)
            levels.append((w / scale[:, None]).round_().to(torch.int8))
            scales.append(scale)
        return cls(torch.cat(levels), torch.cat(scales))

    @classmethod
    def stacked(cls, weights: Sequence[RowWeight]) -> RowWeight:
        """The rows of several weights, one after the other."""
        return cls(torch.cat([w.levels for w in weights]), torch.cat([w.scale for w in weights]))

    @property
    def shape(self) -> torch.Size:
        return self.levels.shape

    def rows(self, order: Tensor) -> RowWeight:
        """The weight with its rows in another order."""
        return RowWeight(self.levels[order], self.scale[order])


@dataclass(frozen=True)
class GroupedWeight:
    """A weight (out, in) in four bits: level * scale + low, with a scale and a low for each GROUP
    of neighbours in a row. levels: (out, in) uint8, 0 to 15; scale, low: (out, in / GROUP)
    float32."""

    levels: Tensor
    scale: Tensor
    low: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> GroupedWeight:
        """A weight rounded to 16 levels from the least to the greatest of each group."""
        groups = weight.detach().float().view(len(weight), -1, GROUP)
        low, high = groups.amin(-1), groups.amax(-1)
        scale = (high - low).div_(15.0).clamp_(min=LEAST)
        levels = ((groups - low[..., None]) / scale[..., None]).round_().clamp_(0, 15)
        return cls(levels.to(torch.uint8).view(weight.shape), scale, low)

    @classmethod
    def stacked(cls, weights: Sequence[GroupedWeight]) -> GroupedWeight:
        """The rows of several weights, one after the other."""
        return cls(
            torch.cat([w.levels for w in weights]),
            torch.cat([w.scale for w in weights]),
            torch.cat([w.low for w in weights]),
        )

    @property
    def shape(self) -> torch.Size:
        return self.levels.shape

    def rows(self, order: Tensor) -> GroupedWeight:
        """The weight with its rows in another order."""
        return GroupedWeight(self.levels[order], self.scale[order], self.low[order])

    def plain(self) -> Tensor:
        """(out, in) the numbers, float32."""
        levels = self.levels.view(*self.scale.shape, GROUP).float()
        return (levels * self.scale[..., None] + self.low[..., None]).view(self.shape)


Weight = Tensor | RowWeight | GroupedWeight


def fits_groups(shape: Sequence[int]) -> bool:
    """Whether a weight (out, in) can be held in four bits."""
    return shape[0] % kernels.OUTPUTS == 0 and shape[1] % GROUP == 0
