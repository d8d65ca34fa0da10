"""Masks of texts that must be ended by one of their stops or by EOS, and not by the budget.

>>> from fkdsl.engine.constraints.languages import Length
>>> vocabulary = Vocabulary((b"a", b"b", b""), ends=frozenset({2}))
>>> masks = ClosedMasks(Length(0, -1), "ab", vocabulary)
>>> masks.mask(masks.position((1,)), 1).tolist()  # two tokens are left: b, a leave none for an end
[True, True, True]
>>> masks.mask(masks.position((1,)), 0).tolist()  # one is left: only the end closes the text
[False, False, True]
>>> masks.mask(masks.position((0,)), 0).tolist()  # ... or the stop's last letter
[False, True, True]

Such a text is in one of two languages: s and a stop, or s itself and then EOS, which is a token
that the budget must have room for. Each has an automaton with masks of its own; a token is allowed
where either allows it.
"""

from __future__ import annotations

import numpy as np

from fkdsl.base.probability_blocks import Mask
from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.languages import Language
from fkdsl.engine.constraints.regular import Position, RegularMasks
from fkdsl.engine.constraints.stops import Ending, Until
from fkdsl.engine.constraints.tokens_left import TokensLeft, is_spent, one_later
from fkdsl.models.vocabulary import TokenIds, Vocabulary

Positions = tuple[Position, Position]


class ClosedMasks:
    """The masks of the texts of a language that a stop or EOS has ended; as RegularMasks. Raises
    Unsupported or TooComplex."""

    def __init__(self, language: Language, until: Until, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.stopped = RegularMasks(
            automaton(language, until, Ending.STOP), vocabulary, dropped=False
        )
        self.whole = RegularMasks(automaton(language, until, Ending.EOS), vocabulary, dropped=False)

    @property
    def is_empty(self) -> bool:
        return self.stopped.is_empty and (self.whole.is_empty or not self.vocabulary.ends)

    def position(self, ids: TokenIds) -> Positions:
        """The positions in both automata after these tokens."""
        return self.stopped.position(ids), self.whole.position(ids)

    def mask(self, positions: Positions, left: TokensLeft) -> Mask:
        """(V,) the tokens after which a stop or EOS can still end the text in time, with it in the
        language."""
        stopped, whole = positions
        allowed = self.stopped.mask(stopped, left).copy()
        if not self.vocabulary.ends:
            return allowed
        before_end = one_later(left)
        if not is_spent(before_end):
            allowed |= self.whole.mask(whole, before_end)
        allowed[np.array(sorted(self.vocabulary.ends))] = self.whole.accepts(whole)
        return allowed
