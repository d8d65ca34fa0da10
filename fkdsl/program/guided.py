"""Guided draws: kernels M' that look ahead to the conditions which follow, and the potential G' that makes up for it.

Any pair with M'(x) G'(x) = p(x) e(x) in expectation leaves the measure as it is (docs/inference.md, Proposals), where
e(x) says whether the particle lives through what stands between this draw and the next. Two ways:

    every outcome tested      M'(x) = p(x) e(x) / A,  G' = A = sum_x p(x) e(x)        (locally optimal)
    adaptive weighted         draws from p without replacement until e holds          (Lipkin et al. 2025,
    rejection sampling        and weighs by an unbiased estimate of A                  arXiv 2504.05410)

The likely outcomes are tested first; those that die leave p before rejection begins.

e(x) is found by trial: a copy of the particle takes the outcome and runs on. A trial ends at the next draw, at a
question to a model, or with the particle's death; one that lives is what the particle becomes, so nothing is computed
twice. What a token alone decides is a mask over the vocabulary, computed once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.random import BLOCK, Rng, block_sums, weighted
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import Context
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.program.charges import heaviest, refused_by_text, refused_by_tokens
from fkdsl.program.clock import Clock
from fkdsl.program.constrained import Constrained, constrained
from fkdsl.program.faults import NeedRows
from fkdsl.program.outcomes import Mask, Outcomes, TokenOutcomes, outcomes
from fkdsl.program.state import Status
from fkdsl.program.token_masks import TokenMask, token_mask
from fkdsl.program.values import ContextRef

if TYPE_CHECKING:
    from fkdsl.program.code import DrawOp, Guide
    from fkdsl.program.particle import ActiveFrame, Running

TESTED = 32
"""Outcomes of positive probability up to which each is tested, so that A is exact."""
HEAD, DEAR_HEAD = 0.05, 0.1
"""Share of the probability from which on an outcome is tested before any is drawn, also where tests are dear."""
SETTLED = 0.3
"""Share of what is left that, once it is known to live, makes further tests before a draw not worth while."""
TESTS, DEAR_TESTS = 256, 32
"""Outcomes that are tested at most before one is drawn, beyond those of the head."""
ENOUGH = 0.05
"""Share of what is left that must be known to live for weighted rejection to be worth while."""
LONG = 1024
"""Outcomes of which some positive ones are looked for before all are counted."""
AHEAD = 256
"""Contexts that are held for forced tokens."""


@dataclass
class Guides:
    """What the particles of one model share about guided draws.

    tested, head, tests, enough: see TESTED, HEAD, TESTS, ENOUGH. rejection: whether more outcomes than `tested` are
    tried at all; else they are drawn by their own probabilities, as suits a method that enumerates the draws anyway.
    forget: whether the mass G' is left out of the weight, which is what local masking does. force: whether the rows
    behind forced tokens are asked for with the first one's. trials: outcomes already tried in this step, by the state
    that tried them; of one that died, where. ahead: the contexts whose rows were asked for before their time, held so
    that the engine keeps them. clock: of a run that asks for blame.
    """

    tested: int = TESTED
    head: float = HEAD
    tests: int = TESTS
    enough: float = ENOUGH
    rejection: bool = True
    forget: bool = False
    force: bool = True
    trials: dict[Hashable, dict[int, Running | Span]] = field(default_factory=dict)
    ahead: deque[Context] = field(default_factory=lambda: deque(maxlen=AHEAD))
    clock: Clock | None = None

    def new_step(self) -> None:
        """Forgets the trials of the step before."""
        self.trials = {}


def draw(particle: Running, frame: ActiveFrame, op: DrawOp, d: Any) -> None:
    """x ~ d by the outcomes' own probabilities: M_t as the program says it."""
    rng = particle.stream(op.site)
    found = outcomes(particle, d)
    if found is None:
        particle.drawn(frame, op.target, d.sample(rng))
    elif not found.p.any():
        particle.weigh(-math.inf, op.span)
    else:
        particle.drawn(frame, op.target, found.take(particle, rng.choice(found.p)))


