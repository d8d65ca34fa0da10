"""A draw that a particle stands at, from when it is reached until it is made.

    draw = OpenDraw(particle, *interpreter.advance(particle), settings, cache)
    request = draw.requests()       # the rows and masks that it needs and are not at hand; pure
    propose(draw)                   # once none are missing (propose.py)

Nothing here draws or calls a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import Sums
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng, Undrawn
from fkdsl.base.remembered import allowed, joined, listed
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.constraint import Constraint
from fkdsl.engine.drafts import DraftQuery
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import Compute, RunningParticle
from fkdsl.machine.proposal_plan import ProposalPlan
from fkdsl.machine.scoring import is_finished
from fkdsl.proposals.drafting import DraftedRow, DraftOf, draft_of, drafted_row
from fkdsl.proposals.emptied import note_emptied
from fkdsl.proposals.lookahead import LookaheadCache
from fkdsl.proposals.outcomes import (
    FEW,
    SOME,
    Mask,
    Outcomes,
    TokenOutcomes,
    is_dense,
    outcomes_of,
    refusing_blocks,
)
from fkdsl.proposals.proposal import Choice
from fkdsl.proposals.refusals import refused_by_masks
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.text_masks import (
    Ahead,
    TextConstraint,
    prefix_ahead,
    prefix_mask,
    prefix_masks_of_parts,
    text_constraint,
    words_ahead,
)
from fkdsl.proposals.tilts import Tilt
from fkdsl.proposals.token_masks import TokenMask, token_mask
from fkdsl.values.token_distributions import (
    ChoiceOf,
    Continues,
    gives_tokens,
    leaves,
    mask_following,
)
from fkdsl.values.values import ContextRef

if TYPE_CHECKING:  # which imports torch
    from fkdsl.models.device.reads import Wanted


@dataclass
class Request:
    """What a particle needs before it goes on.

    rows: (model, context) pairs. drafts: (model, query) pairs. forced: rows that it will need
    whatever it draws. masks: of constraints after a text, which it will ask for, and the line whose
    they are.
    """

    rows: list[tuple[str, Context]]
    drafts: Sequence[tuple[str, DraftQuery]] = ()
    forced: Sequence[tuple[str, Context]] = ()
    masks: Sequence[tuple[Constraint, tuple[int, ...], Span]] = ()


@dataclass
class Masks:
    """The tokens (V,) that are left of a draw. token: by the token alone. text: by the text so far.
    both: by both, None for all. decided: whether they leave nothing to be asked."""

    token: TokenMask | None
    text: Mask | None
    both: Mask | None
    decided: bool = False


NO_MASKS = Masks(None, None, None)


class OpenDraw:
    """op, distribution: the draw. by_draft: whether the particle is a drafter, which draws from
    drafts' rows themselves. constraint: on the text that is being drawn, None where there is none.
    unsatisfiable: whether it is known that no text satisfies it. finished: whether the contexts
    that it draws from are. sums: of the blocks of the first of `parts_of_row`, where somebody has
    summed them. choice: what is drawn, where that is known (together.py). tilted: of a draw that
    looks ahead, what may come and its tilt, where these are known."""

    def __init__(
        self,
        particle: RunningParticle,
        op: DrawOp,
        distribution: Any,
        settings: ProposalSettings,
        cache: LookaheadCache,
        by_draft: bool = False,
    ) -> None:
        self.particle, self.op, self.distribution = particle, op, distribution
        self.settings, self.cache, self.by_draft = settings, cache, by_draft
        self.plan = op.plan
        self.constraint: TextConstraint | None = None
        self.draft: tuple[DraftOf, DraftQuery] | None = None
        self._masks: Masks | None = None
        self._ahead: tuple[Ahead | None] | None = None
        self.sums: Sums | None = None
        self.choice: Choice | None = None
        self.tilted: tuple[Outcomes, Tilt | None] | None = None
        self.unsatisfiable = False
        self.finished = is_finished(distribution, particle.contexts)
        if self.finished:
            return
        self.rng = particle.stream(op.site)
        if self.plan is not None and self.plan.completion is not None:
            with settings.timed(self.plan.blame):
                self.constraint = text_constraint(
                    particle, op, distribution, settings.late, settings.blames
                )
                self.unsatisfiable = (
                    self.constraint is not None and self.constraint.is_unsatisfiable
                )
        if settings.drafting is not None and not by_draft:
            self.draft = draft_of(particle, distribution, settings.drafting)

    # --------------------------------------------------------------- requests

    def requests(self) -> Request | None:
        """What is needed and not at hand, None where nothing is. A draft's answer is asked for
        together with the model's row, or, where p / q is weighed, in its place."""
        if self.finished or self.unsatisfiable:
            return None
        at_hand, query = self.particle.rows, None
        rows = [
            (model, node)
            for model, node in rows_of(self.particle, self.distribution)
            if node not in at_hand
        ]
        if self.draft is not None:
            query = self._missing_query()
            rows = [] if self._draws_from_draft() else rows
        if not rows and query is None:
            return None
        request = Request(rows, () if query is None else (query,))
        if self.constraint is not None:
            self._request_of_text(request, self.constraint)
        return request

    def _missing_query(self) -> tuple[str, DraftQuery] | None:
        if self.draft is None or self.draft[1] in self.particle.rows:
            return None
        return self.particle.contexts[self.distribution.index].model, self.draft[1]

    def _draws_from_draft(self) -> bool:
        """Whether the draft's row stands in the place of the model's, as far as is known."""
        if self.draft is None or not self.draft[0].weighs:
            return False
        query = self.draft[1]
        return query not in self.particle.rows or self.particle.rows[query] is not None

    def _request_of_text(self, request: Request, text: TextConstraint) -> None:
        """Adds what a constraint on a text makes sure to need: its mask, and the rows behind forced
        tokens."""
        assert self.plan is not None
        request.masks = [(text.constraint, text.ids, self.plan.blame)]
        d = self.distribution
        if self.settings.force and isinstance(d, ContextRef):
            c = self.particle.contexts[d.index]
            nodes = text.forced(c.node, self.particle.engines[c.model].extend)
            request.forced = [(c.model, node) for node in nodes]

    # --------------------------------------------------------------- outcomes

    def masks(self) -> Masks:
        """What masks leave of the tokens; of other outcomes they leave all."""
        if self._masks is None:
            self._masks = NO_MASKS
            if self.plan is not None and gives_tokens(self.distribution):
                if self.settings.clock is None:
                    self._masks = self._find_masks(self.plan)
                else:
                    with self.settings.timed(self.plan.blame):
                        self._masks = self._find_masks(self.plan)
        return self._masks

    def _find_masks(self, plan: ProposalPlan[Compute]) -> Masks:
        particle, d = self.particle, self.distribution
        vocabulary = particle.vocabulary(leaves(d)[0])
        token = token_mask(particle, self.op, plan, vocabulary)
        whole = self.constraint.mask() if self.constraint is not None else None
        if self.constraint is not None and whole is not None and not whole.any():
            self.constraint.note_short(self.settings.short, plan.blame)
            note_emptied(self.settings, self.constraint, plan, particle.frames[-1])
        so_far = prefix_mask(particle, self.op, d)
        text = so_far if whole is None else whole if so_far is None else whole & so_far
        decided = so_far is not None and plan.prefix is not None and plan.prefix.sufficient
        if token is None or text is None:
            return Masks(token, text, text if token is None else token.allowed, decided)
        return Masks(token, text, joined(token.allowed, text), decided)

    def parts_of_row(self) -> tuple[str, Floats, tuple[Mask, ...]] | None:
        """A model, a context's own row (V,) that is at hand, and the tokens (V,) of it that are to
        be summed: those that masks leave, where they take a large part; those that `Continues`
        asks about, and then the others; those that it has left. None where there is nothing to
        sum, or where masks take so little or leave so little that it costs nothing to see what."""
        d = self.distribution
        ref = d.context if type(d) is Continues else d
        if type(ref) is not ContextRef or self.settings.drafting is not None:
            return None
        c = self.particle.contexts[ref.index]
        row = self.particle.rows.get(c.node)
        if c.done or row is None:
            return None
        if ref is not d:
            if c.pending is not None:
                return None
            vocabulary = self.particle.vocabulary(ref)
            asked = mask_following(vocabulary, True), mask_following(vocabulary, False)
            return c.model, row, asked
        if self.unsatisfiable or (self.settings.lookahead is not None and self.ahead() is not None):
            return None  # a tilt goes through the whole row anyway
        both = self.masks().both  # none where nothing is planned
        if both is not None and not is_dense(both):
            return None
        if c.pending is not None:
            following = mask_following(self.particle.vocabulary(ref), c.pending)
            both = following if both is None else joined(both, following)
        return None if both is None else (c.model, row, (both,))

    def wanted_of_row(self) -> Wanted | None:
        """What the draw will look at of a context's own row that lies on a device; None for other
        rows."""
        d = self.distribution
        if not isinstance(d, ContextRef) or self.finished or self.unsatisfiable:
            return None
        c = self.particle.contexts[d.index]
        row = self.particle.rows.get(c.node)
        if row is None or isinstance(row, np.ndarray) or c.pending is not None:
            return None
        from fkdsl.models.device.reads import Wanted

        mask = self.masks().both
        uniform = self.rng.peek() if isinstance(self.rng, KeyedRng) else 0.5
        if mask is not None and allowed(mask) < len(mask) // FEW:
            return Wanted(row, mask, listed(mask), uniform)
        # A tilt looks at every outcome, and so does whoever lists them.
        tilts = self.settings.lookahead is not None and self.ahead() is not None
        whole = tilts or isinstance(self.rng, Undrawn)
        if mask is not None and len(mask) - allowed(mask) <= SOME:  # they are taken out here
            return Wanted(row, None, None, uniform, whole, refusing_blocks(mask))
        return Wanted(row, mask, None, uniform, whole)

    def drafted_row(self) -> DraftedRow | None:
        """The draft's row for the draw; None where it has none."""
        if self.draft is None:
            return None
        of, query = self.draft
        return drafted_row(self.particle, self.distribution, of, self.particle.rows[query])

    def outcomes(self, drafted: DraftedRow | None) -> Outcomes | None:
        """What may come, less what masks refuse, with a draft's probabilities where it has one;
        None if they cannot be listed."""
        masks = self.masks()
        weighs = drafted is not None and drafted.of.weighs
        outcomes = outcomes_of(
            self.particle,
            self.distribution,
            masks.both,
            self.sums,
            drafted.row if drafted is not None and weighs else None,
        )
        if outcomes is not None and drafted is not None and not weighs:
            outcomes.draft = drafted.probabilities(outcomes, masks.both)
        return outcomes

    def tilt(self, outcomes: Outcomes) -> Tilt | None:
        """How likely each outcome leads to a text that the constraint allows; None where the draw
        does not look ahead so far."""
        lookahead = self.settings.lookahead
        ahead = self.ahead()
        if lookahead is None or ahead is None:
            return None
        with self.settings.timed(self.blame):
            return lookahead.tilt(
                self.particle, self.distribution, ahead, outcomes, not self.by_draft
            )

    def ahead(self) -> Ahead | None:
        """What the draw looks ahead to, by a surrogate: the end of its text, or else what is asked
        of the text so far after each token of a loop, or of the words that a loop draws. None
        where nothing is, or finished."""
        if self.constraint is not None or self.finished or self.settings.lookahead is None:
            return self.constraint
        if self._ahead is None:
            find = prefix_ahead if self.plan is None or self.plan.words is None else words_ahead
            self._ahead = (find(self.particle, self.op, self.distribution),)
        return self._ahead[0]

    def refused(self, outcomes: Outcomes, mass: float) -> dict[Span, float]:
        """The probability that masks have refused, by line: all of it the plan's, or, in a run that
        asks for blame, by condition. mass: what they leave."""
        plan = self.plan
        if plan is None:
            return {}
        masks = self.masks()
        if masks.token is None and masks.text is None:
            return {}
        clock = self.settings.clock
        if clock is None or not isinstance(outcomes, TokenOutcomes):
            return {plan.blame: 1.0 - mass} if mass < 1.0 else {}
        with clock.aside():
            parts = self.masks_of_parts()
            return refused_by_masks(outcomes.unmasked(), parts, masks.token, masks.text)

    def places_of_parts(self) -> list[Span]:
        """The conditions on the text so far that masks decide."""
        places: list[Span] = []
        if self.constraint is not None:
            places += (place for place, _ in self.constraint.parts)
            places += [self.constraint.closed] if self.constraint.closed is not None else []
        prefix = self.plan.prefix if self.plan is not None else None
        if prefix is not None:
            places += (place for place, _ in (*prefix.parts, *prefix.going_on))
        return places

    def masks_of_parts(self) -> list[tuple[Span, Mask | None]]:
        """What each condition on the text so far allows by itself, (V,); None where no mask says
        it."""
        parts: list[tuple[Span, Mask | None]] = []
        if self.masks().text is None:
            return parts
        if self.constraint is not None:
            parts += self.constraint.masks_of_parts()
        if self.plan is not None and self.plan.prefix is not None:
            parts += prefix_masks_of_parts(self.particle, self.plan.prefix, self.distribution)
        return parts

    @property
    def is_decided(self) -> bool:
        """Whether masks leave nothing to be asked."""
        return self.masks().decided

    @property
    def passed(self) -> int:
        """How many conditions right behind the draw need not be asked of what masks left; none in a
        run that asks for blame, which counts who passes each."""
        plan = self.plan
        if plan is None or not plan.passed or self.settings.clock is not None:
            return 0
        masks = self.masks()
        if plan.mask is not None and (masks.token is None or not masks.token.is_certain):
            return 0
        return plan.passed if plan.prefix is None or masks.decided else 0

    @property
    def blame(self) -> Span:
        """The line that the weight of the draw is charged to, where no other is known."""
        if self.plan is None:
            return self.op.span
        masks = self.masks()
        return self.op.span if masks.token is None and masks.text is None else self.plan.blame


def rows_of(particle: RunningParticle, d: Any) -> list[tuple[str, Context]]:
    """The (model, context) pairs whose rows a draw from d takes."""
    if isinstance(d, ContextRef):
        c = particle.contexts[d.index]
        return [] if c.done else [(c.model, c.node)]
    if gives_tokens(d):
        states = [particle.contexts[r.index] for r in leaves(d)]
        return [(c.model, c.node) for c in states if not c.done]
    match d:
        case ChoiceOf(context, options):
            c = particle.contexts[context.index]
            if c.done:
                return []
            extend = particle.engines[c.model].extend
            paths = [particle.ids_of(context, option) for option in options]
            nodes = [extend(c.node, ids[:k]) for ids in paths for k in range(len(ids))]
            return [(c.model, node) for node in dict.fromkeys([c.node, *nodes])]
        case Continues(context):
            return rows_of(particle, context)
    return []
