"""The one interface of all proposals, and its law.

    choice = proposal.propose(rng, outcomes, lives)      E[w 1{i = v}] = p(v) e(v)  for every v

p (n,) is what the outcomes weigh: the distribution's probabilities, those that masks refuse at
zero. e(v) = lives(v) says whether the particle lives through what stands between this draw and the
next. w = exp(choice.log_w). So the draw is *properly weighted*, and the program's measure and Z are
what they were (docs/inference.md, Proposals). tests/proposals/test_law.py holds every proposal to
the law, by enumeration.

    prior.py            i ~ p, which lives or dies                  the program's own M_t
    masked.py           i ~ p / A, w = A = sum p                    where masks decide all
    enumerated.py       i ~ p e / A, w = A = sum p e                each outcome asked: optimal
    rejection.py        draws without replacement until e holds     adaptive weighted rejection
    speculative.py      the same draws by way of a draft q          p's law for any q
    draft_weighted.py   i ~ q                                       p / q weighed at the block's end
    tilted.py           the same draws from p h, w / h(i)           any h > 0: looks ahead
    unweighted.py       w = 1                                       `local`: breaks the law
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from fkdsl.base.random import Rng
from fkdsl.base.spans import Span
from fkdsl.proposals.outcomes import Outcomes

Lives = Callable[[int], bool]
"""Whether the particle lives on with outcome i; pure, and costs something."""


class Choice(NamedTuple):
    """i: the outcome, -1 if none is left. log_w: nats, at most 0 unless the draw is tilted.
    drafted: whether i is the draft's own. log_q: nats, where i was drawn from a draft and
    p(i) / q(i) is still to be weighed; None where nothing is. refused: the probability that each
    line has refused of the outcomes."""

    i: int
    log_w: float
    drafted: bool = False
    log_q: float | None = None
    refused: Mapping[Span, float] = {}


NOTHING = Choice(-1, -math.inf)
"""No outcome lives: the particle dies."""


class Proposal(Protocol):
    """A way to draw one of the outcomes."""

    def propose(self, rng: Rng, outcomes: Outcomes, lives: Lives) -> Choice:
        """One outcome with its weight: the law of this module. Draws by rng alone, asks `lives` at
        most once for each outcome, and uses up `outcomes.blocks`."""
        ...


def everything_lives(i: int) -> bool:
    """e = 1."""
    return True
