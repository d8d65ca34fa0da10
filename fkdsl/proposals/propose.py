"""Guided draws: kernels M' that look ahead to the conditions which follow, and the potential G'
that makes up for it.

Any pair with M'(x) G'(x) = p(x) e(x) in expectation leaves the measure as it is (docs/inference.md,
Proposals), where e(x) says whether the particle lives through what stands between this draw and the
next. Two ways:

    every outcome tested      M'(x) = p(x) e(x) / A,  G' = A = sum_x p(x) e(x)        (locally optimal)
    adaptive weighted         draws from p without replacement until e holds          (Lipkin et al. 2025,
    rejection sampling        and weighs by an unbiased estimate of A                  arXiv 2504.05410)

The likely outcomes are tested first; those that die leave p before rejection begins.

e(x) is found by trial (trials.py). What a token alone decides is a mask over the vocabulary,
computed once; what the text so far decides is a mask for each place in an automaton
(constrained.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.blocks import Blocks, Sums
from fkdsl.base.logspace import Floats
from fkdsl.base.random import Rng, weighted
from fkdsl.base.remembered import joined
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import Context
from fkdsl.machine.clock import Clock
from fkdsl.machine.scoring import is_finished
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.proposals.lookahead import Trials
from fkdsl.proposals.outcomes import Mask, Outcomes, TokenOutcomes, is_dense, outcomes
from fkdsl.proposals.refusals import heaviest, refused_by_text, refused_by_tokens
from fkdsl.proposals.rejection import Drafted, weighted_rejection
from fkdsl.proposals.speculative import (
    Drafting,
    Proposal,
    drafted_context,
    proposal,
    speculative,
    went,
)
from fkdsl.proposals.text_masks import Constrained, constrained, holding, holding_parts
from fkdsl.proposals.token_masks import TokenMask, token_mask
from fkdsl.values.faults import NeedRows
from fkdsl.values.token_distributions import Mixture
from fkdsl.values.values import ContextRef

if TYPE_CHECKING:
    from fkdsl.machine.interpreter import ActiveFrame, Running
    from fkdsl.machine.ops import Compute, DrawOp
    from fkdsl.machine.proposal_plan import ProposalPlan

TESTED = 32
"""Outcomes of positive probability up to which each is tested, so that A is exact."""
HEAD, DEAR_HEAD = 0.05, 0.1
"""Share of the probability from which on an outcome is tested before any is drawn, also where tests
are dear."""
SETTLED = 0.3
"""Share of what is left that, once it is known to live, makes further tests before a draw not worth
while."""
TESTS, DEAR_TESTS = 256, 32
"""Outcomes that are tested at most before one is drawn, beyond those of the head."""
ENOUGH = 0.05
"""Share of what is left that must be known to live for weighted rejection to be worth while."""
ROUNDING = 1e-6
"""What a row's mass may miss of 1 by rounding alone."""
AHEAD = 256
"""Contexts that are held for forced tokens."""


@dataclass
class Guides:
    """What the particles of one model share about guided draws.

    tested, head, tests, enough: see TESTED, HEAD, TESTS, ENOUGH. rejection: whether more outcomes
    than `tested` are tried at all; else they are drawn by their own probabilities, as suits a
    method that enumerates the draws anyway. forget: whether the mass G' is left out of the weight,
    which is what local masking does. force: whether the rows behind forced tokens are asked for
    with the first one's. trials: outcomes already tried in this step, by the state that tried them;
    of one that died, where. drafting: how tokens are drafted, None for not at all; then the trials
    of later steps are kept too. ahead: the contexts whose rows were asked for before their time,
    held so that the engine keeps them. clock: of a run that asks for blame.
    """

    tested: int = TESTED
    head: float = HEAD
    tests: int = TESTS
    enough: float = ENOUGH
    rejection: bool = True
    forget: bool = False
    force: bool = True
    drafting: Drafting | None = None
    trials: deque[dict[Hashable, dict[int, Running | Span]]] = field(
        default_factory=lambda: deque([{}])
    )
    ahead: deque[Context] = field(default_factory=lambda: deque(maxlen=AHEAD))
    clock: Clock | None = None

    def new_step(self) -> None:
        """Forgets the trials of the step before; with drafts, of the last step that ran ahead of
        this one."""
        self.trials.append({})
        while len(self.trials) > (1 if self.drafting is None else len(self.drafting.held) + 1):
            for tried in self.trials.popleft().values():
                for trial in tried.values():
                    if not isinstance(trial, Span):
                        trial.let_go()
        if self.drafting is not None:
            self.drafting.new_step()

    def tried(self, key: Hashable) -> dict[int, Running | Span]:
        """The trials of a state at a draw."""
        for trials in self.trials:
            if key in trials:
                return trials[key]
        return self.trials[-1].setdefault(key, {})


