"""Which lines a part of log G is charged to, where several had a hand in it.

A draw that looks ahead weighs by the mass A of the outcomes that it leaves; each condition bears as
much of log A as it refused of the mass, as far as that is known (docs/inference.md, Blame).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.spans import Span
from fkdsl.inference.interface import Charge
from fkdsl.proposals.outcomes import Mask

Masses = Mapping[Span, float]
"""Probability that each line has refused of a draw's outcomes."""


def shared(log_potential: float, span: Span, masses: Masses | None) -> list[Charge]:
    """A part of log G as charges, by the masses; all of it to `span` without any. Whoever had a
    part in a death is charged with all of it, `span` last."""
    if not masses:
        return [Charge(span, log_potential)]
    if log_potential == -math.inf:
        return [Charge(place, log_potential) for place in [*(p for p in masses if p != span), span]]
    total = math.fsum(masses.values())
    return [Charge(place, log_potential * mass / total) for place, mass in masses.items()]


def heaviest(masses: Masses, otherwise: Span) -> Span:
    """The line that refused most, the first of equal ones."""
    return max(masses, key=lambda place: masses[place], default=otherwise)


def refused_by_text(
    parts: Sequence[tuple[Span, Mask | None]], p: Floats, refused: Mask
) -> dict[Span, float]:
    """The mass of refused tokens by condition, of which `parts` has the own masks: each token
    counts for the first condition that refuses it alone; one that only several of them together
    refuse counts for all, in equal parts. p: (V,)."""
    found: dict[Span, float] = {}
    left = refused
    for place, mask in parts:
        if mask is not None:
            _add(found, place, p, left & ~mask)
            left = left & mask
    for place, _ in parts:
        _add(found, place, p / len(parts), left)
    return found


def refused_by_tokens(
    refusers: tuple[tuple[Span, Mask], ...], p: Floats, asked: Mask | None
) -> dict[Span, float]:
    """The mass of refused tokens by the condition that refused each, of those that were left to ask
    about."""
    found: dict[Span, float] = {}
    for place, mask in refusers:
        _add(found, place, p, mask if asked is None else mask & asked)
    return found


def _add(found: dict[Span, float], place: Span, p: Floats, tokens: Mask) -> None:
    mass = float(p[tokens].sum(dtype=np.float64))
    if mass > 0.0:
        found[place] = found.get(place, 0.0) + mass
