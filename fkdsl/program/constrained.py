"""Constraints on a text in the middle of its drawing: what a guided draw asks of the engine's constraints.

The text is what its context has said since the draw of it began. Everything is a function of the tokens so far, so a
constraint forks with its particle and is found again when a state is read back.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.constraint import Constraint, Ids, Mask, make_constraint
from fkdsl.engine.constraints.languages import Language
from fkdsl.program.faults import Fault
from fkdsl.program.tokens import TokenDistribution, leaves

if TYPE_CHECKING:
    from fkdsl.program.code import TextGuide
    from fkdsl.program.particle import ActiveFrame, Running

FORCED = 32
"""Forced tokens that are scored together at most."""


@dataclass(frozen=True)
class Constrained:
    """A constraint where a particle stands: ids are the text's tokens so far; left is how many may follow the next one,
    None for no look-ahead."""

    constraint: Constraint
    ids: Ids
    left: int | None

    @property
    def hopeless(self) -> bool:
        """Whether it is known from the start that no text satisfies it."""
        return not self.ids and self.constraint.is_empty

    def mask(self) -> Mask | None:
        return self.constraint.mask(self.ids, self.left)

    def forced(self, context: Context, extend: Extend) -> list[Context]:
        """The contexts along the tokens that are the only ones allowed, as far as they are: their rows are needed
        whatever is drawn. Only automata are asked, whose masks cost little."""
        ids, left = self.ids, self.left
        found: list[Context] = []
        vocabulary = self.constraint.vocabulary
        while not self.constraint.grammars and len(found) < FORCED and (left is None or left >= 0):
            mask = self.constraint.mask(ids, left)
            if mask is None or np.count_nonzero(mask) != 1:
                break
            token = int(mask.argmax())
            if token in vocabulary.ends or left == 0:
                break
            ids, left = (*ids, token), None if left is None else left - 1
            context = extend(context, (token,))
            found.append(context)
        return found


def constrained(particle: Running, frame: ActiveFrame, guide: TextGuide, d: TokenDistribution) -> Constrained | None:
    """The constraint of a draw as its particle stands; None if the text begins in the middle of a character, or what
    should say its language fails: the condition itself will say so."""
    try:
        language = guide.language(frame)
    except Fault:
        return None
    assert isinstance(language, Language)
    c = particle.contexts[leaves(d)[0].index]
    begins = c.start + frame.slots[guide.origin]
    tokens = c.node.tokens
    vocabulary = particle.vocabulary(leaves(d)[0])
    if begins > c.start:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(vocabulary.raw(tokens[max(c.start, begins - 4) : begins]))
        if decoder.getstate()[0]:
            return None
    left = frame.slots[guide.stop] - (len(tokens) - c.start) - 1 if guide.ahead else None
    return Constrained(make_constraint(language, frame.slots[guide.until], vocabulary), tokens[begins:], left)


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Extend = Callable[[Context, Sequence[int]], Context]
