"""The outcomes of a draw: everything that `x ~ d` may give, with its probability.

A token distribution has the vocabulary's, a choice its options, `continues` two, a discrete
distribution its values. A proposal chooses among them (proposal.py).
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.arrays import distinct
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.probability_blocks import BLOCK, ProbabilityBlocks, Sums, masked_sums
from fkdsl.base.remembered import Remembered, allowed, joined, listed
from fkdsl.machine.contexts import ContextTable
from fkdsl.machine.scoring import choice_log_probs, continues, settle
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.values.distributions import Discrete, Distribution
from fkdsl.values.faults import Fault
from fkdsl.values.token_distributions import (
    ChoiceOf,
    Continues,
    Mixture,
    gives_tokens,
    leaves,
    mask_following,
)
from fkdsl.values.values import ContextRef, Token, show

Mask = NDArray[np.bool_]
Ids = NDArray[np.int64]
FEW = 4
"""One in so many tokens of a vocabulary are few."""
SOME = 64
"""Tokens that are taken out one by one; where more are refused, all that are left are
exponentiated."""
LEAST = 1e-20
"""The least probability of what `Continues` leaves that is summed in the precision of rows: the
smallest numbers of float32 are 1e-38."""


refusing_blocks: Remembered[list[int]] = Remembered(
    lambda mask: distinct(np.flatnonzero(~mask) // BLOCK).tolist()
)
"""The blocks in which a mask refuses something."""


def is_dense(mask: Mask) -> bool:
    """Whether so much is left and so much refused that a whole row has to be gone through."""
    left = allowed(mask)
    return len(mask) // FEW <= left < len(mask) - SOME


class Outcomes:
    """p: (n,) float64, or float32 as the model's rows are, not negative; what masks refuse is zero,
    or not listed at all. ids: (n,) the tokens' ids where some are not listed. draft: (n,) a draft's
    probabilities of the same outcomes, some of them positive; None where there is none.
    sums_to_one: whether p does, but for rounding."""

    p: Floats
    ids: Ids | None = None
    draft: Floats | None = None
    sums_to_one = True

    @cached_property
    def blocks(self) -> ProbabilityBlocks:
        """p in blocks, for one draw to take apart."""
        return ProbabilityBlocks(self.p)

    def probability(self, i: int) -> float:
        """p[i]."""
        return float(self.p[i])

    def log_probability(self, i: int) -> float:
        """log p[i], nats."""
        return float(np.log(self.p[i]))

    def take(self, particle: ContextTable, i: int) -> Any:
        """The value of outcome i, and what drawing it does to the particle's contexts."""
        raise NotImplementedError

    def value(self, i: int) -> Any:
        """The value of outcome i."""
        raise NotImplementedError

    def token(self, i: int) -> int:
        """The token that outcome i is, by its id, where it is one."""
        return i if self.ids is None else int(self.ids[i])