@dataclass
class Narrowed:
    """A row that masks leave a part of: by token and by the text so far, and both together, and,
    once they are known, the sums of what is left of its blocks."""

    row: Floats
    of_token: TokenMask | None
    so_far: Mask | None
    mask: Mask
    sums: Sums | None = None


def narrowed(particle: Running) -> Narrowed | None:
    """How masks narrow the row of the draw that a particle stands at, which is at hand; None where
    they do not, or leave so little or take so little that it costs nothing to see what."""
    frame = particle.frames[-1]
    op: Any = particle.code.functions[frame.function].ops[frame.pc]
    plan = op.plan
    if plan is None or (plan.mask is None and plan.prefix is None):
        return None
    d = frame.slots[op.source]
    with timed(particle, plan):
        of_token = (
            token_mask(particle, frame, op, plan, particle.vocabulary(d))
            if plan.mask is not None
            else None
        )
        of_text = holding(particle, frame, op, plan.prefix, d) if plan.prefix is not None else None
        mask = allowed_by(of_token, of_text)
    if mask is None or not is_dense(mask):
        return None
    return Narrowed(particle.rows[particle.contexts[d.index].node], of_token, of_text, mask)


def draw(particle: Running, frame: ActiveFrame, op: DrawOp, d: Any) -> None:
    """x ~ d by the outcomes' own probabilities: M_t as the program says it."""
    if is_finished(d, particle.contexts):
        particle.weigh(-math.inf, op.span)
        return
    rng = particle.stream(op.site)
    given = proposal(particle, d)
    found = outcomes(particle, d, weighed=weighed(given))
    if found is None:
        particle.drawn(frame, op.target, d.sample(rng))
    elif not (p := found.blocks()).any():
        particle.weigh(-math.inf, op.span)
    else:
        if isinstance(d, Mixture) and (mass := p.mass()) < 1.0 - ROUNDING:
            weigh(
                particle, math.log(mass), {}, op.span
            )  # the shares of components that cannot draw are lost
        before = drafted_context(particle, d)
        i, kept = speculative(rng, p, draft_of(given, found))
        particle.drawn(frame, op.target, found.take(particle, i))
        went(particle, before, given, kept, found.token(i))


