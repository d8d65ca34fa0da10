"""How the draws of one model are made, whatever the program: bounds on look-ahead, drafts, and what
is watched."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.machine.clock import Clock
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.drafting import Drafting
from fkdsl.proposals.text_masks import Late, Short, TextConstraint

ENUMERATED = 32
"""Outcomes of positive probability up to which each is asked, so that A is exact."""
HEAD, EXPENSIVE_HEAD = 0.05, 0.1
"""Share of the probability from which on an outcome is asked before any is drawn; also where asking
is expensive."""
QUESTIONS, EXPENSIVE_QUESTIONS = 256, 32
"""Outcomes that are asked at most before one is drawn, beyond those of the head."""
ENOUGH = 0.05
"""Share of what is left that must be known to live for weighted rejection to be worth while."""


@dataclass
class ProposalSettings:
    """They change the variance of Z_hat and nothing else; but for `local`, which is no proper
    weighting.

    enumerated, head, questions, enough: see ENUMERATED, HEAD, QUESTIONS, ENOUGH. rejection: whether
    there is look-ahead where there are more outcomes than `enumerated`; else masks alone are
    applied, as suits a method that enumerates the draws anyway. local: whether the mass of what was
    refused is left out of the weight (unweighted.py). force: whether the rows behind forced tokens
    are asked for with the first one's. drafting: how tokens are drafted, None for not at all.
    lookahead: how draws of constrained texts look ahead to the text's end by a surrogate, None for
    not at all; it does not go with drafting. clock: of a run that asks for blame. alternatives: how
    many of each draw's likeliest outcomes the state tells of, 0 for none. late: which conditions
    turned out to guide nothing; short: for which of them a text may have too few tokens;
    emptied: where the masks of a text first left no token (emptied.py).
    """

    enumerated: int = ENUMERATED
    head: float = HEAD
    questions: int = QUESTIONS
    enough: float = ENOUGH
    rejection: bool = True
    local: bool = False
    force: bool = True
    drafting: Drafting | None = None
    lookahead: CompletionLookahead | None = None
    clock: Clock | None = None
    alternatives: int = 0
    short: Short = field(default_factory=dict, compare=False)
    late: Late = field(default_factory=dict, compare=False)
    emptied: TextConstraint | None = field(default=None, compare=False)

    @property
    def blames(self) -> bool:
        """Whether it is to be known which line refused an outcome."""
        return self.clock is not None or self.alternatives > 0

    def timed(self, line: Span) -> AbstractContextManager[None]:
        """What is done within is charged to a line, where a clock runs."""
        return nullcontext() if self.clock is None else self.clock.line(line)
