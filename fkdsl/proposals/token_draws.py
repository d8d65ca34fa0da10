"""Draws of a token from a context in which nothing is tried, in columns over a population: the
choices that Prior and Masked make of each, to the last bit, as in together.py, without an OpenDraw
for each particle.

    chosen = choose_tokens(drawn_from, engines, uniforms)    # token and weight of each

What such draws have in common is their kind (draw_kinds.py). Where two particles draw by one kind
from one context, the sums of the row are made once for both.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import BLOCK, ProbabilityBlocks, Sums, share_blocks
from fkdsl.base.random import first_above
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.machine.state import ContextState
from fkdsl.proposals.draw_kinds import DrawKind, Weight
from fkdsl.proposals.outcomes import Ids, Mask, refusing_blocks
from fkdsl.proposals.together import MOST, inverted, sums_without

if TYPE_CHECKING:
    from fkdsl.models.device.drawn import Drawn

A_FEW = 8
"""Draws up to which each is chosen by itself: after a forward an operator on arrays takes 10 us and
more, whatever it computes, and a choice of many takes thirty."""
Chosen = tuple[int, Weight]
"""A token, and what drawing it weighs."""


class DrawnFrom(NamedTuple):
    """What draws choose from: of each its kind, its context, and its context's row (V,), nats."""

    kinds: Sequence[DrawKind]
    contexts: Sequence[ContextState]
    rows: Sequence[Floats]

    def some(self, ns: Sequence[int]) -> DrawnFrom:
        """Those at some places."""
        kinds, contexts, rows = self
        return DrawnFrom([kinds[i] for i in ns], [contexts[i] for i in ns], [rows[i] for i in ns])


def choose_tokens(
    of: DrawnFrom, engines: Mapping[str, CachedTransformer], uniforms: Floats
) -> list[Chosen | None]:
    """What each draw gives; None of those that are to be made one by one, since nothing is left, or
    no sums are known. uniforms: (n,) the first numbers of the draws' streams."""
    chosen: list[Chosen | None] = [None] * len(of.rows)
    if any(kind.ids is not None for kind in of.kinds):
        others: list[int] = []
        for i, (kind, row) in enumerate(zip(of.kinds, of.rows, strict=True)):
            if kind.ids is None:
                others.append(i)
            elif isinstance(row, np.ndarray):
                chosen[i] = _choose_listed(kind, row, kind.ids, uniforms.item(i))
        if others:
            part = of.some(others)
            for i, choice in zip(
                others, choose_tokens(part, engines, uniforms[others]), strict=True
            ):
                chosen[i] = choice
        return chosen
    drawn = _read_in_columns(of, uniforms) if len(of.rows) > 1 else None
    if drawn is not None:
        return _choose_read(of, uniforms, drawn)
    sums = _read(of, uniforms)
    groups: dict[Hashable, list[int]] = {}
    alike = [(len(row), row.dtype.char) for row in of.rows]
    for i, key in enumerate(alike):
        groups.setdefault(key, []).append(i)
    for group in groups.values():
        if len(group) <= A_FEW:
            for i, left in _sums(of, engines, sums, group).items():
                chosen[i] = _choose_one(of.kinds[i], of.rows[i], left, uniforms.item(i))
            continue
        for begin in range(0, len(group), MOST):
            _choose(of, engines, uniforms, sums, group[begin : begin + MOST], chosen)
    return chosen


def _read_in_columns(of: DrawnFrom, uniforms: Floats) -> Drawn | None:
    """Reads from a device what the draws will look at, in columns, where all rows lie
    there: the sums of what masks leave, as `_sums` has them."""
    if any(isinstance(row, np.ndarray) for row in of.rows):
        return None
    from fkdsl.models.device.drawn import read_drawn

    sparse: dict[DrawKind, list[int]] = {}
    for i, kind in enumerate(of.kinds):
        if kind.mask is not None and not kind.dense:  # what few tokens leave is summed here
            sparse.setdefault(kind, []).append(i)
    refusing = {kind: refusing_blocks(_mask(kind)) for kind in sparse}
    also = np.zeros((len(of.rows), max(map(len, refusing.values()), default=0)), dtype=np.int64)
    for kind, some in sparse.items():
        also[some, : len(refusing[kind])] = refusing[kind]
    masks, whole = [kind.mask for kind in of.kinds], [not kind.dense for kind in of.kinds]
    drawn = read_drawn(cast(Any, of.rows), masks, uniforms, also, whole)
    if drawn is not None:
        for kind, some in sparse.items():
            _leave_out(_mask(kind), drawn, some, refusing[kind])
    return drawn


