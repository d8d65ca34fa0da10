"""Draws of a token from a context in which nothing is tried, in columns over a population: the
choices that Prior and Masked make of each, to the last bit, as in together.py, without an OpenDraw
for each particle.

    kind = kinds.known(slots, context)                  # of KindsOfDraw(op): what equal draws share
    chosen = choose_tokens(drawn_from, engines, uniforms)    # token and weight of each

Of a draw of such a kind two things are left that differ from particle to particle: the row of its
context, and its uniform number. Where two particles draw by one kind from one context, the sums of
the row are made once for both.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from fkdsl.base.locks import remember
from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import BLOCK, Sums, share_blocks
from fkdsl.base.random import first_above
from fkdsl.base.remembered import allowed
from fkdsl.base.value_keys import state_key
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.engine.constraints.futures import SoFar
from fkdsl.inference.interface import Charge
from fkdsl.machine.charges import charge_whole, split_charge
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.state import ContextState
from fkdsl.proposals.open_draw import OpenDraw
from fkdsl.proposals.outcomes import FEW, SOME, Mask, refusing_blocks
from fkdsl.proposals.text_masks import masks_so_far
from fkdsl.proposals.text_places import Guide, begins_within
from fkdsl.proposals.together import MOST, inverted, sums_without

if TYPE_CHECKING:
    from fkdsl.models.device.drawn import Drawn

A_FEW = 8
"""Draws up to which each is chosen by itself: after a forward an operator on arrays takes 10 us and
more, whatever it computes, and a choice of many takes thirty."""
KINDS = 256
"""Kinds that are kept of one draw: each holds a mask as long as the vocabulary."""


class DrawKind:
    """What draws have in common that differ in row and uniform number alone. mask: (V,) the tokens
    that are left, None for all. dense: whether so much is refused that what is left is summed.
    passed: how many conditions behind it need not be asked."""

    __slots__ = ("_blame", "_masked", "_weighs", "dense", "mask", "passed")

    def __init__(self, draw: OpenDraw, mask: Mask | None, dense: bool) -> None:
        self.mask, self.dense = mask, dense
        plan = draw.plan
        self._weighs = plan is not None and not plan.guesses_only
        self._blame = draw.blame
        self._masked, self.passed = draw.masks().both is not None, draw.passed

    def weight(self, mass: float) -> Weight:
        """The log weight (nats) of a draw of which masks leave `mass`, and to what it is
        charged."""
        if not self._weighs or (log_w := math.log(mass)) >= 0.0:
            return 0.0, ()
        if self._masked:
            return log_w, (charge_whole(log_w, self._blame, 1.0 - mass),)
        return log_w, tuple(split_charge(log_w, self._blame, None))


def kind_of(draw: OpenDraw) -> DrawKind | None:
    """The kind of an open draw from a context; None where such draws are made one by one."""
    plan = draw.plan
    if draw.finished or draw.unsatisfiable:
        return None
    if draw.constraint is not None and draw.constraint.automaton is None:
        return None
    masks = draw.masks()
    if plan is not None and plan.needs_lookahead and not masks.decided:
        return None
    size = draw.particle.vocabulary(draw.distribution).size
    left = size if masks.both is None else allowed(masks.both)
    dense = size - left > SOME
    # The rows behind a forced token are asked for together.
    forced = left == 1 and draw.constraint is not None
    if left == 0 or forced or (dense and left < size // FEW):
        return None
    return DrawKind(draw, masks.both if left < size else None, dense)


NoKind = Literal["alone", "unknown"]


class KindsOfDraw:
    """The kinds of the draws of one op. source: the slot that holds the context, None where such
    draws are made one by one. of_program: whether the op is of the program's own files.
    looks_ahead: whether guided draws look ahead by a surrogate."""

    def __init__(self, op: DrawOp, looks_ahead: bool) -> None:
        plan = op.plan
        self.op, self._prefix = op, None if plan is None else plan.prefix
        self.of_program = not op.span.source.is_prelude
        self._of_text = of_text = None if plan is None else plan.completion
        has_words = plan is not None and plan.words is not None
        is_guided = self._prefix is not None or has_words or of_text is not None
        # What must end a text may be known of one particle and not of another.
        closed = of_text is not None and of_text.closed is not None
        self.source = None if closed or (looks_ahead and is_guided) else op.source
        reads = () if plan is None else plan.reads
        reads = reads if self._prefix is None else (*reads, *self._prefix.reads)
        self._reads = reads if of_text is None else (*reads, *op.language_reads, of_text.ends)
        self._so_far: dict[Hashable, SoFar | None] = {}
        self._guides: dict[Hashable, Guide] = {}
        self._kinds: dict[Hashable, DrawKind | NoKind] = {}

    def known(self, slots: Sequence[Any], c: ContextState) -> DrawKind | NoKind:
        """The kind of the draw from a context of a particle with these slots; "alone" where such
        draws are made one by one, "unknown" until one of them has been learned."""
        return self._kinds.get(self._key(slots, c), "unknown")

    def known_of(
        self, slots: Sequence[Sequence[Any]], contexts: Sequence[ContextState]
    ) -> list[DrawKind | NoKind]:
        """`known` of each of some particles."""
        read = [{id(values[s]) for values in slots} for s in self._reads]
        if len({c.model for c in contexts}) > 1 or any(len(ids) > 1 for ids in read):
            return [self.known(s, c) for s, c in zip(slots, contexts, strict=True)]
        kinds: dict[Hashable, DrawKind | NoKind] = self._kinds
        of = self._read(slots[0], contexts[0])
        places = self._places(of, slots, contexts)
        if not places:
            return [kinds.get(of, "unknown")] * len(contexts)
        return [kinds.get((of, *place), "unknown") for place in zip(*places, strict=True)]

    def learn(self, slots: Sequence[Any], draw: OpenDraw) -> None:
        """Finds the kind of an open draw from a context, of a particle with these slots."""
        c = draw.particle.contexts[draw.distribution.index]
        of = self._read(slots, c)
        if self._prefix is not None:
            so_far = masks_so_far(draw.particle, draw.op, self._prefix, draw.distribution)
            remember(self._so_far, of, so_far, KINDS)
        if self._of_text is not None:
            if draw.constraint is None:
                if not self._begins_within(slots, draw):  # none is known for such values
                    remember(self._kinds, of, "alone", KINDS)
                return
            if (masks := draw.constraint.automaton) is not None:
                remember(self._guides, of, Guide(masks, self._of_text), KINDS)
        remember(self._kinds, self._key(slots, c), kind_of(draw) or "alone", KINDS)

    def _begins_within(self, slots: Sequence[Any], draw: OpenDraw) -> bool:
        """Whether the text of an open draw begins in the middle of a character."""
        assert self._of_text is not None
        c = draw.particle.contexts[draw.distribution.index]
        begins = c.start + slots[self._of_text.origin]
        vocabulary = draw.particle.vocabulary(draw.distribution)
        return begins_within(c.node, c.start, begins, vocabulary)

    def _read(self, slots: Sequence[Any], c: ContextState) -> Hashable:
        """The values that the draw's masks are made of."""
        return (c.model, *[state_key(slots[s]) for s in self._reads]) if self._reads else c.model

    def _key(self, slots: Sequence[Any], c: ContextState) -> Hashable:
        of = self._read(slots, c)
        places = self._places(of, [slots], [c])
        return (of, *[place for (place,) in places]) if places else of

    def _places(
        self, of: Hashable, slots: Sequence[Sequence[Any]], contexts: Sequence[ContextState]
    ) -> list[Sequence[Hashable]]:
        """Columns (n,) of what tells the masks of some particles that read the same values: where
        their texts stand. () where nothing does. of: of `_read`."""
        columns: list[Sequence[Hashable]] = []
        if self._prefix is not None and (so_far := self._so_far.get(of)) is not None:
            nodes, starts = [c.node for c in contexts], [c.start for c in contexts]
            for masks in (so_far.of_all, so_far.going_on):
                columns.append(
                    [None] * len(nodes) if masks is None else masks.positions_at(nodes, starts)
                )
        if self._of_text is not None and (guide := self._guides.get(of)) is not None:
            columns.append(guide.places(slots, contexts))
        return columns


Weight = tuple[float, tuple[Charge, ...]]
"""A log weight in nats, and what it is charged to."""
Chosen = tuple[int, Weight]
"""A token, and what drawing it weighs."""


class DrawnFrom(NamedTuple):
    """What draws choose from: of each its kind, its context, and its context's row (V,), nats."""

    kinds: Sequence[DrawKind]
    contexts: Sequence[ContextState]
    rows: Sequence[Floats]


def choose_tokens(
    of: DrawnFrom, engines: Mapping[str, CachedTransformer], uniforms: Floats
) -> list[Chosen | None]:
    """What each draw gives; None of those that are to be made one by one, since nothing is left, or
    no sums are known. uniforms: (n,) the first numbers of the draws' streams."""
    drawn = _read_in_columns(of, uniforms) if len(of.rows) > 1 else None
    if drawn is not None:
        return _choose_read(of, uniforms, drawn)
    chosen: list[Chosen | None] = [None] * len(of.rows)
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
            kinds, contexts, rows = [[column[i] for i in some] for column in of]
            part = type(drawn)(*[column[some] for column in drawn])
            of_some = DrawnFrom(kinds, contexts, rows)
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
