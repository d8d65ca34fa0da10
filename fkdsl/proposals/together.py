"""Draws of a population, made together: of tokens from contexts' own rows, where nothing is to be
tried. Each choice is the one that Prior or Masked makes, to the last bit; here it costs a few
operations on arrays over the population, and not a dozen on small ones for each particle.

    choose_together(draws, settings)        # draw.choice is set wherever that can be done

Rows of n draws are in blocks (base/probability_blocks.py), of which the sums are at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import BLOCK, Sums, share_blocks
from fkdsl.base.random import KeyedRng
from fkdsl.base.remembered import allowed
from fkdsl.proposals.inversion import inverse
from fkdsl.proposals.open_draw import Masks, OpenDraw
from fkdsl.proposals.outcomes import FEW, SOME, Mask, TokenOutcomes, refusing_blocks
from fkdsl.proposals.proposal import Choice
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.tilted_together import TiltedDraw, choose_tilted
from fkdsl.values.values import ContextRef

MOST = 256
"""Draws that are made at a time: what they look at stays in the processor's caches."""


BlocksAtHand = tuple[NDArray[np.int64], Floats]
"""(n,) numbers of blocks, one of each of n rows, and (n, BLOCK) these blocks, nats, -inf behind a
row's end."""


class PlainDraw(NamedTuple):
    """A draw in which nothing is tried. row: (V,) nats; mask: (V,) what is left, None for all;
    sums: (blocks,) of what is left."""

    draw: OpenDraw
    row: Floats
    mask: Mask | None
    sums: Sums


def choose_together(draws: Sequence[OpenDraw], settings: ProposalSettings) -> None:
    """Sets the choice of each draw that is plain; the others are left to be made one by one. The
    rows that the draws request are at hand."""
    if settings.drafting is not None or settings.local or settings.blames:
        return
    plain: list[PlainDraw] = []
    tilted: list[TiltedDraw] = []
    for draw in draws:
        found = _row_of(draw)
        if found is None:
            continue
        if settings.lookahead is not None and draw.ahead() is not None:
            row, masks = found
            vocabulary = draw.particle.vocabulary(draw.distribution)
            outcomes = TokenOutcomes(row, (draw.distribution,), vocabulary, masks.both)
            tilted.append(TiltedDraw(draw, outcomes))
        elif (p := _plain_draw(draw, *found)) is not None:
            plain.append(p)
    if settings.lookahead is not None:
        choose_tilted(tilted, settings.lookahead)
    by_size: dict[tuple[int, np.dtype[np.floating]], list[PlainDraw]] = {}
    for p in plain:
        by_size.setdefault((len(p.row), p.row.dtype), []).append(p)
    for same in by_size.values():
        for begin in range(0, len(same), MOST):
            _choose(same[begin : begin + MOST])


def _row_of(draw: OpenDraw) -> tuple[Floats, Masks] | None:
    """The row (V,) that a draw takes a token from, and its masks, if it is a context's own and
    masks decide all that is known of the draw; else None."""
    d, plan = draw.distribution, draw.plan
    if type(d) is not ContextRef or draw.finished or draw.unsatisfiable:
        return None
    if type(draw.rng) is not KeyedRng:
        return None
    masks = draw.masks()
    if plan is not None and plan.needs_lookahead and not masks.decided:
        return None
    c = draw.particle.contexts[d.index]
    row = draw.particle.rows.get(c.node)
    if c.pending is not None or not isinstance(row, np.ndarray):
        return None
    return row, masks


def _plain_draw(draw: OpenDraw, row: Floats, masks: Masks) -> PlainDraw | None:
    """The draw, if the sums over its row's blocks are at hand; else None."""
    mask = masks.both
    left = len(row) if mask is None else allowed(mask)
    if len(row) - left > SOME:
        if draw.sums is None or left < len(row) // FEW:
            return None
        return PlainDraw(draw, row, mask, draw.sums)
    c = draw.particle.contexts[draw.distribution.index]
    sums = draw.particle.engines[c.model].sums(c.node, row)
    if sums is None:
        return None
    if mask is not None and left < len(row):
        return PlainDraw(draw, row, mask, sums_without(sums, row, mask))
    return PlainDraw(draw, row, None, sums)