def guided_draw(particle: Running, frame: ActiveFrame, op: DrawOp, d: Any, guide: Guide) -> None:
    """x ~ M', and the weight times G'."""
    rng = particle.stream(op.site)
    with timed(particle, guide):
        text = constrained(particle, frame, guide.text, d) if guide.text is not None else None
        hopeless = text is not None and text.hopeless
    if text is not None and hopeless:
        die(particle, dict.fromkeys(text.conflict(), 1.0) if particle.guides.clock is not None else {}, guide.blame)
        return
    mask: TokenMask | None = None
    allowed: Mask | None = None

    def masks(vocabulary: Vocabulary) -> Mask | None:
        nonlocal mask, allowed
        with timed(particle, guide):
            mask = token_mask(particle, frame, op, guide, vocabulary) if guide.mask is not None else None
            allowed = text.mask() if text is not None else None
        return allowed if mask is None else mask.allowed if allowed is None else mask.allowed & allowed

    try:
        found = outcomes(particle, d, masks)
    except NeedRows as need:
        if text is not None:
            ask_ahead(particle, need, text, d)
            if particle.guides.clock is not None:
                particle.guides.clock.owners[text.constraint] = guide.blame
        raise
    if found is None:
        particle.drawn(frame, op.target, d.sample(rng))
        return
    p = found.p
    A = total(p)
    masses: dict[Span, float] = {}
    blame = op.span
    if mask is not None or allowed is not None:
        blame = guide.blame
        masses = refused(particle, guide, found, text, mask, allowed, A)
    if A <= 0.0:
        die(particle, masses, blame)
        return
    few = are_few(p, particle.guides.tested)
    if not guide.tried or not (few or particle.guides.rejection):
        i, log_w = weighted(rng, p, A, found.allowed)
        weigh(particle, log_w, masses, blame)
        particle.drawn(frame, op.target, found.take(particle, i))
        return
    trials, log_w = Trials(particle, op, found), 0.0
    if few:
        support = np.flatnonzero(p)
        e = np.array([trials.lives(int(i)) for i in support])
        A = total(p[support][e])
        if A > 0.0:
            live = support[e]
            i, log_w = weighted(rng, p[live], A, live if found.allowed is None else found.allowed[live])
            chosen = int(live[i])
    else:
        p, worth_while = without_dead(particle.guides, guide, p, A, trials)
        A = total(p)
        if A > 0.0 and worth_while:
            chosen, w = weighted_rejection(rng, p, trials.lives)
            A *= w
        elif A > 0.0:
            chosen = rng.choice(p)
            A *= trials.lives(chosen)
        log_w = min(0.0, math.log(A)) if A > 0.0 else -math.inf
    for i, place in trials.died.items():
        masses[place] = masses.get(place, 0.0) + float(found.p[i])
    if A <= 0.0:
        die(particle, masses, blame)
        return
    alive = trials.of(chosen)
    assert not isinstance(alive, Span)
    particle.become(alive)
    weigh(particle, log_w, masses, blame)


def refused(
    particle: Running,
    guide: Guide,
    found: Outcomes,
    text: Constrained | None,
    mask: TokenMask | None,
    allowed: Mask | None,
    A: float,
) -> dict[Span, float]:
    """The mass that the masks have taken, by condition where the run asks for blame, else all of it to the guide's."""
    if particle.guides.clock is None or not isinstance(found, TokenOutcomes):
        return {guide.blame: 1.0 - A} if A < 1.0 else {}
    with particle.guides.clock.aside():
        p = np.exp(found.row)
        masses = refused_by_text(text, p, ~allowed) if text is not None and allowed is not None else {}
        if mask is not None:
            for place, mass in refused_by_tokens(mask.refusers, p, allowed).items():
                masses[place] = masses.get(place, 0.0) + mass
    return masses


def total(p: Floats) -> float:
    """The sum. Of float32 it is pairwise, in float32: as close as the rows are."""
    return float(p.sum()) if len(p) <= LONG else float(block_sums(p).sum())


def are_few(p: Floats, most: int) -> bool:
    """Whether at most so many outcomes have positive probability; of a long vocabulary, mostly seen at once."""
    return bool(np.count_nonzero(p[:LONG]) <= most and np.count_nonzero(p) <= most)


def without_dead(guides: Guides, guide: Guide, p: Floats, mass: float, trials: Trials) -> tuple[Floats, bool]:
    """p, whose sum is `mass`, without outcomes that are known to die, and whether weighted rejection is worth while on
    the rest.

    The likely outcomes are tested, and further ones in the order of their probability until those that live have a
    share of ENOUGH in what is left, or the bound on tests is reached. Which are tested depends on p and e alone, not on
    chance: so the rest may be drawn and weighed by any proper means. With next to nothing known to live, rejection
    might try the whole vocabulary; one draw that lives or dies is proper too.
    """
    head, most = (DEAR_HEAD, DEAR_TESTS) if guide.dear else (guides.head, guides.tests)
    p, left, living = p.copy(), mass, 0.0

    def test(i: int) -> None:
        nonlocal left, living
        if trials.lives(i):
            living += float(p[i])
        else:
            left -= float(p[i])
            p[i] = 0.0

    likely = np.flatnonzero(p >= head * left)
    likely = likely[np.argsort(-p[likely], kind="stable")].tolist()
    for i in likely:
        if living >= SETTLED * left:
            break
        test(i)
    if living < guides.enough * left:
        for i in largest(p, most):
            if p[i] > 0.0 and i not in likely:
                test(i)
            if living >= guides.enough * left:
                break
    return p, living >= guides.enough * left