def _leave_out(mask: Mask, drawn: Drawn, some: list[int], refusing: list[int]) -> None:
    """`sums_without` of the sums of some draws by one mask."""
    for b, k in enumerate(refusing):
        left = mask[k * BLOCK : (k + 1) * BLOCK]
        p = np.exp(drawn.others[some, b, : len(left)])
        p[:, ~left] = 0.0
        drawn.sums[some, k] = np.add.reduce(p, axis=1)


def _choose_read(of: DrawnFrom, uniforms: Floats, drawn: Drawn) -> list[Chosen | None]:
    """`choose_tokens` by what has been read in columns."""
    sums, masks = drawn.sums, [kind.mask for kind in of.kinds]
    masses, running = sums.sum(axis=1), sums.cumsum(axis=1)
    alive = (masses > 0.0) & np.isfinite(running[:, -1])
    at_hand = drawn.numbers, cast(Floats, drawn.blocks)
    if not alive.all():
        some = alive.nonzero()[0].tolist()
        chosen: list[Chosen | None] = [None] * len(masks)
        if some:
            part = type(drawn)(*[column[some] for column in drawn])
            of_some = of.some(some)
            for i, choice in zip(some, _choose_read(of_some, uniforms[some], part), strict=True):
                chosen[i] = choice
        return chosen
    tokens = inverted(of.rows, masks, sums, running, uniforms, at_hand)
    weights = [kind.weight(mass) for kind, mass in zip(of.kinds, masses.tolist(), strict=True)]
    return list(zip(tokens.tolist(), weights, strict=True))


def _read(of: DrawnFrom, uniforms: Floats) -> dict[int, Sums]:
    """Reads from a device what the draws will look at, in one transfer. (blocks,) the sums of what
    masks leave of the rows that lie there."""
    there = [i for i, row in enumerate(of.rows) if not isinstance(row, np.ndarray)]
    if not there:
        return {}
    from fkdsl.models.device.reads import Wanted, read

    wanted = []
    for i, uniform in zip(there, uniforms[there].tolist(), strict=True):
        kind, row = of.kinds[i], cast(Any, of.rows[i])
        if kind.dense or kind.mask is None:
            wanted.append(Wanted(row, kind.mask, None, uniform))
        else:  # what few tokens leave is summed here
            wanted.append(Wanted(row, None, None, uniform, blocks=refusing_blocks(kind.mask)))
    return {i: sums for i, sums in zip(there, read(wanted), strict=True) if sums is not None}


