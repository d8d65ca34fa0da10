"""Masks of what a token alone decides: a predicate's value for every token of a vocabulary,
computed once."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.locks import remember
from fkdsl.base.spans import Span
from fkdsl.base.value_keys import state_key
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import ActiveFrame, Compute, RunningParticle
from fkdsl.machine.proposal_plan import ProposalPlan
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.proposals.outcomes import Mask, token_of
from fkdsl.values.faults import Fault
from fkdsl.values.operators import truth
from fkdsl.values.values import Token

MASKS = 64
"""Masks that a draw keeps: each is as long as the vocabulary."""


@lru_cache(maxsize=4)
def all_tokens(vocabulary: Vocabulary) -> tuple[Token, ...]:
    """Every token of a vocabulary as programs see it."""
    return tuple(token_of(vocabulary, i) for i in range(vocabulary.size))


class TokenMask(NamedTuple):
    """allowed: (V,) the tokens that a predicate is true of. answers: (V,) int16: 0 for those, for
    the others 1 and the number of the condition that refused it; places: of these conditions.
    is_certain: whether it failed on no token."""

    allowed: Mask
    answers: NDArray[np.int16]
    places: tuple[Span, ...] = ()
    is_certain: bool = True

    @property
    def refusers(self) -> tuple[tuple[Span, Mask], ...]:
        """For each condition (V,) the tokens that it refused, none twice."""
        return tuple((place, self.answers == n) for n, place in enumerate(self.places, 1))

    def refuser(self, token: int) -> Span | None:
        """The condition that refused a token; None for one that is allowed."""
        n = int(self.answers[token])
        return self.places[n - 1] if n else None


def token_mask(
    particle: RunningParticle,
    op: DrawOp,
    plan: ProposalPlan[Compute],
    vocabulary: Vocabulary,
) -> TokenMask | None:
    """Which tokens the plan's predicate allows, the values that it reads being what they are now;
    None where the plan has none. A token on which it fails is allowed: whoever draws it meets the
    mistake."""
    if plan.mask is None:
        return None
    slots = particle.frames[-1].slots
    key = (vocabulary.fingerprint, tuple([state_key(slots[s]) for s in plan.reads]))
    cached: TokenMask | None = op.token_masks.get(key)
    if cached is None:
        made = _mask(particle, op, plan.mask, plan.compared, vocabulary)
        cached = remember(op.token_masks, key, made, MASKS)
    return cached


def _mask(
    particle: RunningParticle,
    op: DrawOp,
    predicate: Compute,
    compared: tuple[Compute, ...] | None,
    vocabulary: Vocabulary,
) -> TokenMask:
    fork = particle.fork()
    frame, fuel = fork.frames[-1], fork.fuel

    places: dict[Span, int] = {}
    faults: list[Token] = []

    def answer(token: Token) -> int:
        """0 where the token is allowed, else which of the places refuses it."""
        frame.slots[op.target], fork.fuel = token, fuel
        try:
            return (
                0 if truth(predicate(frame)) else places.setdefault(fork.refused, len(places) + 1)
            )
        except Fault:
            faults.append(token)
            return 0

    apart = _distinguished(frame, compared, vocabulary)
    if apart is None:
        answers = np.array([answer(t) for t in all_tokens(vocabulary)], dtype=np.int16)
    else:
        # All others are the same to the predicate: one of them speaks for all.
        other = next((i for i in range(vocabulary.size) if i not in apart), None)
        answers = np.full(
            vocabulary.size,
            0 if other is None else answer(token_of(vocabulary, other)),
            dtype=np.int16,
        )
        for i in apart:
            answers[i] = answer(token_of(vocabulary, i))
    return TokenMask(answers == 0, answers, tuple(places), not faults)


def _distinguished(
    frame: ActiveFrame, compared: tuple[Compute, ...] | None, vocabulary: Vocabulary
) -> frozenset[int] | None:
    """The tokens that equal one of the values compared with; None if they are not known."""
    if compared is None:
        return None
    try:
        values = [value(frame) for value in compared]
    except Fault:
        return None
    ids: set[int] = set()
    for value in values:
        if isinstance(value, Token) and value.end:
            ids |= vocabulary.ends
        elif isinstance(value, Token | str):
            ids |= _by_text(vocabulary).get(str(value), frozenset())
    return frozenset(ids)


@lru_cache(maxsize=4)
def _by_text(vocabulary: Vocabulary) -> dict[str, frozenset[int]]:
    """The tokens of each text that end nothing."""
    by_text: dict[str, set[int]] = {}
    for token in all_tokens(vocabulary):
        if not token.end:
            by_text.setdefault(token.text, set()).add(token.id)
    return {text: frozenset(ids) for text, ids in by_text.items()}
