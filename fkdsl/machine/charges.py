"""How a part of log G is shared among the lines that had a hand in it.

>>> from fkdsl.base.spans import Source, Span
>>> text = Source("a.fk", "a\\nb\\n")
>>> a, b = Span(text, 0, 1), Span(text, 2, 3)
>>> [c.log_weight for c in split_charge(-1.0, a, {a: 0.25, b: 0.75})]
[-0.25, -0.75]
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fkdsl.base.spans import Span
from fkdsl.inference.interface import Charge

Masses = Mapping[Span, float]
"""The probability that each line has refused of a draw's outcomes."""


def split_charge(log_potential: float, span: Span, masses: Masses | None) -> list[Charge]:
    """The charges that a part of log G (nats) is split into, in proportion to the masses; one, of
    `span`, where there are none.

    A death is charged in full to every line that refused something, to `span` last.
    """
    if not masses:
        return [Charge(span, log_potential)]
    if log_potential == -math.inf:
        return [Charge(place, log_potential) for place in [*(p for p in masses if p != span), span]]
    if len(masses) == 1:
        ((place, mass),) = masses.items()
        return [charge_whole(log_potential, place, mass)]
    total = math.fsum(masses.values())
    return [Charge(place, log_potential * mass / total) for place, mass in masses.items()]


def charge_whole(log_potential: float, place: Span, mass: float) -> Charge:
    """The charge of a part of log G to the one line that refused anything, a mass of outcomes."""
    return Charge(place, log_potential * mass / mass)
