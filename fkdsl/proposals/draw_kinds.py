"""What draws of a token from a context have in common, where nothing is tried in them.

    kinds = KindsOfDraw(op, looks_ahead)
    kinds.known_of(slots, contexts)         # of each particle, once one like it has been learned

Of a draw of a kind two things are left that differ from particle to particle: the row of its
context, and its uniform number (token_draws.py).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal

from fkdsl.base.locks import remember
from fkdsl.base.remembered import allowed, listed
from fkdsl.base.value_keys import state_key
from fkdsl.engine.constraints.futures import SoFar
from fkdsl.inference.interface import Charge
from fkdsl.machine.charges import charge_whole, split_charge
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.state import ContextState
from fkdsl.proposals.open_draw import OpenDraw
from fkdsl.proposals.outcomes import FEW, SOME, Mask
from fkdsl.proposals.text_masks import masks_so_far
from fkdsl.proposals.text_places import Guide, begins_within

KINDS = 256
"""Kinds that are kept of one draw: each holds a mask as long as the vocabulary."""
Weight = tuple[float, tuple[Charge, ...]]
"""A log weight in nats, and what it is charged to."""


class DrawKind:
    """What draws have in common that differ in row and uniform number alone. mask: (V,) the tokens
    that are left, None for all. dense: whether so much is refused that what is left is summed. ids:
    those that are left, where they are few, None elsewhere. passed: how many conditions behind it
    need not be asked."""

    __slots__ = ("_blame", "_masked", "_weighs", "dense", "ids", "mask", "passed")

    def __init__(self, draw: OpenDraw, mask: Mask | None, dense: bool, few: bool) -> None:
        self.mask, self.dense = mask, dense
        self.ids = listed(mask) if few and mask is not None else None
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
    if left == 0 or forced:
        return None
    few = dense and left < size // FEW
    return DrawKind(draw, masks.both if left < size else None, dense, few)


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
