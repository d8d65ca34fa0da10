"""Where the masks of a text left no token, and which of its conditions do so together: what the
report of a run that died names.

One such place is noted in a run. Which conditions it takes is worked out once the run has died.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fkdsl.base.spans import Span
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.languages import Both, Language
from fkdsl.machine.particle import ActiveFrame, Compute
from fkdsl.machine.proposal_plan import ProposalPlan
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.text_masks import TextConstraint

Part = tuple[Span, Language | None]
"""What a condition says of a text; None for `closed=true`."""


def note_emptied(
    settings: ProposalSettings,
    constraint: TextConstraint,
    plan: ProposalPlan[Compute],
    frame: ActiveFrame,
) -> None:
    """Notes that a constraint leaves no token, with what each condition says; of the first that
    does."""
    if settings.emptied is None and plan.completion is not None:
        parts = tuple((place, of(frame)) for place, of in plan.completion.parts)
        settings.emptied = replace(constraint, parts=parts)


def emptying(text: TextConstraint) -> tuple[Span, ...]:
    """Conditions that together allow no token behind the text so far, none of which could be left
    out; () where it takes none."""
    kept: list[Part] = list(text.parts)
    if text.closed is not None:
        kept.append((text.closed, None))
    if not _leave_nothing(text, kept):
        return ()
    for part in list(kept):
        fewer = [other for other in kept if other is not part]
        if _leave_nothing(text, fewer):
            kept = fewer
    return tuple(dict.fromkeys(place for place, _ in kept))


def _leave_nothing(text: TextConstraint, parts: Sequence[Part]) -> bool:
    languages = tuple(language for _, language in parts if language is not None)
    closed = any(language is None for _, language in parts)
    vocabulary = text.constraint.vocabulary
    constraint = make_constraint(Both(languages), text.until, vocabulary, closed)
    mask = constraint.mask(text.ids, text.budget)
    return mask is not None and not mask.any()