class TokenOutcomes(Outcomes):
    """One for each token of the vocabulary, or for some; every context of the expression appends
    it.

    row: (V,) log-probabilities in nats. mask: (V,) the tokens that are left, None for all. sums: of
    the blocks of exp(row), where they are known; masked_sums: of what the mask leaves.
    """

    def __init__(
        self,
        row: Floats | None,
        refs: tuple[ContextRef, ...],
        vocabulary: Vocabulary,
        mask: Mask | None = None,
        sums: Sums | None = None,
        masked_sums: Sums | None = None,
    ) -> None:
        if row is not None:
            self.row = row
        self.refs, self.vocabulary = refs, vocabulary
        self.mask, self.sums, self.masked_sums = mask, sums, masked_sums
        # A vocabulary is long: where little of it is left, only that is exponentiated.
        self.n_allowed = vocabulary.size if mask is None else allowed(mask)
        if mask is not None and self.n_allowed < vocabulary.size // FEW:
            self.ids = listed(mask)

    row: Floats

    @cached_property
    def p(self) -> Floats:  # type: ignore[override]
        if self.ids is not None:
            return np.exp(self.row[self.ids])
        p = self.unmasked()
        if self.mask is not None and self.n_allowed < len(p):
            p *= self.mask
        return p

    def unmasked(self) -> Floats:
        """(V,) the probabilities before any mask."""
        return np.exp(self.row)

    def probability(self, i: int) -> float:
        if self.mask is not None and self.ids is None and not self.mask[i]:
            return 0.0
        return float(np.exp(self.row[self.token(i)]))

    def log_probability(self, i: int) -> float:
        return float(self.row[self.token(i)])

    @cached_property
    def blocks(self) -> ProbabilityBlocks:
        refused = self.vocabulary.size - self.n_allowed
        if "p" in self.__dict__:
            return ProbabilityBlocks(self.p)
        if (
            self.mask is not None
            and self.ids is None
            and (refused > SOME or (refused and self.sums is None))
        ):
            return ProbabilityBlocks.of_masked(self.row, self.mask, self.masked_sums)
        if self.sums is None or self.ids is not None:
            return ProbabilityBlocks(self.p)
        blocks = ProbabilityBlocks.of_logs(self.row, self.sums)
        if self.mask is not None and refused == 1:
            blocks.remove(int(self.mask.argmin()))
        elif self.mask is not None and refused:
            for i in np.flatnonzero(~self.mask).tolist():
                blocks.remove(i)
        return blocks

    def value(self, i: int) -> Token:
        return token_of(self.vocabulary, self.token(i))

    def take(self, particle: ContextTable, i: int) -> Token:
        token = self.token(i)
        for ref in self.refs:
            particle.append_token(ref, token)
        return token_of(self.vocabulary, token)


class FollowingOutcomes(TokenOutcomes):
    """The tokens of a context's own row that `Continues` has left, which is a mask of which no
    weight comes: their probabilities are shares of what it leaves.

    own_row: (V,) log-probabilities of the context, nats. asked: (V,) what the draw's own mask
    leaves, None for all. sums: of the blocks of exp(own_row), of what both leave, where they are
    known. The row of the shares as a whole is made when it is asked for.
    """

    def __init__(
        self,
        own_row: Floats,
        goes_on: bool,
        ref: ContextRef,
        vocabulary: Vocabulary,
        asked: Mask | None = None,
        sums: Sums | None = None,
    ) -> None:
        self.own_row, self.asked = own_row, asked
        self.following = mask_following(vocabulary, goes_on)
        mask = self.following if asked is None else joined(asked, self.following)
        super().__init__(None, (ref,), vocabulary, mask, None, sums)

    @cached_property
    def whole(self) -> float:
        """The probability of the tokens that `Continues` has left."""
        sums = self.masked_sums if self.asked is None else None
        if sums is None:
            sums = masked_sums(self.own_row, self.following)
        return float(sums.sum())

    @cached_property
    def log_whole(self) -> float:
        """log `whole`, nats; where that is tiny, without the exponentials that make it zero."""
        if self.whole >= LEAST:
            return math.log(self.whole)
        total = log_sum_exp(self.own_row[self.following].astype(np.float64))
        return total if total > -np.inf else 0.0

    @cached_property
    def row(self) -> Floats:  # type: ignore[override]
        return np.where(self.following, self.own_row.astype(np.float64) - self.log_whole, -np.inf)

    def probability(self, i: int) -> float:
        if self.ids is None and self.mask is not None and not self.mask[i]:
            return 0.0
        return float(np.exp(self.log_probability(i)))

    def log_probability(self, i: int) -> float:
        token = self.token(i)
        return float(self.own_row[token]) - self.log_whole if self.following[token] else -np.inf

    @cached_property
    def blocks(self) -> ProbabilityBlocks:
        if "p" in self.__dict__ or self.ids is not None or self.whole < LEAST:
            return ProbabilityBlocks(self.p)
        assert self.mask is not None
        sums = self.masked_sums
        if sums is None:
            sums = masked_sums(self.own_row, self.mask)
        return ProbabilityBlocks.of_share(self.own_row, self.mask, sums, self.whole)


