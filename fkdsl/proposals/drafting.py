"""Drafted tokens: the blocks that particles draw by way of a draft q, verified by the model p in
one forward.

A draft block begins with a token drawn from p at its base; up to `length` tokens after it have a
draft. Two exact uses:

    verify="sample"   x has p's law for any q (speculative.py), so M_t is what it was. A drafter of
                      the particle goes on with q's rows for p's, and the rows that it asks for are
                      computed with the first that is missing (fkdsl.steering.precompute).
    verify="weigh"    x ~ q, and G_t is multiplied by p(x) / q(x) (draft_weighted.py). A block is
                      one step, and its rows are asked for at its end: one forward a block, none for
                      particles that its conditions have killed.

Masks and conditions apply within a block: both p and q are restricted to what lives.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.drafts import Draft, DraftQuery, DraftRow, distance
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import ContextState, DraftBlock
from fkdsl.proposals.draft_weighted import UNIFORM, mixed_with_uniform
from fkdsl.proposals.outcomes import Mask, Outcomes, TokenOutcomes
from fkdsl.proposals.proposal import Choice
from fkdsl.values.token_distributions import following
from fkdsl.values.values import ContextRef

ANSWERS = 32_000_000
"""Bytes of a draft's answers that are kept at most: a query is made when running ahead and again
when drawing."""

PINNED = 6
"""Blocks' worth of steps for which contexts are pinned that were asked for before their time, and
drafts' answers kept that nobody asks for."""


@dataclass(frozen=True)
class DraftOf:
    """How a model's tokens are drafted. length: tokens after the base at most. weighs: whether
    p / q is weighed. uniform: the share of a uniform in a draft that is weighed."""

    draft: Draft
    length: int
    weighs: bool = False
    uniform: float = UNIFORM

    @property
    def reach(self) -> int:
        """Tokens after the base that have a draft."""
        return min(self.length, self.draft.reach)


@dataclass
class DraftCounts:
    """rounds: blocks verified, a particle's each. draws: tokens drawn from drafted models. drafted:
    those of them that had a draft; kept: those that were the draft's. Steps that were made ahead of
    their time count when a particle takes them."""

    rounds: int = 0
    draws: int = 0
    drafted: int = 0
    kept: int = 0

    def add(self, other: DraftCounts) -> None:
        self.rounds += other.rounds
        self.draws += other.draws
        self.drafted += other.drafted
        self.kept += other.kept


