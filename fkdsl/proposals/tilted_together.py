"""Draws of a population that look ahead, made together: of tokens from contexts' own rows, where
nothing is to be tried. Each choice is the one that Tilted and Masked make, to the last bit
(tilted.py, masked.py); together.py does the same for draws that do not look ahead.

    choose_tilted(draws, lookahead)         # draw.choice and draw.tilted are set
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import BLOCK, Sums
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.inversion import inverse
from fkdsl.proposals.open_draw import OpenDraw
from fkdsl.proposals.outcomes import TokenOutcomes
from fkdsl.proposals.proposal import Choice
from fkdsl.proposals.tilts import Tilt

MOST = 1 << 17
"""Outcomes, of all draws, that are looked at together: they stay in the processor's caches."""


class TiltedDraw(NamedTuple):
    """A draw that looks ahead, and what may come of it."""

    draw: OpenDraw
    outcomes: TokenOutcomes


def choose_tilted(draws: Sequence[TiltedDraw], lookahead: CompletionLookahead) -> None:
    """Makes the tilts of draws, and sets the choice of those that have one; the others are left to
    be made one by one."""
    begin = 0
    while begin < len(draws):
        size = len(draws[begin].outcomes.row)
        end = begin + max(1, MOST // size)
        _choose_some(draws[begin:end], lookahead)
        begin = end


def _choose_some(draws: Sequence[TiltedDraw], lookahead: CompletionLookahead) -> None:
    asked = []
    for draw, outcomes in draws:
        ahead = draw.ahead()
        assert ahead is not None
        asked.append((draw.particle, draw.distribution, ahead, outcomes))
    # Equal draws have one tilt, and those whose outcomes are as many are made by the same arrays.
    equal: dict[tuple[int, bool], list[OpenDraw]] = {}
    groups: dict[Hashable, dict[tuple[int, bool], tuple[TokenOutcomes, Tilt]]] = {}
    for (draw, outcomes), tilt in zip(draws, lookahead.tilts(asked), strict=True):
        draw.tilted = (outcomes, tilt)
        if tilt is not None:
            tilts = lookahead.proposes(draw.particle)
            key = id(tilt), tilts
            equal.setdefault(key, []).append(draw)
            # Precisions are told apart by their sizes, which is quicker.
            alike = len(tilt.h), outcomes.p.itemsize, tilt.h.itemsize, tilts
            groups.setdefault(alike, {})[key] = outcomes, tilt
    for group in groups.values():
        p = np.array([outcomes.p for outcomes, _ in group.values()])  # (m, n)
        (_, tilts), *_ = group
        h = np.array([tilt.h for _, tilt in group.values()]) if tilts else None
        _choose([equal[key] for key in group], p, h)


def _choose(draws: Sequence[Sequence[OpenDraw]], p: Floats, h: Floats | None) -> None:
    """Draws by inversion, as KeyedRng.choice does: first a block, then an index within it. draws: m
    groups of equal ones. p: (m, n) of their outcomes. h: (m, n), None for draws from p itself."""
    masses = _block_sums(p).sum(axis=1).tolist()
    q = p if h is None else p * h
    sums = _block_sums(q)
    running = sums.cumsum(axis=1)
    masses_q = sums.sum(axis=1).tolist()
    alive = [0.0 < mass < math.inf for mass in running[:, -1].tolist()]
    each = [(j, draw) for j, same in enumerate(draws) if alive[j] for draw in same]
    if not each:
        return
    js = np.array([j for j, _ in each])
    n = np.arange(len(js))
    u = np.array([draw.rng.uniform() for _, draw in each]) * running[js, -1]
    k = inverse(sums[js], running[js], u)
    within = u - (running[js, k] - sums[js, k])
    block = _blocks(q, js.tolist(), k.tolist())
    i = k * BLOCK + inverse(block, block.cumsum(axis=1, dtype=np.float64), within)
    divided = np.ones(len(n)) if h is None else h[js, i]
    for (j, draw), index, of_h in zip(each, i.tolist(), divided.tolist(), strict=True):
        assert draw.tilted is not None
        refused = draw.refused(draw.tilted[0], masses[j])
        log_w = min(0.0, math.log(masses_q[j]))
        draw.choice = Choice(index, log_w - math.log(of_h), refused=refused)


def _block_sums(p: Floats) -> Sums:
    """(m, blocks) float64: the sums of each row's blocks, as `block_sums` has them of one."""
    m, n = p.shape
    if n <= BLOCK:
        return np.asarray(p.sum(axis=1, keepdims=True), dtype=np.float64)
    whole = n // BLOCK * BLOCK
    blocks = p[:, :whole].reshape(-1, BLOCK)
    sums: Sums = np.einsum("ij->i", blocks).astype(np.float64).reshape(m, -1)
    if whole == n:
        return sums
    return np.append(sums, p[:, whole:].sum(axis=1, keepdims=True), axis=1)


def _blocks(q: Floats, rows: Sequence[int], ks: Sequence[int]) -> Floats:
    """(n, BLOCK) one block of each of these rows; a shorter last block ends with zeros."""
    if q.shape[1] <= BLOCK:
        of_rows: Floats = q[rows]
        return of_rows
    blocks = np.zeros((len(rows), BLOCK), dtype=q.dtype)
    for one, j, k in zip(blocks, rows, ks, strict=True):
        part = q[j, k * BLOCK : (k + 1) * BLOCK]
        one[: len(part)] = part
    return blocks