def sums_without(sums: Sums, row: Floats, mask: Mask) -> Sums:
    """The sums of what a mask leaves that refuses few: of each block that one of these is in, the
    sum of its others."""
    sums = sums.copy()
    for k in refusing_blocks(mask):
        at = slice(k * BLOCK, (k + 1) * BLOCK)
        p = np.exp(row[at])
        p[~mask[at]] = 0.0
        sums[k] = np.add.reduce(p)
    return sums


def _choose(plain: Sequence[PlainDraw]) -> None:
    """Draws by inversion, as KeyedRng.choice does: first a block, then an index within it."""
    sums = np.concatenate([p.sums for p in plain]).reshape(len(plain), -1)  # (n, blocks)
    masses = sums.sum(axis=1)
    running = sums.cumsum(axis=1)
    alive = np.flatnonzero((masses > 0.0) & np.isfinite(running[:, -1]))
    if len(alive) < len(plain):  # the others are made one by one, and die or are refused there
        if len(alive):
            _choose([plain[j] for j in alive.tolist()])
        return
    uniforms = np.array([p.draw.rng.uniform() for p in plain])
    rows, masks = [p.row for p in plain], [p.mask for p in plain]
    i = inverted(rows, masks, sums, running, uniforms)
    for p, index, mass in zip(plain, i.tolist(), masses.tolist(), strict=True):
        draw, plan = p.draw, p.draw.plan
        if plan is None or plan.guesses_only:
            draw.choice = Choice(index, 0.0)
        else:
            masked = mass < 1.0 and draw.masks().both is not None
            refused = {plan.blame: 1.0 - mass} if masked else {}
            draw.choice = Choice(index, min(0.0, math.log(mass)), refused=refused)


def inverted(
    rows: Sequence[Floats],
    masks: Sequence[Mask | None],
    sums: Floats,
    running: Floats,
    uniforms: Floats,
    at_hand: BlocksAtHand | None = None,
) -> NDArray[np.intp]:
    """(n,) the token of each draw. rows: (V,) nats; masks: (V,), None for all; sums: (n, blocks) of
    what the masks leave; running: (n, blocks) their running sums; uniforms: (n,) in [0, 1).
    at_hand: blocks of the rows that have been read."""
    n = np.arange(len(rows))
    u = uniforms * running[:, -1]
    k = inverse(sums, running, u)
    within = u - (running[n, k] - sums[n, k])
    block = _blocks(rows, masks, k, at_hand)
    i: NDArray[np.intp] = k * BLOCK + inverse(block, block.cumsum(axis=1, dtype=np.float64), within)
    return i


def _blocks(
    rows: Sequence[Floats],
    masks: Sequence[Mask | None],
    k: NDArray[np.intp],
    at_hand: BlocksAtHand | None,
) -> Floats:
    """(n, BLOCK) the probabilities that masks leave of one block of each row; a shorter last block
    ends with zeros. k: (n,) the numbers of the blocks."""
    ks = k.tolist()
    if at_hand is None:
        logs = np.concatenate([_block(row, j) for row, j in zip(rows, ks, strict=True)])
    else:
        numbers, logs = at_hand
        others = (numbers != k).nonzero()[0].tolist()
        logs = logs.copy() if others else logs
        for n in others:
            logs[n] = _block(rows[n], ks[n])
    p: Floats = np.exp(logs).reshape(len(rows), BLOCK)
    masked: dict[int, list[int]] = {}
    for j, mask in enumerate(masks):
        if mask is not None:
            masked.setdefault(id(mask), []).append(j)
    for js in masked.values():
        mask = masks[js[0]]
        assert mask is not None
        p[js] *= share_blocks(mask)[[ks[j] for j in js]]
    return p


def _block(row: Floats, k: int) -> Floats:
    """(BLOCK,) block k of a row (V,), a shorter last one filled up with -inf."""
    block = row[k * BLOCK : (k + 1) * BLOCK]
    if len(block) == BLOCK:
        return block
    return np.append(block, np.full(BLOCK - len(block), -np.inf, dtype=block.dtype))
