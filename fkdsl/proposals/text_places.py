"""Where the texts of a population stand in the automaton that guides them, and what of that tells
the masks of their next tokens.

    places = Guide(masks, plan).places(slots, contexts)     # equal places have equal masks
"""

from __future__ import annotations

import codecs
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.tokens_left import tokens_left
from fkdsl.machine.particle import Compute
from fkdsl.machine.proposal_plan import CompletionConstraint
from fkdsl.machine.state import ContextState
from fkdsl.models.vocabulary import Vocabulary


def begins_within(context: Context, start: int, begins: int, vocabulary: Vocabulary) -> bool:
    """Whether a text that begins with a context's token number `begins` begins in the middle of a
    character. start: of the tokens that the context has said. Contexts keep the answer."""
    if begins == start:
        return False
    key = (begins_within, start, begins)
    answer: bool | None = context.positions.get(key)
    if answer is None and context.length > begins and context.parent is not None:
        answer = context.parent.positions.get(key)
    if answer is None:
        known = max(start, begins - 4)  # a character has at most four bytes, and so many tokens
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(vocabulary.raw(context.tokens_from(known)[: begins - known]))
        answer = bool(decoder.getstate()[0])
    context.positions[key] = answer
    return answer


class Guide(NamedTuple):
    """The automaton by which a constraint on a text guides its draws. plan: of the draw."""

    masks: RegularMasks
    plan: CompletionConstraint[Compute]

    def places(
        self, slots: Sequence[Sequence[Any]], contexts: Sequence[ContextState]
    ) -> list[Hashable]:
        """Of each of some particles what tells its mask: where its text stands in the automaton,
        and the tokens that are left, as far as they count; None where the text begins in the middle
        of a character, so that it has none."""
        masks, plan = self.masks, self.plan
        begins = [c.start + of[plan.origin] for of, c in zip(slots, contexts, strict=True)]
        nodes, far = [c.node for c in contexts], masks.horizon()
        places: list[Hashable] = []
        for position, begin, of, c in zip(
            masks.positions_at(nodes, begins), begins, slots, contexts, strict=True
        ):
            if begin != c.start and begins_within(c.node, c.start, begin, masks.vocabulary):
                places.append(None)
                continue
            stop = of[plan.stop] if plan.budget_lookahead else None
            left = tokens_left(stop, c.node.length - c.start)
            places.append((position, left if left is None else min(left, far)))
        return places
