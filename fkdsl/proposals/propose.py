"""Making a draw: which proposal makes it, and what becomes of the particle.

Any pair with M'(x) G'(x) = p(x) e(x) in expectation leaves the measure as it is (proposal.py;
docs/inference.md, Proposals). `proposal_for` chooses one:

    no plan                                   Prior
    masks decide all, or look-ahead is off    Masked
    few outcomes                              Enumerated
    many                                      WeightedRejection

A draft that is weighed makes it a DraftWeighted one, `local` an Unweighted one, and a surrogate of
the future a Tilted one. What the choice weighs is added to the particle's log G in `move_past`, and
nowhere else.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fkdsl.base.spans import Span
from fkdsl.machine.charges import Masses
from fkdsl.machine.particle import Compute, RunningParticle
from fkdsl.machine.proposal_plan import ProposalPlan
from fkdsl.machine.state import Status, TextGuess
from fkdsl.proposals.alternatives import NOBODY, alternatives_of
from fkdsl.proposals.completion import look_ahead
from fkdsl.proposals.draft_weighted import DraftWeighted
from fkdsl.proposals.drafting import Correction, DraftCounts, DraftedRow, advance_block
from fkdsl.proposals.enumerated import Enumerated
from fkdsl.proposals.lookahead import Lookahead
from fkdsl.proposals.masked import Masked
from fkdsl.proposals.open_draw import OpenDraw
from fkdsl.proposals.outcomes import Outcomes, token_of
from fkdsl.proposals.prior import Prior
from fkdsl.proposals.proposal import NOTHING, Choice, Proposal, everything_lives
from fkdsl.proposals.refusals import most_lethal, with_deaths
from fkdsl.proposals.rejection import WeightedRejection
from fkdsl.proposals.settings import EXPENSIVE_HEAD, EXPENSIVE_QUESTIONS, ProposalSettings
from fkdsl.proposals.tilted import Tilted
from fkdsl.proposals.tilts import Tilt
from fkdsl.proposals.unweighted import Unweighted
from fkdsl.values.values import ContextRef

PRIOR, MASKED, ENUMERATED = Prior(), Masked(), Enumerated()


class DraftedDraw(NamedTuple):
    """What a draw from a drafted model leaves to be counted, and to be weighed later."""

    counts: DraftCounts
    correction: Correction | None


def propose(draw: OpenDraw) -> DraftedDraw | None:
    """Makes the draw, what it requests being at hand: the particle is past it, with its weight, or
    dead. None where no model is drafted."""
    particle, op, plan = draw.particle, draw.op, draw.plan
    if draw.finished:
        particle.weigh(-math.inf, op.span)
        return None
    if draw.unsatisfiable:
        assert draw.constraint is not None
        assert plan is not None
        lines = draw.constraint.conflict() if draw.settings.clock is not None else ()
        die(particle, dict.fromkeys(lines, 1.0), next(iter(lines), plan.blame))
        return None
    if draw.choice is not None:
        _take_token(draw, draw.choice)
        return None
    drafted = draw.drafted_row()
    outcomes = draw.outcomes(drafted) if draw.tilted is None else draw.tilted[0]
    if outcomes is None:
        value = draw.distribution.sample(draw.rng)
        if draw.settings.alternatives:
            particle.alternatives.append(None)
        look_ahead(particle, None)
        particle.assign_drawn(particle.frames[-1], op.target, value)
        return None
    tilt = draw.tilt(outcomes) if draw.tilted is None else draw.tilted[1]
    kernel = kernel_for(plan, draw.settings, outcomes, draw.is_decided, tilt is not None)
    lookahead = None
    if plan is not None and plan.needs_lookahead and kernel is not MASKED:
        in_place = draw.settings.clock is None
        lookahead = Lookahead(particle, op, outcomes, plan, draw.cache, in_place)
    proposal = wrapped(kernel, draw.settings, drafted)
    if tilt is not None and draw.settings.lookahead is not None:
        tilted = draw.settings.lookahead.proposes(particle)
        proposal = Tilted(proposal, tilt.h) if tilted else proposal
    choice = choose(draw, proposal, outcomes, lookahead)
    return move_past(draw, outcomes, choice, lookahead, drafted, tilt)


def _take_token(draw: OpenDraw, choice: Choice) -> None:
    """Moves the particle past a draw whose choice is known (together.py, tilted_together.py), and
    weighs it, as `move_past` does."""
    if draw.tilted is not None:
        outcomes, tilt = draw.tilted
        move_past(draw, outcomes, choice, None, None, tilt)
        return
    particle, d = draw.particle, draw.distribution
    frame = particle.frames[-1]
    particle.append_token(d, choice.i)
    value = token_of(particle.vocabulary(d), choice.i)
    particle.assign_drawn(frame, draw.op.target, value)
    if draw.plan is not None:
        frame.pc += draw.passed
    if choice.log_w != 0.0:
        particle.weigh(choice.log_w, draw.blame, choice.refused)
    look_ahead(particle, d)


def kernel_for(
    plan: ProposalPlan[Compute] | None,
    settings: ProposalSettings,
    outcomes: Outcomes,
    decided: bool,
    tilts: bool = False,
) -> Proposal:
    """The proposal that suits what is known of a draw. decided: whether masks leave nothing to be
    asked. tilts: whether a surrogate looks ahead."""
    if plan is None or (plan.guesses_only and not tilts):
        return PRIOR
    if decided or not plan.needs_lookahead:
        return MASKED
    if outcomes.blocks.are_few(settings.enumerated):
        return ENUMERATED
    return rejection_for(plan, settings) if settings.rejection else MASKED


def rejection_for(plan: ProposalPlan[Compute], settings: ProposalSettings) -> WeightedRejection:
    """Weighted rejection with the bounds that suit what a question costs."""
    if plan.expensive:
        return WeightedRejection(EXPENSIVE_HEAD, EXPENSIVE_QUESTIONS, settings.enough)
    return WeightedRejection(settings.head, settings.questions, settings.enough)


def wrapped(proposal: Proposal, settings: ProposalSettings, drafted: DraftedRow | None) -> Proposal:
    """The proposal, weighed as the settings say."""
    if drafted is not None and drafted.of.weighs:
        proposal = DraftWeighted(proposal)
    return Unweighted(proposal) if settings.local else proposal


def choose(
    draw: OpenDraw, proposal: Proposal, outcomes: Outcomes, lookahead: Lookahead | None
) -> Choice:
    """The proposal's choice, with what each line has refused."""
    mass = outcomes.blocks.mass()
    refused = draw.refused(outcomes, mass)
    if mass <= 0.0:
        return NOTHING._replace(refused=refused)
    lives = everything_lives if lookahead is None else lookahead.is_viable
    choice = proposal.propose(draw.rng, outcomes, lives)
    if lookahead is not None:
        refused = with_deaths(refused, lookahead.died, outcomes)
    return choice._replace(refused=refused) if refused else choice


