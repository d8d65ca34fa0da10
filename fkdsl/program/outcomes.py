"""The outcomes of a draw: everything that `x ~ d` may give, with its probability.

A token distribution has the vocabulary's, a choice its options, `continues` two, a discrete distribution its values. A
kernel chooses among them: `draw` here by their own probabilities, `guided.py` by better ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.program.distributions import Discrete, Distribution
from fkdsl.program.faults import Fault
from fkdsl.program.tokens import ChoiceOf, Continues, is_token_distribution
from fkdsl.program.values import ContextRef, Token, show

if TYPE_CHECKING:
    from fkdsl.program.particle import Running


@dataclass(frozen=True)
class Outcomes:
    """p: (n,) float64, not negative; they sum to 1, or to 0 where nothing is possible."""

    p: Floats

    def take(self, particle: Running, i: int) -> Any:
        """The value of outcome i, and what drawing it does to the particle's contexts."""
        raise NotImplementedError


@dataclass(frozen=True)
class TokenOutcomes(Outcomes):
    """One for each token of the vocabulary; every context of the expression appends it."""

    refs: tuple[ContextRef, ...]
    vocabulary: Vocabulary

    def take(self, particle: Running, i: int) -> Token:
        for ref in self.refs:
            particle.extend(ref, (i,))
        return token_of(self.vocabulary, i)


@dataclass(frozen=True)
class ChoiceOutcomes(Outcomes):
    choice: ChoiceOf

    def take(self, particle: Running, i: int) -> str:
        option = self.choice.options[i]
        particle.extend(self.choice.context, particle.ids_of(self.choice.context, option))
        return option


@dataclass(frozen=True)
class ContinuesOutcomes(Outcomes):
    context: ContextRef

    def take(self, particle: Running, i: int) -> bool:
        particle.settle(self.context, i == 1)
        return i == 1


@dataclass(frozen=True)
class ValueOutcomes(Outcomes):
    values: tuple[Any, ...]

    def take(self, particle: Running, i: int) -> Any:
        return self.values[i]


def token_of(vocabulary: Vocabulary, i: int) -> Token:
    """The token of an id as programs see it."""
    return Token(i, vocabulary.text((i,)), i in vocabulary.ends)


def outcomes(particle: Running, d: Any) -> Outcomes | None:
    """The outcomes of a distribution for a particle; None if they cannot be listed (a continuous one). Every row that
    it takes is asked for here (NeedRows)."""
    if is_token_distribution(d):
        refs, row = particle.next_rows(d)
        return TokenOutcomes(np.exp(row), refs, particle.vocabulary(refs[0]))
    match d:
        case ChoiceOf():
            scores = particle.scores(d)
            total = log_sum_exp(scores)
            p = np.exp(scores - total) if total > -np.inf else np.zeros(len(scores))
            return ChoiceOutcomes(p, d)
        case Continues(context):
            goes_on = particle.continues(context)
            return ContinuesOutcomes(np.array([1.0 - goes_on, goes_on]), context)
        case Discrete(values=values, probabilities=probabilities):
            return ValueOutcomes(np.array(probabilities), values)
        case Distribution():
            return None
    raise Fault("FK408", f"{show(d)!r} is no distribution", "`~` draws from a distribution or a context")
