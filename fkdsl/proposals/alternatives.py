"""What else a draw might have given, for a reader of the run: its likeliest outcomes, and which
line refused each of them.

Nothing here draws, or changes what is drawn. The probabilities are those of the distribution
before any mask, so that a reader sees what the conditions took away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fkdsl.base.probability_blocks import likeliest
from fkdsl.base.spans import Span
from fkdsl.machine.state import Alternatives, Refusal
from fkdsl.proposals.open_draw import OpenDraw
from fkdsl.proposals.outcomes import Outcomes, TokenOutcomes, token_of

NOBODY: Mapping[int, Span] = {}


def alternatives_of(
    draw: OpenDraw, outcomes: Outcomes, chosen: int, died: Mapping[int, Span] = NOBODY
) -> Alternatives:
    """The likeliest outcomes of a draw that is about to be made, as many as the settings say, and
    the chosen one (-1 for none). died: the outcomes that were tried and died, by where."""
    k = draw.settings.alternatives
    if not isinstance(outcomes, TokenOutcomes):
        listed = _with([i for i in likeliest(outcomes.p, k) if outcomes.p[i] > 0.0], chosen)
        refused = [Refusal(died[i], True) if i in died else None for i in listed]
        values = tuple(outcomes.value(i) for i in listed)
        p = tuple(float(outcomes.p[i]) for i in listed)
        return Alternatives(values, p, tuple(refused), _index(listed, chosen))
    token = outcomes.token(chosen) if chosen >= 0 else -1
    row = outcomes.row
    listed = _with([i for i in likeliest(row, k) if row[i] > -np.inf], token)
    tried = {outcomes.token(i): place for i, place in died.items()}
    by_mask = _refused_by_masks(draw, listed)
    refused = [by_mask[i] or (Refusal(tried[i], True) if i in tried else None) for i in listed]
    values = tuple(token_of(outcomes.vocabulary, i) for i in listed)
    p = tuple(np.exp(row[listed].astype(np.float64)).tolist())
    return Alternatives(values, p, tuple(refused), _index(listed, token))


def _with(listed: list[int], chosen: int) -> list[int]:
    return listed if chosen < 0 or chosen in listed else [*listed, chosen]


def _index(listed: Sequence[int], chosen: int) -> int:
    return listed.index(chosen) if chosen >= 0 else -1


def _refused_by_masks(draw: OpenDraw, tokens: Sequence[int]) -> dict[int, Refusal | None]:
    """The condition that refuses each token: by the token alone, or by the text so far, the first
    that refuses it by itself. What only several of them refuse together is the first one's."""
    plan, masks = draw.plan, draw.masks()
    found: dict[int, Refusal | None] = dict.fromkeys(tokens)
    if plan is None:
        return found
    if masks.token is not None:
        for i in tokens:
            place = masks.token.refuser(i)
            found[i] = Refusal(place, False) if place is not None else None
    text = masks.text
    left = [i for i in tokens if text is not None and not text[i] and found[i] is None]
    places = draw.places_of_parts()
    parts = draw.masks_of_parts() if left and len(places) > 1 else []
    for i in left:
        alone = [place for place, mask in parts if mask is not None and not mask[i]]
        found[i] = Refusal((alone or places or [plan.blame])[0], False)
    return found
