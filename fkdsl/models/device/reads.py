"""What the draws of a population will look at of rows that lie on a device, read in one transfer.

    masked, = read([Wanted(rows[2], mask=mask, uniform=0.3)])
    rows[2][512:768]                # the block that the draw falls into is at hand

The sums that masks leave, and the block that each draw's uniform number falls into, are found on
the device, by uniform numbers of the draws' own keyed streams, which come from the host. The draw
itself is made as all others are, from the same numbers: if by rounding it
falls into another block, that one is read then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK, Mask, Sums
from fkdsl.base.remembered import Remembered
from fkdsl.models.device.masks import masks_of
from fkdsl.models.device.rows import DeviceRow, DeviceRows, operators_for
from fkdsl.models.device.transfer import to_device, to_host

HEAVIEST = 8
"""Blocks of the largest sums that are read with a row: most of what a draw looks at is in them."""
MOVED = 512
"""Lists of indices that are kept on a device."""


class Wanted(NamedTuple):
    """What a draw will look at. mask: (V,) the tokens that are left, None for all. indices: those
    tokens, where they are so few that only they are read. uniform: the number by which the draw
    inverts the running sums. whole: whether it will read the whole row. blocks: numbers of blocks
    that it will look at in any case."""

    row: DeviceRow
    mask: Mask | None = None
    indices: NDArray[np.int64] | None = None
    uniform: float = 0.5
    whole: bool = False
    blocks: Sequence[int] = ()


def read(wanted: Sequence[Wanted]) -> list[Sums | None]:
    """Reads what draws will look at, in one transfer for each vocabulary. For each draw with a mask
    and without indices: (blocks,) the sums of the probabilities that the mask leaves, None for the
    others."""
    alike: dict[object, list[Wanted]] = {}
    for w in wanted:
        tensor = w.row.of.tensor
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
    parts += _listed(listed)
    n_first = len(parts)
    if summed:
        parts += _of_population(summed)
    arrays = to_host(*parts)
    for rows, sums in zip(forwards, arrays, strict=False):
        rows.keep_sums(sums)
    for rows, whole in zip(wholes, arrays[len(forwards) :], strict=False):
        rows.keep_all(whole)
    groups = _alike(listed).values()
    for group, part in zip(groups, arrays[len(forwards) + len(wholes) : n_first], strict=True):
        for w, values in zip(group, part, strict=True):
            assert w.indices is not None
            w.row.keep_listed(w.indices, values)
    if not summed:
        return [None] * len(wanted)
    masked, numbers, blocks = arrays[n_first:]
    found = dict(zip(map(id, summed), masked.astype(np.float64), strict=True))
    for w, numbers_of, blocks_of in zip(summed, numbers.tolist(), blocks, strict=True):
        w.row.keep_blocks(numbers_of, blocks_of)
    return [found[id(w)] if w.mask is not None and w.indices is None else None for w in wanted]


def _distinct(rows: Iterable[DeviceRows]) -> list[DeviceRows]:
    return list({id(one): one for one in rows}.values())


def _alike(listed: Sequence[Wanted]) -> dict[tuple[int, int], list[Wanted]]:
    """Draws of rows of one forward that look at the same few tokens."""
    groups: dict[tuple[int, int], list[Wanted]] = {}
    for w in listed:
        groups.setdefault((id(w.row.of), id(w.indices)), []).append(w)
    return groups


def _listed(listed: Sequence[Wanted]) -> list[Tensor]:
    """On the device, for each group of `_alike`: (draws, tokens) what their rows say of the
    tokens."""
    if not listed:
        return []
    (rows,) = to_device(listed[0].row.of.tensor.device, np.array([w.row.i for w in listed]))
    numbers = {id(w): rows[j : j + 1] for j, w in enumerate(listed)}
    found = []
    for group in _alike(listed).values():
        tensor = group[0].row.of.tensor
        at = torch.cat([numbers[id(w)] for w in group])
        found.append(tensor[at[:, None], _on_device(group[0].indices, tensor.device)])
    return found


def _of_population(wanted: Sequence[Wanted]) -> list[Tensor]:
    """On the device, for n draws: (n, blocks) the sums of what is left to each; (n, k) the numbers
    of the blocks that it will look at; (n, k, BLOCK) these blocks of its row."""
    log_p, own_sums, numbers = _rows(wanted)
    V, device = log_p.shape[1], log_p.device
    masks = masks_of(V, device)
    masked = [w.mask for w in wanted]
    most = max(len(w.blocks) for w in wanted)
    # Until its sums are on their way no other thread may put masks into the places of these.
    with masks.lock:
        rows, places, uniforms, also = to_device(
            device,
            np.array(numbers, dtype=np.int64),
            np.array(masks.places(masked), dtype=np.int64),
            np.array([[w.uniform] for w in wanted]),
            np.array(
                [[*w.blocks, *[0] * (most - len(w.blocks))] for w in wanted], dtype=np.int64
            ).reshape(len(wanted), most),
        )
        sums = (
            own_sums[rows]
            if all(mask is None for mask in masked)
            else operators_for(device).masked_sums(log_p, own_sums, rows, masks.bits, places)
        )
    running = sums.double().cumsum(-1)
    drawn = torch.searchsorted(running, uniforms * running[:, -1:], right=True)
    heaviest = sums.topk(min(HEAVIEST, sums.shape[1]), dim=-1).indices
    blocks = torch.cat((drawn.clamp_(max=sums.shape[1] - 1), heaviest, also), dim=-1)
    tokens = blocks[..., None] * BLOCK + torch.arange(BLOCK, device=device)
    # The last block may be shorter; what stands behind its end is not looked at.
    parts = log_p[rows[:, None, None], tokens.clamp_(max=V - 1)]
    return [sums, blocks, parts]


def _rows(wanted: Sequence[Wanted]) -> tuple[Tensor, Tensor, list[int]]:
    """((m, V) rows, (m, blocks) the sums of each, and which of them is that of each draw): those of
    one forward where all draws are of one, as is the rule, else copies."""
    of = wanted[0].row.of
    if all(w.row.of is of for w in wanted):
        return of.tensor, of.forward_sums, [w.row.i for w in wanted]
    log_p = torch.stack([w.row.tensor for w in wanted])
    sums = torch.stack([w.row.of.forward_sums[w.row.i] for w in wanted])
    return log_p, sums, list(range(len(wanted)))


_moved: dict[str, Remembered[Tensor]] = {}


def _on_device(indices: NDArray[np.int64] | None, device: torch.device) -> Tensor:
    """Indices, which nobody writes to, on a device, moved there once."""
    assert indices is not None

    def move(indices: NDArray[np.int64]) -> Tensor:
        (there,) = to_device(device, indices)
        return there

    return _moved.setdefault(str(device), Remembered(move, MOVED))(indices)
