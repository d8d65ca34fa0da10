"""Drafted draws: tokens in blocks, proposed by a draft q and verified by the model p in one
forward.

A block begins with a token drawn from p at its base; up to `block` tokens after it have a draft.
Two exact uses:

    verify="sample"   d ~ q, kept with probability min(1, p(d) / q(d)), else x ~ (p - q)+, normalised: x has p's law
                      for any q (Leviathan et al. 2023, arXiv 2211.17192, appendix A.1), so M_t is what it was. A twin
                      of the particle runs ahead with q's rows for p's, and the rows that it asked about are computed
                      with the first that is missing (ahead.py).
    verify="weigh"    x ~ q, and G_t is multiplied by p(x) / q(x); q is mixed with a uniform so that it is positive. A
                      block is one step, and its rows are asked for at its end: one forward a block, none for
                      particles that its conditions have killed.

Masks and trials apply within a block: both p and q are restricted to what lives.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fkdsl.base.blocks import Blocks
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng
from fkdsl.base.spans import Span
from fkdsl.engine.drafts import Draft, DraftQuery, DraftRow, distance
from fkdsl.machine.state import Block, ContextState
from fkdsl.proposals.outcomes import Mask, Outcomes, TokenOutcomes
from fkdsl.values.faults import NeedRows
from fkdsl.values.token_distributions import following
from fkdsl.values.values import ContextRef

if TYPE_CHECKING:
    from fkdsl.engine.cached_transformer import Context
    from fkdsl.machine.interpreter import Running

UNIFORM = 0.02
"""Share of a uniform in a draft that is weighed: p / q is then at most 50 V, and a token that q
rules out can come."""
ANSWERS = 32_000_000
"""Bytes of a draft's answers that are kept at most: a question is asked when running ahead and
again when drawing."""

HELD = 6
"""Blocks' worth of steps for which contexts are held that were asked for before their time, and
drafts' answers that nobody asks for."""


@dataclass(frozen=True)
class DraftOf:
    """How a model's tokens are drafted. block: tokens after the base at most. weighs: the second
    use. uniform: the share of a uniform in a draft that is weighed."""

    draft: Draft
    block: int
    weighs: bool = False
    uniform: float = UNIFORM


@dataclass
class Tally:
    """rounds: blocks verified, a particle's each. draws: tokens drawn from drafted models. drafted:
    those of them that had a draft; kept: those that were the draft's. Steps that were made ahead of
    their time count when a particle takes them."""

    rounds: int = 0
    draws: int = 0
    drafted: int = 0
    kept: int = 0

    def add(self, other: Tally | None) -> None:
        if other is not None:
            self.rounds += other.rounds
            self.draws += other.draws
            self.drafted += other.drafted
            self.kept += other.kept


