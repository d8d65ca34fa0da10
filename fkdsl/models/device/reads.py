"""What the draws of a population will look at of rows that lie on a device, read in one transfer.

    masked, = read([Wanted(rows[2], mask=mask, uniform=0.3)])
    rows[2][512:768]                # the block that the draw falls into is at hand

The sums that masks leave, and the block that each draw's uniform number falls into, are found on
the device. The draw itself is made as all others are, from the same numbers: if by rounding it
falls into another block, that one is read then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK, Mask, Sums
from fkdsl.base.remembered import Remembered
from fkdsl.models.device.rows import DeviceRow, DeviceRows, block_sums_of, to_host

HEAVIEST = 8
"""Blocks of the largest sums that are read with a row: most of what a draw looks at is in them."""
MOVED = 512
"""Masks and lists of indices that are kept on a device."""


@dataclass(frozen=True)
class Wanted:
    """What a draw will look at. mask: (V,) the tokens that are left, None for all. indices: those
    tokens, where they are so few that only they are read. uniform: the number by which the draw
    inverts the running sums. whole: whether it will read the whole row."""

    row: DeviceRow
    mask: Mask | None = None
    indices: NDArray[np.int64] | None = None
    uniform: float = 0.5
    whole: bool = False


def read(wanted: Sequence[Wanted]) -> list[Sums | None]:
    """Reads what draws will look at, in one transfer for each vocabulary. For each draw with a mask
    and without indices: (blocks,) the sums of the probabilities that the mask leaves, None for the
    others."""
    alike: dict[object, list[Wanted]] = {}
    for w in wanted:
        tensor = w.row.tensor
        alike.setdefault((len(w.row), tensor.dtype, tensor.device), []).append(w)
    sums = {id(w): s for some in alike.values() for w, s in zip(some, _read(some), strict=True)}
    return [sums[id(w)] for w in wanted]


def _read(wanted: Sequence[Wanted]) -> list[Sums | None]:
    """`read` of one vocabulary."""
    listed = [w for w in wanted if w.indices is not None]
    summed = [w for w in wanted if w.indices is None]
    forwards = _distinct(w.row.of for w in wanted if not w.row.of.has_been_read)
    wholes = _distinct(w.row.of for w in wanted if w.whole and not w.row.of.is_at_hand)
    parts: list[Tensor] = [rows.forward_sums for rows in forwards]
    parts += [rows.tensor for rows in wholes]
    parts += [w.row.tensor[_on_device(w.indices, w.row.tensor.device)] for w in listed]
    n_first = len(parts)
    if summed:
        parts += _of_population(summed)
    arrays = to_host(*parts)
    for rows, sums in zip(forwards, arrays, strict=False):
        rows.keep_sums(sums)
    for rows, whole in zip(wholes, arrays[len(forwards) :], strict=False):
        rows.keep_all(whole)
    for w, part in zip(listed, arrays[len(forwards) + len(wholes) : n_first], strict=True):
        assert w.indices is not None
        w.row.keep_listed(w.indices, part)
    if not summed:
        return [None] * len(wanted)
    masked, numbers, blocks = arrays[n_first:]
    found: dict[int, Sums] = {}
    for j, w in enumerate(summed):
        found[id(w)] = masked[j].astype(np.float64)
        for k, block in zip(numbers[j].tolist(), blocks[j], strict=True):
            w.row.keep(k, block[: len(w.row) - k * BLOCK])
    return [found[id(w)] if w.mask is not None and w.indices is None else None for w in wanted]


def _distinct(rows: Iterable[DeviceRows]) -> list[DeviceRows]:
    return list({id(one): one for one in rows}.values())


def _of_population(wanted: Sequence[Wanted]) -> list[Tensor]:
    """On the device, for n draws: (n, blocks) the sums of what is left to each; (n, k) the numbers
    of the blocks that it will look at; (n, k, BLOCK) these blocks of its row."""
    log_p = _rows(wanted)
    n, V = log_p.shape
    sums = _sums(wanted, log_p)
    running = sums.double().cumsum(-1)
    uniforms = torch.tensor([[w.uniform] for w in wanted], dtype=torch.float64).to(log_p.device)
    drawn = torch.searchsorted(running, uniforms * running[:, -1:], right=True)
    heaviest = sums.topk(min(HEAVIEST, sums.shape[1]), dim=-1).indices
    numbers = torch.cat((drawn.clamp_(max=sums.shape[1] - 1), heaviest), dim=-1)
    log_p = torch.nn.functional.pad(log_p, (0, -V % BLOCK))
    blocks = log_p.view(n, -1, BLOCK).gather(1, numbers[..., None].expand(-1, -1, BLOCK))
    return [sums, numbers, blocks]


def _sums(wanted: Sequence[Wanted], log_p: Tensor) -> Tensor:
    """(n, blocks) the sums of what is left to each of n draws from the rows log_p (n, V)."""
    sums = torch.stack([w.row.of.forward_sums[w.row.i] for w in wanted])
    masks = {id(w.mask): w.mask for w in wanted if w.mask is not None}
    for mask in masks.values():
        at = [j for j, w in enumerate(wanted) if w.mask is mask]
        p = torch.exp(log_p if len(at) == len(wanted) else log_p[at])
        p *= _on_device(mask, log_p.device)
        sums[at] = block_sums_of(p)
    return sums


def _rows(wanted: Sequence[Wanted]) -> Tensor:
    """(n, V) the rows of some draws, without a copy where they are those of one forward."""
    of = wanted[0].row.of
    if all(w.row.of is of for w in wanted):
        at = [w.row.i for w in wanted]
        return of.tensor if at == list(range(len(of))) else of.tensor[at]
    return torch.stack([w.row.tensor for w in wanted])


_moved: dict[str, Remembered[Tensor]] = {}


def _on_device(array: NDArray[Any] | None, device: torch.device) -> Tensor:
    """A mask or indices, which nobody writes to, on a device, moved there once. A mask as 1 and 0
    in a byte each."""
    assert array is not None

    def move(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array.astype(np.uint8) if array.dtype == np.bool_ else array).to(
            device
        )

    return _moved.setdefault(str(device), Remembered(move, MOVED))(array)
