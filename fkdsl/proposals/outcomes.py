"""The outcomes of a draw: everything that `x ~ d` may give, with its probability.

A token distribution has the vocabulary's, a choice its options, `continues` two, a discrete
distribution its values. A kernel chooses among them: `draw` here by their own probabilities,
`guided.py` by better ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.blocks import Blocks, Sums
from fkdsl.base.logspace import Floats
from fkdsl.base.remembered import allowed
from fkdsl.machine.scoring import choice_log_probs, continues, settle
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.values.distributions import Discrete, Distribution
from fkdsl.values.faults import Fault
from fkdsl.values.token_distributions import ChoiceOf, Continues, is_token_distribution, leaves
from fkdsl.values.values import ContextRef, Token, show

if TYPE_CHECKING:
    from fkdsl.machine.interpreter import Running

Mask = NDArray[np.bool_]
FEW = 4
"""One in so many tokens of a vocabulary are few."""
SOME = 64
"""Tokens that are taken out one by one; where more are refused, all that are left are
exponentiated."""


def is_dense(mask: Mask) -> bool:
    """Whether so much is left and so much refused that a whole row has to be gone through."""
    left = allowed(mask)
    return len(mask) // FEW <= left < len(mask) - SOME


class Outcomes:
    """p: (n,) float64, or float32 as the model's rows are, not negative; they sum to 1, or to less
    where some are left out. allowed: (n,) what each is called where some are not listed at all: a
    token's id."""

    p: Floats
    allowed: NDArray[np.int64] | None = None

    def blocks(self) -> Blocks:
        """p in blocks, for one draw to take apart."""
        return Blocks(self.p)

    def probability(self, i: int) -> float:
        """p[i]."""
        return float(self.p[i])

    def take(self, particle: Running, i: int) -> Any:
        """The value of outcome i, and what drawing it does to the particle's contexts."""
        raise NotImplementedError

    def token(self, i: int) -> int:
        """The token that outcome i is, by its id, where it is one."""
        return i if self.allowed is None else int(self.allowed[i])


class TokenOutcomes(Outcomes):
    """One for each token of the vocabulary, or for some; every context of the expression appends
    it.

    row: (V,) log-probabilities in nats. mask: (V,) the tokens that are left, None for all. sums: of
    the blocks of exp(row), where they are known; left_sums: of what the mask leaves.
    """

    def __init__(
        self,
        row: Floats,
        refs: tuple[ContextRef, ...],
        vocabulary: Vocabulary,
        mask: Mask | None = None,
        sums: Sums | None = None,
        left_sums: Sums | None = None,
    ) -> None:
        self.row, self.refs, self.vocabulary, self.mask, self.sums = (
            row,
            refs,
            vocabulary,
            mask,
            sums,
        )
        self.left_sums = left_sums
        # A vocabulary is long: where little of it is left, only that is exponentiated.
        self.left = len(row) if mask is None else allowed(mask)
        if mask is not None and self.left < len(row) // FEW:
            self.allowed = np.flatnonzero(mask)

    @cached_property
    def p(self) -> Floats:  # type: ignore[override]
        if self.allowed is not None:
            return np.exp(self.row[self.allowed])
        p = np.exp(self.row)
        if self.mask is not None and self.left < len(p):
            p *= self.mask
        return p

    def probability(self, i: int) -> float:
        if self.mask is not None and self.allowed is None and not self.mask[i]:
            return 0.0
        return float(np.exp(self.row[i if self.allowed is None else self.allowed[i]]))

    def blocks(self) -> Blocks:
        refused = len(self.row) - self.left
        if (
            self.mask is not None
            and self.allowed is None
            and (refused > SOME or (refused and self.sums is None))
        ):
            return Blocks.of_masked(self.row, self.mask, self.left_sums)
        if self.sums is None or self.allowed is not None:
            return Blocks(self.p)
        found = Blocks.of_logs(self.row, self.sums)
        if self.mask is not None and self.left == len(self.row) - 1:
            found.remove(int(self.mask.argmin()))
        elif self.mask is not None and self.left < len(self.row):
            for i in np.flatnonzero(~self.mask).tolist():
                found.remove(i)
        return found

    def take(self, particle: Running, i: int) -> Token:
        token = self.token(i)
        for ref in self.refs:
            particle.extend(ref, (token,))
        return token_of(self.vocabulary, token)


class ChoiceOutcomes(Outcomes):
    def __init__(self, p: Floats, choice: ChoiceOf) -> None:
        self.p, self.choice = p, choice

    def take(self, particle: Running, i: int) -> str:
        value = self.choice.values[i]
        if value != self.choice.other:
            particle.extend(self.choice.context, particle.ids_of(self.choice.context, value))
        return value


class ContinuesOutcomes(Outcomes):
    def __init__(self, goes_on: float, context: ContextRef) -> None:
        self.p, self.context = np.array([1.0 - goes_on, goes_on]), context

    def take(self, particle: Running, i: int) -> bool:
        settle(particle, self.context, i == 1)
        return i == 1


class ValueOutcomes(Outcomes):
    def __init__(self, p: Floats, values: tuple[Any, ...]) -> None:
        self.p, self.values = p, values

    def take(self, particle: Running, i: int) -> Any:
        return self.values[i]


@lru_cache(maxsize=1 << 18)
def token_of(vocabulary: Vocabulary, i: int) -> Token:
    """The token of an id as programs see it."""
    return Token(i, vocabulary.text((i,)), i in vocabulary.ends)


def known_sums(particle: Running, d: Any, row: Floats) -> Sums | None:
    """The sums of the blocks of exp(row), where it is a context's own row and its engine has
    them."""
    if not isinstance(d, ContextRef):
        return None
    c = particle.contexts[d.index]
    if c.done:
        return None
    return particle.engines[c.model].sums(c.node, row)


def outcomes(
    particle: Running,
    d: Any,
    masks: Callable[[Vocabulary], Mask | None] | None = None,
    weighed: Floats | None = None,
    left_sums: Sums | None = None,
) -> Outcomes | None:
    """The outcomes of a distribution for a particle; None if they cannot be listed (a continuous
    one). Every row that it takes is asked for here (NeedRows). masks: the tokens (V,) that are left
    of a vocabulary. weighed: a context's row (V,) to be drawn from in the place of its own, which
    makes up for it later. left_sums: of what the masks leave of a context's own row, where they are
    known."""
    if is_token_distribution(d):
        refs, row = particle.next_rows(d) if weighed is None else (leaves(d), weighed)
        vocabulary = particle.vocabulary(refs[0])
        mask = masks(vocabulary) if masks is not None else None
        return TokenOutcomes(row, refs, vocabulary, mask, known_sums(particle, d, row), left_sums)
    match d:
        case ChoiceOf():
            return ChoiceOutcomes(np.exp(choice_log_probs(particle, d)), d)
        case Continues(context):
            return ContinuesOutcomes(continues(particle, context), context)
        case Discrete(values=values, probabilities=probabilities):
            return ValueOutcomes(np.array(probabilities), values)
        case Distribution():
            return None
    raise Fault(
        "FK408", f"{show(d)!r} is no distribution", "`~` draws from a distribution or a context"
    )