def guided_draw(
    particle: Running, frame: ActiveFrame, op: DrawOp, d: Any, plan: ProposalPlan[Compute]
) -> None:
    """x ~ M', and the weight times G'."""
    if is_finished(d, particle.contexts):
        particle.weigh(-math.inf, op.span)
        return
    rng = particle.stream(op.site)
    text: Constrained | None = None
    hopeless = False
    if plan.completion is not None:
        with timed(particle, plan):
            text = constrained(particle, frame, plan.completion, d)
            hopeless = text is not None and text.hopeless
    if text is not None and hopeless:
        die(
            particle,
            dict.fromkeys(text.conflict(), 1.0) if particle.guides.clock is not None else {},
            plan.blame,
        )
        return
    mask: TokenMask | None = None
    allowed: Mask | None = None
    known = particle.narrowed

    def masks(vocabulary: Vocabulary) -> Mask | None:
        nonlocal mask, allowed
        if known is not None:
            mask, allowed = known.of_token, known.so_far
            return known.mask
        with timed(particle, plan):
            mask = (
                token_mask(particle, frame, op, plan, vocabulary) if plan.mask is not None else None
            )
            if text is not None:
                allowed = text.mask()
            elif plan.prefix is not None:
                allowed = holding(particle, frame, op, plan.prefix, d)
        return allowed_by(mask, allowed)

    try:
        given = proposal(particle, d)
        found = outcomes(
            particle, d, masks, weighed(given), known.sums if known is not None else None
        )
    except NeedRows as need:
        if text is not None:
            ask_ahead(particle, need, text, d)
            if particle.guides.clock is not None:
                particle.guides.clock.owners[text.constraint] = plan.blame
        raise
    if found is None:
        particle.drawn(frame, op.target, d.sample(rng))
        return
    p = found.blocks()
    A = p.mass()
    masses: dict[Span, float] = {}
    blame = op.span
    if mask is not None or allowed is not None:
        blame = plan.blame
        masses = {plan.blame: 1.0 - A} if A < 1.0 else {}
        if particle.guides.clock is not None and isinstance(found, TokenOutcomes):
            with particle.guides.clock.aside():
                parts: list[tuple[Span, Mask | None]] = []
                if allowed is not None and text is not None:
                    parts = text.masks_of_parts()
                elif allowed is not None and plan.prefix is not None:
                    parts = holding_parts(particle, frame, plan.prefix, d)
                masses = refused(np.exp(found.row), parts, mask, allowed)
    if A <= 0.0:
        die(particle, masses, blame)
        return
    before = drafted_context(particle, d)
    q = draft_of(given, found, allowed_by(mask, allowed))
    told = allowed is not None and plan.prefix is not None and plan.prefix.sufficient
    few = not told and plan.needs_lookahead and p.are_few(particle.guides.tested)
    if told or not plan.needs_lookahead or not (few or particle.guides.rejection):
        i, log_w, kept = chosen_of(rng, p, q, A, found.allowed)
        weigh(particle, log_w, masses, blame)
        particle.drawn(frame, op.target, found.take(particle, i))
        went(particle, before, given, kept, found.token(i))
        return
    trials, log_w, kept = Trials(particle, op, found, plan), 0.0, True
    if few:
        support = np.flatnonzero(found.p)
        e = np.array([trials.lives(int(i)) for i in support])
        A = float(found.p[support][e].sum())
        if A > 0.0:
            live = support[e]
            labels = live if found.allowed is None else found.allowed[live]
            i, log_w, kept = chosen_of(
                rng, found.p[live], None if q is None else q[live], A, labels
            )
            chosen = int(live[i])
    else:
        worth_while = without_dead(particle.guides, plan, p, A, trials)
        A = p.mass()
        draft = Drafted(q) if q is not None else None
        if draft is not None:
            without_dead(particle.guides, plan, draft, draft.mass(), trials)
            draft = draft if draft.any() else None
        if A > 0.0 and worth_while:
            chosen, w = weighted_rejection(rng, p, trials.lives, draft=draft)
            A *= w
            kept = draft is not None and draft.kept
        elif A > 0.0:
            chosen, kept = speculative(rng, p, None if draft is None else np.asarray(draft))
            A *= trials.lives(chosen)
        log_w = min(0.0, math.log(A)) if A > 0.0 else -math.inf
    masses = with_died(masses, trials)
    if A <= 0.0:
        die(particle, masses, blame)
        return
    trials.take(chosen)
    weigh(particle, log_w, masses, blame)
    went(particle, before, given, kept, found.token(chosen))


def weighed(given: Proposal | None) -> Floats | None:
    """The row to draw from, where it is the draft's and p / q is weighed."""
    return given.row if given is not None and given.of.weighs else None


def draft_of(given: Proposal | None, found: Outcomes, mask: Mask | None = None) -> Floats | None:
    """(n,) the probabilities by which a draw is drafted, and then verified; None where it is
    not."""
    return given.p(found, mask) if given is not None and not given.of.weighs else None


def allowed_by(mask: TokenMask | None, allowed: Mask | None) -> Mask | None:
    """(V,) what both masks allow; None for all."""
    return (
        allowed
        if mask is None
        else mask.allowed
        if allowed is None
        else joined(mask.allowed, allowed)
    )