@dataclass
class Drafting:
    """of: by the program's names of its models, those that are drafted. held: contexts whose rows
    were asked for before their time, of the last steps. answers: those last asked for, last, with
    the step that did."""

    of: Mapping[str, DraftOf]
    tally: Tally = field(default_factory=Tally)
    held: deque[list[Context]] = field(default_factory=deque)
    answers: OrderedDict[DraftQuery, tuple[int, DraftRow | None]] = field(
        default_factory=OrderedDict
    )
    step: int = 0

    def log_probs(self, model: str, questions: Sequence[DraftQuery]) -> list[DraftRow | None]:
        """A draft's answers; those given before are remembered."""
        new = [q for q in dict.fromkeys(questions) if q not in self.answers]
        for question, row in zip(new, self.of[model].draft.log_probs(new), strict=True):
            self.answers[question] = (self.step, row)
        found = [self.answers[q][1] for q in questions]
        for question, row in zip(questions, found, strict=True):
            self.answers[question] = (self.step, row)
            self.answers.move_to_end(question)
        size = next((row.nbytes for row in found if row is not None), 1)
        while len(self.answers) > max(len(found), ANSWERS // size):
            self.answers.popitem(last=False)
        return found

    def hold(self, contexts: Iterable[Context]) -> None:
        """Keeps contexts for a while."""
        if not self.held:
            self.held.append([])
        self.held[-1].extend(contexts)

    def new_step(self) -> None:
        """Lets go of what no block can come back to."""
        most = HELD * max(of.block for of in self.of.values())
        self.held.append([])
        while len(self.held) > most:
            self.held.popleft()
        self.step += 1
        # An answer holds its contexts, and they their cache.
        while self.answers and self.step - next(iter(self.answers.values()))[0] > most:
            self.answers.popitem(last=False)


class Owed(NamedTuple):
    """A token that was drawn from q: p(token | node) / q is still to be weighed. log_q: nats.
    place: its line."""

    model: str
    node: Context
    token: int
    log_q: float
    place: Span


class Proposal(NamedTuple):
    """What a draft says of a draw. row: (V,), nats, as the context has it."""

    of: DraftOf
    context: ContextState
    row: Floats

    def p(self, found: Outcomes, mask: Mask | None) -> Floats | None:
        """(n,) the draft's probabilities of the same outcomes, those that are masked at zero; None
        if all are."""
        assert isinstance(found, TokenOutcomes)
        p = TokenOutcomes(self.row, found.refs, found.vocabulary, mask).p
        return p if p.any() else None


def proposal(particle: Running, d: Any) -> Proposal | None:
    """The draft's row for a draw; None where it has none. Asks for it together with the model's own
    (NeedRows)."""
    drafting = particle.guides.drafting
    if drafting is None or particle.ahead or not isinstance(d, ContextRef):
        return None
    c = particle.contexts[d.index]
    of = drafting.of.get(c.model)
    if (
        of is None
        or c.done
        or distance_in_block(particle, c, of) is None
        or (of.weighs and c.pending is not None)
    ):
        return None
    assert particle.block is not None
    question = DraftQuery(c.node, particle.block.base)
    wanted: list[tuple[str, Any]] = (
        [(c.model, question)] if of.weighs else [(c.model, c.node), (c.model, question)]
    )
    missing = [(model, key) for model, key in wanted if key not in particle.rows]
    if missing:
        raise NeedRows(missing)
    row = particle.rows[question]
    if row is None:
        return None
    if of.weighs:
        row = mixed(row, of.uniform)
    return Proposal(of, c, following(row, c.pending, particle.vocabulary(d)))


def mixed(row: DraftRow, uniform: float) -> DraftRow:
    """A row with a share of a uniform in it."""
    if not uniform:
        return row
    found: DraftRow = np.logaddexp(row + np.log1p(-uniform), np.log(uniform / len(row)))
    return found


def distance_in_block(particle: Running, c: ContextState, of: DraftOf) -> int | None:
    """How many tokens after its block's base a context is; None outside."""
    if particle.block is None or particle.block.model != c.model:
        return None
    return distance(c.node, particle.block.base, min(of.block, of.draft.reach))


def went(
    particle: Running, c: ContextState | None, given: Proposal | None, kept: bool, token: int
) -> None:
    """A token was drawn at c, as its context was before: the block goes on, or another begins."""
    drafting = particle.guides.drafting
    if drafting is None or c is None or (of := drafting.of.get(c.model)) is None:
        return
    steps = distance_in_block(particle, c, of)
    if not particle.ahead:
        particle.tally = particle.tally or Tally()
        particle.tally.add(Tally(0, 1, given is not None, given is not None and kept))
    # A twin draws from its draft's row itself; so does who weighs.
    if (given is None or not (kept or of.weighs)) and not particle.ahead:
        particle.block = Block(c.model, c.node)
    elif steps == min(of.block, of.draft.reach):
        particle.block = None
    if not of.weighs:
        return
    if given is not None:
        place = particle.drew[-1].place
        particle.owed.append(Owed(c.model, c.node, token, float(given.row[token]), place))
    elif particle.draws > 1:
        # A step is one block: this token, which has no draft, ends it.
        particle.block = None
    if particle.block is not None and not particle.code.has_checkpoints:
        particle.boundary = False


def drafted_context(particle: Running, d: Any) -> ContextState | None:
    """The context that a draw is from, as it is before; None where no single one is."""
    return (
        particle.contexts[d.index]
        if isinstance(d, ContextRef) and particle.guides.drafting is not None
        else None
    )


def speculative(rng: Rng, p: Blocks | Floats, q: Floats | None) -> tuple[int, bool]:
    """(x, whether it is q's): x ~ p, scaled to sum to 1, for any q of the same length; by q's own
    draw where that is kept.

    rng.choice(q) is the first draw, as of one who has q alone: the rest is drawn from a stream of
    its own.
    """
    if q is None:
        return rng.choice(p), False
    return verified(rng.split("verify"), rng.choice(q), np.asarray(p), q)


def verified(rng: Rng, d: int, p: Floats, q: Floats) -> tuple[int, bool]:
    """(x, whether x is d): of d ~ q, x ~ p. Scales of p and q do not matter."""
    P, Q = float(p.sum(dtype=np.float64)), float(q.sum(dtype=np.float64))
    if rng.uniform() * (float(q[d]) * P) < float(p[d]) * Q:
        return d, True
    left = np.maximum(p * (1.0 / P) - q * (1.0 / Q), 0.0)
    # Of equal p and q nothing is left but by rounding.
    return (rng.choice(left), False) if left.any() else (d, True)