@dataclass
class Drafting:
    """of: by the program's names of its models, those that are drafted. counts: of the run. pinned:
    contexts whose rows were asked for before their time, by step, the last steps'. answers: those
    last asked for, last, with the step that did."""

    of: Mapping[str, DraftOf]
    counts: DraftCounts = field(default_factory=DraftCounts)
    pinned: deque[list[Context]] = field(default_factory=deque)
    answers: OrderedDict[DraftQuery, tuple[int, DraftRow | None]] = field(
        default_factory=OrderedDict
    )
    step: int = 0

    @property
    def longest(self) -> int:
        """Tokens of the longest block."""
        return max(of.length for of in self.of.values())

    @property
    def weighs(self) -> bool:
        """Whether p / q is weighed for some model."""
        return any(of.weighs for of in self.of.values())

    def log_probs(self, model: str, queries: Sequence[DraftQuery]) -> list[DraftRow | None]:
        """A draft's answers; those given before are kept."""
        new = [q for q in dict.fromkeys(queries) if q not in self.answers]
        for query, row in zip(new, self.of[model].draft.log_probs(new), strict=True):
            self.answers[query] = (self.step, row)
        rows = [self.answers[q][1] for q in queries]
        for query, row in zip(queries, rows, strict=True):
            self.answers[query] = (self.step, row)
            self.answers.move_to_end(query)
        size = next((row.nbytes for row in rows if row is not None), 1)
        while len(self.answers) > max(len(rows), ANSWERS // size):
            self.answers.popitem(last=False)
        return rows

    def pin(self, contexts: Iterable[Context]) -> None:
        """Keeps contexts for a while."""
        if not self.pinned:
            self.pinned.append([])
        self.pinned[-1].extend(contexts)

    def new_step(self) -> None:
        """Lets go of what no block can come back to."""
        most = PINNED * self.longest
        self.pinned.append([])
        while len(self.pinned) > most:
            self.pinned.popleft()
        self.step += 1
        # An answer holds its contexts, and they their cache.
        while self.answers and self.step - next(iter(self.answers.values()))[0] > most:
            self.answers.popitem(last=False)

    def end(self) -> None:
        """Lets go of everything: the run is over."""
        self.pinned.clear()
        self.answers.clear()


class Correction(NamedTuple):
    """A token that was drawn from q: p(token | node) / q is still to be weighed. log_q: nats.
    place: its line."""

    model: str
    node: Context
    token: int
    log_q: float
    place: Span


class DraftedRow(NamedTuple):
    """A draft's row (V,), nats, in the place of a context's own."""

    of: DraftOf
    row: Floats

    def probabilities(self, outcomes: Outcomes, mask: Mask | None) -> Floats | None:
        """(n,) the draft's probabilities of the same outcomes, those that are masked at zero; None
        if all are."""
        assert isinstance(outcomes, TokenOutcomes)
        q = TokenOutcomes(self.row, outcomes.refs, outcomes.vocabulary, mask).p
        return q if q.any() else None


def draft_of(
    particle: RunningParticle, d: Any, drafting: Drafting
) -> tuple[DraftOf, DraftQuery] | None:
    """How the token that d gives is drafted, and what its draft is to be asked; None where it has
    none."""
    if not isinstance(d, ContextRef):
        return None
    c = particle.contexts[d.index]
    of = drafting.of.get(c.model)
    if (
        of is None
        or c.done
        or steps_in_block(particle, c, of) is None
        or (of.weighs and c.pending is not None)
    ):
        return None
    assert particle.draft_block is not None
    return of, DraftQuery(c.node, particle.draft_block.base)


def drafted_row(
    particle: RunningParticle, d: ContextRef, of: DraftOf, row: DraftRow | None
) -> DraftedRow | None:
    """What a draft's answer says of a draw; None where it had nothing to say."""
    if row is None:
        return None
    if of.weighs:
        row = mixed_with_uniform(row, of.uniform)
    pending = particle.contexts[d.index].pending
    return DraftedRow(of, following(row, pending, particle.vocabulary(d)))


def steps_in_block(particle: RunningParticle, c: ContextState, of: DraftOf) -> int | None:
    """How many tokens after its block's base a context is; None outside."""
    if particle.draft_block is None or particle.draft_block.model != c.model:
        return None
    return distance(c.node, particle.draft_block.base, of.reach)


def advance_block(
    particle: RunningParticle,
    c: ContextState,
    of: DraftOf,
    choice: Choice,
    token: int,
    by_draft: bool = False,
) -> Correction | None:
    """Advances the draft block past the token drawn at c, its context as it was before; begins a
    new one where the draft was rejected or there was none. The correction that is due where the
    token was drawn from q and p / q is to be weighed.

    by_draft: of a drafter, which draws from its draft's rows themselves.
    """
    from_draft = choice.drafted or choice.log_q is not None or by_draft
    at_end = steps_in_block(particle, c, of) == of.reach
    if not from_draft:
        particle.draft_block = DraftBlock(c.model, c.node)
    elif at_end:
        particle.draft_block = None
    if not of.weighs:
        return None
    correction = None
    if choice.log_q is not None:
        place = particle.drawn_values[-1].place
        correction = Correction(c.model, c.node, token, choice.log_q, place)
    elif particle.draws > 1:
        # A step is one block: this token, which has no draft, ends it.
        particle.draft_block = None
    if particle.draft_block is not None and not particle.code.has_checkpoints:
        particle.boundary = False
    return correction