def chosen_of(
    rng: Rng, p: Blocks | Floats, q: Floats | None, mass: float, labels: NDArray[np.int64] | None
) -> tuple[int, float, bool]:
    """(i, log w, whether i is the draft's): a properly weighted draw from p, as `weighted`, by way
    of q if there is one."""
    if q is None or not q.any():
        return *weighted(rng, p, mass, labels), False
    i, kept = speculative(rng, p, q)
    return i, min(0.0, math.log(mass)), kept


def refused(
    p: Floats, parts: list[tuple[Span, Mask | None]], mask: TokenMask | None, allowed: Mask | None
) -> dict[Span, float]:
    """The mass of p (V,) that the masks have taken, by condition. parts: the own masks of the
    conditions behind `allowed`."""
    masses = refused_by_text(parts, p, ~allowed) if allowed is not None else {}
    if mask is not None:
        for place, mass in refused_by_tokens(mask.refusers, p, allowed).items():
            masses[place] = masses.get(place, 0.0) + mass
    return masses


def without_dead(
    guides: Guides, plan: ProposalPlan[Compute], p: Blocks, mass: float, trials: Trials
) -> bool:
    """Takes outcomes that are known to die out of p, whose sum is `mass`; whether weighted
    rejection is worth while on the rest.

    The likely outcomes are tested, and further ones in the order of their probability until those
    that live have a share of ENOUGH in what is left, or the bound on tests is reached. Which are
    tested depends on p and e alone, not on chance: so the rest may be drawn and weighed by any
    proper means. With next to nothing known to live, rejection might try the whole vocabulary; one
    draw that lives or dies is proper too.
    """
    head, most = (DEAR_HEAD, DEAR_TESTS) if plan.expensive else (guides.head, guides.tests)
    left, living, tests = mass, 0.0, 0
    dead: list[int] = []
    for i, share in p.descending(head * mass):
        if share < head * mass:
            if living >= guides.enough * left or tests >= most:
                break
            tests += 1
        elif living >= SETTLED * left:
            break
        if trials.lives(i):
            living += share
        else:
            left -= share
            dead.append(i)
    p.remove(*dead)
    return living >= guides.enough * left


def with_died(masses: dict[Span, float], trials: Trials) -> dict[Span, float]:
    """The masses, and those of the outcomes that died in trials."""
    if not masses and len({id(place) for place in trials.died.values()}) == 1:
        return {
            next(iter(trials.died.values())): 1.0
        }  # all of it is one line's, however much it is
    found = dict(masses)
    for i, place in trials.died.items():
        found[place] = found.get(place, 0.0) + trials.found.probability(i)
    return found


def ask_ahead(particle: Running, need: NeedRows, text: Constrained, d: Any) -> None:
    """Along with the row of this draw: the constraint's mask, made together with those of the whole
    population, and the rows behind tokens that are forced."""
    need.texts.append((text.constraint, text.ids))
    if particle.guides.force and isinstance(d, ContextRef):
        c = particle.contexts[d.index]
        nodes = text.forced(c.node, particle.engines[c.model].extend)
        need.forced.extend((c.model, node) for node in nodes)
        particle.guides.ahead.extend(nodes)


def weigh(particle: Running, log_w: float, masses: dict[Span, float], span: Span) -> None:
    """log G' (nats) is added; nothing where the mass is to be forgotten. masses: whose it is, else
    it is `span`'s."""
    if not particle.guides.forget:
        particle.weigh(log_w, span, masses)


def die(particle: Running, masses: dict[Span, float], span: Span) -> None:
    """Nothing is left: the particle dies at the line that refused most."""
    particle.weigh(-math.inf, heaviest(masses, span), masses)


def timed(particle: Running, plan: ProposalPlan[Compute]) -> AbstractContextManager[None]:
    """The work of a plan is its condition's, where somebody measures it."""
    clock = particle.guides.clock
    return nullcontext() if clock is None else clock.line(plan.blame)
