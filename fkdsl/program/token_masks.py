"""Masks of what a token alone decides: a predicate's value for every token of a vocabulary, computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fkdsl.base.spans import Span
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.program.faults import Fault
from fkdsl.program.operators import truth
from fkdsl.program.outcomes import Mask, token_of
from fkdsl.program.state import by_id
from fkdsl.program.values import Token

if TYPE_CHECKING:
    from fkdsl.program.code import DrawOp, Guide
    from fkdsl.program.particle import ActiveFrame, Running

MASKS = 64
"""Masks that a draw keeps: each is as long as the vocabulary."""


@lru_cache(maxsize=4)
def all_tokens(vocabulary: Vocabulary) -> tuple[Token, ...]:
    """Every token of a vocabulary as programs see it."""
    return tuple(token_of(vocabulary, i) for i in range(vocabulary.size))


class TokenMask(NamedTuple):
    """allowed: (V,) the tokens that a predicate is true of. refusers: for each condition in it (V,) the tokens that it
    refused, none twice; known only where a run asks for blame."""

    allowed: Mask
    refusers: tuple[tuple[Span, Mask], ...] = ()


def token_mask(particle: Running, frame: ActiveFrame, op: DrawOp, guide: Guide, vocabulary: Vocabulary) -> TokenMask:
    """Which tokens the guide's predicate allows, the values that it reads being what they are now. A token on which it
    fails is allowed: whoever draws it meets the mistake."""
    read = tuple(by_id(frame.slots[s]) for s in guide.reads)
    key = (vocabulary.fingerprint, read)
    masks = guide.masks
    if key not in masks:
        assert guide.mask is not None
        while len(masks) >= MASKS:
            del masks[next(iter(masks))]
        masks[key] = _mask(particle, op, guide.mask, vocabulary)
    return masks[key]


def _mask(particle: Running, op: DrawOp, predicate: Callable[[ActiveFrame], Any], vocabulary: Vocabulary) -> TokenMask:
    twin = particle.fork()
    frame, fuel = twin.frames[-1], twin.fuel

    def allows(token: Token) -> bool:
        frame.slots[op.target], twin.fuel = token, fuel
        try:
            return truth(predicate(frame))
        except Fault:
            return True

    tokens = all_tokens(vocabulary)
    if particle.guides.clock is None:
        return TokenMask(np.array([allows(t) for t in tokens], dtype=np.bool_))
    by = [None if allows(t) else twin.refused for t in tokens]
    places = [place for place in dict.fromkeys(by) if place is not None]
    refusers = tuple((place, np.array([b == place for b in by], dtype=np.bool_)) for place in places)
    return TokenMask(np.array([b is None for b in by], dtype=np.bool_), refusers)
