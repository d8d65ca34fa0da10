"""Which lines refused a draw's outcomes, and how much of their probability.

A draw that looks ahead weighs by the mass A of the outcomes that it leaves; each condition bears as
much of log A as it refused of the mass, as far as that is known (docs/inference.md, Blame).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.spans import Span
from fkdsl.machine.charges import Masses
from fkdsl.proposals.outcomes import Mask, Outcomes
from fkdsl.proposals.token_masks import TokenMask


def most_lethal(masses: Masses, otherwise: Span) -> Span:
    """The line that refused most, the first of equal ones."""
    return max(masses, key=lambda place: masses[place], default=otherwise)


def refused_by_masks(
    p: Floats, parts: list[tuple[Span, Mask | None]], token: TokenMask | None, text: Mask | None
) -> dict[Span, float]:
    """The mass of p (V,) that masks have taken, by condition. token: that of the token alone. text:
    that of the text so far; parts: the own masks of the conditions behind it."""
    masses = refused_by_text(parts, p, ~text) if text is not None else {}
    if token is not None:
        for place, mass in refused_by_tokens(token.refusers, p, text).items():
            masses[place] = masses.get(place, 0.0) + mass
    return masses


def refused_by_text(
    parts: Sequence[tuple[Span, Mask | None]], p: Floats, refused: Mask
) -> dict[Span, float]:
    """The mass of refused tokens by condition, of which `parts` has the own masks: each token
    counts for the first condition that refuses it alone; one that only several of them together
    refuse counts for all, in equal parts. p: (V,)."""
    masses: dict[Span, float] = {}
    rest = refused
    for place, mask in parts:
        if mask is not None:
            _add(masses, place, p, rest & ~mask)
            rest = rest & mask
    for place, _ in parts:
        _add(masses, place, p / len(parts), rest)
    return masses


def refused_by_tokens(
    refusers: tuple[tuple[Span, Mask], ...], p: Floats, asked: Mask | None
) -> dict[Span, float]:
    """The mass of refused tokens by the condition that refused each, of those that were left to ask
    about."""
    masses: dict[Span, float] = {}
    for place, mask in refusers:
        _add(masses, place, p, mask if asked is None else mask & asked)
    return masses


def with_deaths(
    masses: dict[Span, float], died: Mapping[int, Span], outcomes: Outcomes
) -> dict[Span, float]:
    """The masses, and those of the outcomes that died, by where each did."""
    if not masses and len({id(place) for place in died.values()}) == 1:
        # All of it is one line's, however much it is.
        return {next(iter(died.values())): 1.0}
    result = dict(masses)
    for i, place in died.items():
        result[place] = result.get(place, 0.0) + outcomes.probability(i)
    return result


def _add(masses: dict[Span, float], place: Span, p: Floats, tokens: Mask) -> None:
    mass = float(p[tokens].sum(dtype=np.float64))
    if mass > 0.0:
        masses[place] = masses.get(place, 0.0) + mass