def move_past(
    draw: OpenDraw,
    outcomes: Outcomes,
    choice: Choice,
    lookahead: Lookahead | None,
    drafted: DraftedRow | None,
    tilt: Tilt | None = None,
) -> DraftedDraw | None:
    """Moves the particle past the draw with what was chosen, and weighs it. tilt: what it may twist
    the particle by, in the place of the last draw's."""
    particle, op, d = draw.particle, draw.op, draw.distribution
    if draw.settings.alternatives and not draw.by_draft:
        died = lookahead.died if lookahead is not None else NOBODY
        particle.alternatives.append(alternatives_of(draw, outcomes, choice.i, died))
    if choice.i < 0:
        # What masks had left was refused by what was tried.
        tried = with_deaths({}, lookahead.died, outcomes) if lookahead is not None else {}
        die(particle, choice.refused, most_lethal(tried or choice.refused, draw.blame))
        return None
    before = particle.contexts[d.index] if isinstance(d, ContextRef) else None
    if lookahead is not None:
        lookahead.take(choice.i)
    else:
        frame, value = particle.frames[-1], outcomes.take(particle, choice.i)
        particle.assign_drawn(frame, op.target, value)
        frame.pc += draw.passed
    particle.weigh(choice.log_w, draw.blame, choice.refused)
    ahead = draw.settings.lookahead
    if tilt is not None and ahead is not None:
        ahead.drawn(particle, outcomes, tilt, choice.i)
    if particle.status is Status.RUNNING:  # one that has returned has taken its twist back
        twists = ahead is not None and ahead.twists(particle)
        log_h = tilt.log_h(choice.i) if tilt is not None and twists else 0.0
        look_ahead(particle, d, None if tilt is None else TextGuess(tilt.power, log_h))
    drafting = draw.settings.drafting
    if drafting is None or before is None or (of := drafting.of.get(before.model)) is None:
        return None
    token = outcomes.token(choice.i)
    correction = advance_block(particle, before, of, choice, token, draw.by_draft)
    if draw.by_draft:
        return None
    counts = DraftCounts(0, 1, int(drafted is not None), int(choice.drafted))
    return DraftedDraw(counts, correction)


def die(particle: RunningParticle, refused: Masses, place: Span) -> None:
    """Nothing is left: the particle dies at a line."""
    particle.weigh(-math.inf, place, refused)