def largest(p: Floats, n: int) -> list[int]:
    """The n likeliest outcomes, likeliest first, equal ones in their order. A vocabulary is too long to be sorted."""
    first = np.arange(len(p)) if n >= len(p) else np.flatnonzero(p >= np.partition(p, -max(n, 1))[-max(n, 1)])
    found: list[int] = first[np.argsort(-p[first], kind="stable")][:n].tolist()
    return found


def ask_ahead(particle: Running, need: NeedRows, text: Constrained, d: Any) -> None:
    """Along with the row of this draw: the constraint's mask, made together with those of the whole population, and the
    rows behind tokens that are forced."""
    need.texts.append((text.constraint, text.ids))
    if particle.guides.force and isinstance(d, ContextRef):
        c = particle.contexts[d.index]
        nodes = text.forced(c.node, particle.engines[c.model].extend)
        need.wanted.extend((c.model, node) for node in nodes)
        particle.guides.ahead.extend(nodes)


def weigh(particle: Running, log_w: float, masses: dict[Span, float], span: Span) -> None:
    """log G' (nats) is added; nothing where the mass is to be forgotten. masses: whose it is, else it is `span`'s."""
    if not particle.guides.forget:
        particle.weigh(log_w, span, masses)


def die(particle: Running, masses: dict[Span, float], span: Span) -> None:
    """Nothing is left: the particle dies at the line that refused most."""
    particle.weigh(-math.inf, heaviest(masses, span), masses)


def timed(particle: Running, guide: Guide) -> AbstractContextManager[None]:
    """The work of a guide is its condition's, where somebody measures it."""
    clock = particle.guides.clock
    return nullcontext() if clock is None else clock.line(guide.blame)


def weighted_rejection(rng: Rng, p: Floats, accepts: Callable[[int], bool], block: int = BLOCK) -> tuple[int, float]:
    """(x, w) with E[w 1{x = v}] = p(v) e(v) for every v: properly weighted; (-1, 0) if nothing is accepted.

    Draws from p without replacement until x is accepted (R1 are those rejected); goes on, x put back, until the next
    acceptance (R2). w = (1 - p(R1)) / (|R1| + |R2| + 1). p, scaled to sum to 1, is not to be used afterwards; `accepts`
    is asked once for an outcome at most.
    """
    left = Remaining(p, block)
    whole = left.mass()
    rejected = 0
    first: int | None = None
    mass = 1.0
    while left.any():
        i = left.draw(rng)
        if i == first or accepts(i):
            if first is not None:
                break
            first, mass = i, left.mass() / whole
        else:
            left.remove(i)
            rejected += 1
    if first is None:
        return -1, 0.0
    return first, mass / (rejected + 1)


class Remaining:
    """Outcomes to draw from without replacement, in blocks with their sums: a draw looks at one block, not at all.
    p is taken apart."""

    def __init__(self, p: Floats, block: int = BLOCK) -> None:
        self.p, self.block = p, block
        self.sums = block_sums(p, block)

    def any(self) -> bool:
        return bool(self.sums.any())

    def mass(self) -> float:
        return float(self.sums.sum())

    def _of(self, k: int) -> Floats:
        return self.p[k * self.block : (k + 1) * self.block]

    def draw(self, rng: Rng) -> int:
        k = rng.choice(self.sums) if len(self.sums) > 1 else 0
        return k * self.block + rng.choice(self._of(k))

    def remove(self, i: int) -> None:
        self.p[i] = 0.0
        k = i // self.block
        self.sums[k] = self._of(k).sum(dtype=np.float64)


class Trials:
    """What each outcome of a draw leads to, tried at most once for all particles in the same state. died: where those
    died that this draw has asked about."""

    def __init__(self, particle: Running, op: DrawOp, found: Outcomes) -> None:
        self.particle, self.op, self.found = particle, op, found
        key = (op.site, particle.state().key())
        self.tried = particle.guides.trials.setdefault(key, {})
        self.died: dict[int, Span] = {}

    def of(self, i: int) -> Running | Span:
        """The particle as it is after outcome i has run to the trial's end, or where it died."""
        trial = self.tried.get(i)
        if trial is None:
            twin = self.particle.fork()
            twin.drawn(twin.frames[-1], self.op.target, self.found.take(twin, i))
            twin.try_out()
            trial = (twin.died or self.op.span) if twin.status is Status.DEAD else twin
            self.tried[i] = trial
        if isinstance(trial, Span):
            self.died[i] = trial
        return trial

    def lives(self, i: int) -> bool:
        return not isinstance(self.of(i), Span)