class ChoiceOutcomes(Outcomes):
    def __init__(self, p: Floats, choice: ChoiceOf) -> None:
        self.p, self.choice = p, choice

    def value(self, i: int) -> str:
        return self.choice.values[i]

    def take(self, particle: ContextTable, i: int) -> str:
        value = self.choice.values[i]
        if value != self.choice.other:
            particle.extend(self.choice.context, particle.ids_of(self.choice.context, value))
        return value


class ContinuesOutcomes(Outcomes):
    def __init__(self, goes_on: float, context: ContextRef) -> None:
        self.p, self.context = np.array([1.0 - goes_on, goes_on]), context

    def value(self, i: int) -> bool:
        return i == 1

    def take(self, particle: ContextTable, i: int) -> bool:
        settle(particle, self.context, i == 1)
        return i == 1


class ValueOutcomes(Outcomes):
    def __init__(self, p: Floats, values: tuple[Any, ...]) -> None:
        self.p, self.values = p, values

    def value(self, i: int) -> Any:
        return self.values[i]

    def take(self, particle: ContextTable, i: int) -> Any:
        return self.values[i]


@lru_cache(maxsize=1 << 18)
def token_of(vocabulary: Vocabulary, i: int) -> Token:
    """The token of an id as programs see it."""
    return Token(i, vocabulary.text((i,)), i in vocabulary.ends)


def known_sums(particle: ContextTable, d: Any, row: Floats) -> Sums | None:
    """The sums of the blocks of exp(row), where it is a context's own row and its engine has
    them."""
    if not isinstance(d, ContextRef):
        return None
    c = particle.contexts[d.index]
    if c.done:
        return None
    return particle.engines[c.model].sums(c.node, row)


def outcomes_of(
    particle: ContextTable,
    d: Any,
    mask: Mask | None = None,
    sums_left: Sums | None = None,
    row_of_draft: Floats | None = None,
) -> Outcomes | None:
    """The outcomes of a distribution, the rows that it takes being at hand; None if they cannot be
    listed (a continuous one).

    mask: (V,) the tokens that are left of a vocabulary. sums_left: of what is left of a context's
    own row (OpenDraw.parts_of_row), where they are known. row_of_draft: (V,), nats: what to draw
    from in the place of a context's own row.
    """
    if gives_tokens(d):
        if type(d) is ContextRef and row_of_draft is None:
            c = particle.contexts[d.index]
            if c.pending is not None and not c.done:
                particle.need([(c.model, c.node)])
                vocabulary = particle.vocabulary(d)
                row = np.asarray(particle.rows[c.node])
                following = FollowingOutcomes(row, c.pending, d, vocabulary, mask, sums_left)
                following.sums_to_one = mask is None
                return following
        if row_of_draft is None:
            refs, row = particle.next_rows(d)
        else:
            refs, row = leaves(d), row_of_draft
        vocabulary = particle.vocabulary(refs[0])
        sums = known_sums(particle, d, row)
        result = TokenOutcomes(row, refs, vocabulary, mask, sums, sums_left)
        # A part of a mixture that gives nothing takes its share with it.
        result.sums_to_one = mask is None and not isinstance(d, Mixture)
        return result
    match d:
        case ChoiceOf():
            return ChoiceOutcomes(np.exp(choice_log_probs(particle, d)), d)
        case Continues(context):
            return ContinuesOutcomes(continues(particle, context, sums_left), context)
        case Discrete(values=values, probabilities=probabilities):
            return ValueOutcomes(np.array(probabilities), values)
        case Distribution():
            return None
    raise Fault(
        "FK408", f"{show(d)!r} is no distribution", "`~` draws from a distribution or a context"
    )