def _choose(
    of: DrawnFrom,
    engines: Mapping[str, CachedTransformer],
    uniforms: Floats,
    read: Mapping[int, Sums],
    some: Sequence[int],
    chosen: list[Chosen | None],
) -> None:
    """Sets the choices of some draws, of rows of one length and dtype. read: the sums that came
    from a device."""
    nodes = [of.contexts[i].node for i in some]
    first, each = some, some
    if len(set(nodes)) < len(nodes):
        distinct: dict[tuple[Context, DrawKind], int] = {}
        pairs = zip(nodes, some, strict=True)
        first = [distinct.setdefault((node, of.kinds[i]), i) for node, i in pairs]
        each = list(distinct.values())
    known = _sums(of, engines, read, each)
    if not known:
        return
    order = each if len(known) == len(each) else list(known)
    sums = np.array([known[i] for i in order])  # (m, blocks)
    masses, running = sums.sum(axis=1), sums.cumsum(axis=1)
    alive = ((masses > 0.0) & np.isfinite(running[:, -1])).tolist()
    if each is some and order is each and all(alive):  # as in most steps
        kinds = [of.kinds[i] for i in some]
        masks, rows = [kind.mask for kind in kinds], [of.rows[i] for i in some]
        tokens = inverted(rows, masks, sums, running, uniforms[some])
        for i, token, kind, mass in zip(some, tokens.tolist(), kinds, masses.tolist(), strict=True):
            chosen[i] = token, kind.weight(mass)
        return
    # The others are made one by one, and die or are refused there.
    number = {i: m for m, (i, lives) in enumerate(zip(order, alive, strict=True)) if lives}
    at = [i for i, j in zip(some, first, strict=True) if j in number]
    if not at:
        return
    ms = [number[j] for j in first if j in number]
    left = masses.tolist()
    weights = {m: of.kinds[i].weight(left[m]) for i, m in number.items()}
    rows, masks = [of.rows[i] for i in at], [of.kinds[i].mask for i in at]
    if ms != [*range(len(sums))]:
        sums, running = sums[ms], running[ms]
    tokens = inverted(rows, masks, sums, running, uniforms[at])
    for i, m, token in zip(at, ms, tokens.tolist(), strict=True):
        chosen[i] = token, weights[m]


def _choose_one(kind: DrawKind, row: Floats, sums: Sums, uniform: float) -> Chosen | None:
    """`_choose` of a single draw. sums: (blocks,) of what is left of the row."""
    mass, running = float(np.add.reduce(sums)), sums.cumsum()
    if not (mass > 0.0 and math.isfinite(total := running.item(-1))):
        return None
    u = uniform * total
    k = first_above(sums, running, u)
    p = np.exp(row[k * BLOCK : (k + 1) * BLOCK])
    if kind.mask is not None:
        p *= share_blocks(kind.mask)[k, : len(p)]
    within = u - (running.item(k) - sums.item(k))
    token = k * BLOCK + first_above(p, p.cumsum(dtype=np.float64), within)
    return token, kind.weight(mass)


def _choose_listed(kind: DrawKind, row: Floats, ids: Ids, uniform: float) -> Chosen | None:
    """The choice from the tokens `ids` of a row, on a host: of so few only what is left is
    exponentiated."""
    p = np.exp(row[ids])
    chosen = _choose_from(ProbabilityBlocks(p), uniform)
    return None if chosen is None else (ids.item(chosen[0]), kind.weight(chosen[1]))


def _choose_from(p: ProbabilityBlocks, uniform: float) -> tuple[int, float] | None:
    """(the index that a uniform number gives, the sum of all); None where nothing is left."""
    mass, running = p.mass(), p.sums.cumsum()
    if not (mass > 0.0 and math.isfinite(total := running.item(-1))):
        return None
    u = uniform * total
    k = first_above(p.sums, running, u)
    block = p.of(k)
    within = u - (running.item(k) - p.sums.item(k))
    return k * p.block + first_above(block, block.cumsum(dtype=np.float64), within), mass


def _sums(
    of: DrawnFrom,
    engines: Mapping[str, CachedTransformer],
    read: Mapping[int, Sums],
    some: Sequence[int],
) -> dict[int, Sums]:
    """(blocks,) the sums of what is left of the rows of some draws, where they are known."""
    sums: dict[int, Sums] = {}
    dense: dict[str, list[int]] = {}
    for i in some:
        kind, context = of.kinds[i], of.contexts[i]
        if read and i in read:
            sums[i] = read[i]
        elif kind.dense:
            dense.setdefault(context.model, []).append(i)
        else:
            row = of.rows[i]
            if (whole := engines[context.model].sums(context.node, row)) is not None:
                sums[i] = whole if kind.mask is None else sums_without(whole, row, kind.mask)
    for model, of_model in dense.items():
        rows, masks = [of.rows[i] for i in of_model], [_mask(of.kinds[i]) for i in of_model]
        left = engines[model].masked_block_sums(rows, masks)
        sums.update(zip(of_model, left, strict=True))
    return sums


def _mask(kind: DrawKind) -> Mask:
    assert kind.mask is not None
    return kind.mask
