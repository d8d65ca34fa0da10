"""What a population's plain draws look at of rows that lie on a device, in columns and by one
transfer: no object for a row, and of each row the one block that its draw falls into.

    drawn = read_drawn(rows, masks, uniforms, also, whole)
    drawn.sums[3], drawn.numbers[3], drawn.blocks[3]        # of the fourth draw

The numbers are those that reads.py reads for each row by itself. A draw that by rounding falls into
another block on the host reads that one then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK, Mask, Probabilities
from fkdsl.models.device.masks import masks_of
from fkdsl.models.device.rows import DeviceRow, operators_for
from fkdsl.models.device.transfer import to_device, to_host


class Drawn(NamedTuple):
    """Of n draws: sums (n, blocks) float64 of the probabilities that their masks leave; numbers
    (n,) of the blocks that they fall into; blocks (n, BLOCK) these of their rows, nats, -inf behind
    a row's end; others (n, m, BLOCK) further blocks that were asked for, as they are."""

    sums: NDArray[np.float64]
    numbers: NDArray[np.int64]
    blocks: Probabilities
    others: Probabilities


def read_drawn(
    rows: Sequence[DeviceRow],
    masks: Sequence[Mask | None],
    uniforms: NDArray[np.float64],
    also: NDArray[np.int64],
    whole: Sequence[bool],
) -> Drawn | None:
    """What draws from these rows look at; None where they are of several vocabularies.

    masks: (V,) of each, None for all tokens. uniforms: (n,) by which they invert the running sums.
    also: (n, m) numbers of further blocks. whole: of each, whether the sums of its whole row are
    wanted in the place of those that its mask leaves. Raises the error of rows that are NaN.
    """
    forwards: dict[int, list[int]] = {}
    for n, row in enumerate(rows):
        forwards.setdefault(id(row.of), []).append(n)
    groups = list(forwards.values())
    ofs = [rows[some[0]].of for some in groups]
    if any((of.shape[1], of.dtype) != (ofs[0].shape[1], ofs[0].dtype) for of in ofs):
        return None
    draws = Draws(rows, masks, uniforms, also, whole)
    parts = [part for some in groups for part in _of_forward(draws, some)]
    unread = [of for of in ofs if not of.has_been_read]
    arrays = to_host(*parts, *[of.forward_sums for of in unread])
    for of, sums in zip(unread, arrays[len(parts) :], strict=True):
        of.keep_sums(sums)
    sums, numbers, logs = (np.concatenate(arrays[k : len(parts) : 3]) for k in range(3))
    if len(groups) > 1:
        back = np.argsort(np.concatenate(groups))
        sums, numbers, logs = sums[back], numbers[back], logs[back]
    return Drawn(sums.astype(np.float64), numbers, logs[:, 0], logs[:, 1:])


class Draws(NamedTuple):
    """What `read_drawn` is asked."""

    rows: Sequence[DeviceRow]
    masks: Sequence[Mask | None]
    uniforms: NDArray[np.float64]
    also: NDArray[np.int64]
    whole: Sequence[bool]


def _of_forward(draws: Draws, some: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """On the device, for some draws, m of them from rows of one forward: (m, blocks) sums, (m,)
    numbers of the blocks that they fall into, (m, 1 + n, BLOCK) these blocks and the others."""
    of = draws.rows[some[0]].of
    log_p, own_sums, V = of.tensor, of.forward_sums, of.shape[1]
    masks, on_device = [draws.masks[n] for n in some], masks_of(V, log_p.device)
    with on_device.lock:  # until the sums are on their way: as in reads.py
        at, places, u, also, whole = to_device(
            log_p.device,
            np.array([draws.rows[n].i for n in some], dtype=np.int64),
            np.array(on_device.places(masks), dtype=np.int64),
            draws.uniforms[some, None],
            draws.also[some],
            np.array([[draws.whole[n]] for n in some], dtype=np.int64),
        )
        left = (
            own_sums[at]
            if all(mask is None for mask in masks)
            else operators_for(log_p.device).masked_sums(
                log_p, own_sums, at, on_device.bits, places
            )
        )
        sums = torch.where(whole > 0, own_sums[at], left)
    running = left.double().cumsum(-1)
    numbers = torch.searchsorted(running, u * running[:, -1:], right=True)
    numbers.clamp_(max=left.shape[1] - 1)
    first = torch.cat((numbers, also), dim=-1)[..., None] * BLOCK
    tokens = first + torch.arange(BLOCK, device=log_p.device)
    blocks = log_p[at[:, None, None], tokens.clamp(max=V - 1)].masked_fill_(tokens >= V, -torch.inf)
    return sums, numbers[:, 0], blocks
