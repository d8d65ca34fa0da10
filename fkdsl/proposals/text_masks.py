"""Constraints on a text in the middle of its drawing: what a guided draw asks of the engine's
constraints.

The text is what its context has said since the draw of it began. Everything is a function of the
tokens so far, so a constraint forks with its particle and is found again when a state is read back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any
from weakref import ref

import numpy as np

from fkdsl.base.locks import remember
from fkdsl.base.probability_blocks import Mask
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.base.value_keys import state_key
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.constraint import (
    Constraint,
    make_constraint,
    parts_left_out,
    regular_masks,
    why_unfollowed,
)
from fkdsl.engine.constraints.drawn_words import drawn_words
from fkdsl.engine.constraints.futures import SoFar, Watched
from fkdsl.engine.constraints.languages import Both, Either, Language
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.stops import Until
from fkdsl.engine.constraints.tokens_left import TokensLeft, is_spent, one_later, tokens_left
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import ActiveFrame, Compute, RunningParticle
from fkdsl.machine.proposal_plan import CompletionConstraint, PrefixConstraint
from fkdsl.models.vocabulary import TokenIds, Vocabulary
from fkdsl.proposals.text_places import begins_within
from fkdsl.values.faults import Fault
from fkdsl.values.token_distributions import Continues, TokenDistribution, leaves
from fkdsl.values.values import ContextRef

Extend = Callable[[Context, Sequence[int]], Context]
Short = dict[Span, tuple[int, int | None]]
"""By condition on a text for which the text may have too few tokens: how many it may have, and the
fewest that are needed, None where these are more than FEWEST."""
FEWEST = 1 << 14
Late = dict[Span, tuple[bool, str]]
"""By condition on a text whose language became known in the run: whether all of it guides nothing,
or a part, and what no mask follows."""
LANGUAGES = 1024
"""Languages that a draw keeps the masks of, where its conditions read variables."""
FORCED = 32
"""Forced tokens that are scored together at most."""


@dataclass(frozen=True)
class TextAhead:
    """A text in the middle of its drawing, as look-ahead sees it. constraint: on the text, when it
    ends or after each token. ids: its tokens so far. tokens_left: how many may follow the next one,
    None where that is not known. whole: how many tokens are looked ahead from the text's beginning,
    None for those that it has and may have."""

    constraint: Constraint | Watched
    ids: TokenIds
    tokens_left: TokensLeft
    whole: int | None = None


@dataclass(frozen=True)
class TextConstraint:
    """A constraint where a particle stands. ids: the text's tokens so far. tokens_left: how many
    may follow the next one, None where that is not known; budget: the same for masks, None where
    they do not look at it. until:
    what ends the text. parts: what each condition says of it. closed: where it is said that a stop
    or EOS must end it, None where it need not."""

    constraint: Constraint
    ids: TokenIds
    budget: TokensLeft
    tokens_left: TokensLeft
    until: Until = ""
    parts: tuple[tuple[Span, Language], ...] = ()
    closed: Span | None = None

    @property
    def is_unsatisfiable(self) -> bool:
        """Whether it is known from the start that no text satisfies it."""
        return not self.ids and self.constraint.is_empty

    @property
    def automaton(self) -> RegularMasks | None:
        """The masks of the automaton that alone follows the constraint; None where anything else
        does."""
        regular = self.constraint.regular
        alone = isinstance(regular, RegularMasks) and not self.constraint.unions_and_grammars
        return regular if alone else None  # type: ignore[return-value]

    def mask(self) -> Mask | None:
        return self.constraint.mask(self.ids, self.budget)

    def note_short(self, short: Short, place: Span) -> None:
        """Notes that the text may have too few tokens, where that is why none may come."""
        unbounded = self.constraint.mask((), None)
        if self.ids or self.budget is None or (unbounded is not None and not unbounded.any()):
            return

        def suffices(tokens: int) -> bool:
            mask = self.constraint.mask((), tokens - 1)
            return mask is None or bool(mask.any())

        fewest = self.budget + 2
        while fewest < FEWEST and not suffices(fewest):
            fewest *= 2
        fewest = bisect_left(range(fewest), True, lo=self.budget + 2, key=suffices)
        short[place] = self.budget + 1, fewest if suffices(fewest) else None

    def masks_of_parts(self) -> list[tuple[Span, Mask | None]]:
        """What each condition's own language allows, as `mask`."""
        masks = [
            (place, self._of([language]).mask(self.ids, self.budget))
            for place, language in self.parts
        ]
        if self.closed is not None:
            masks.append((self.closed, self._closed().mask(self.ids, self.budget)))
        return masks

    def conflict(self) -> tuple[Span, ...]:
        """The fewest of the conditions, the first of equally few, that no text satisfies; () where
        they are more than three, or with what must end the text."""
        if self.closed is not None and self._closed().is_empty:
            return (self.closed,)
        for n in (1, 2, 3):
            for parts in combinations(self.parts, n):
                if self._of([language for _, language in parts]).is_empty:
                    return tuple(place for place, _ in parts)
        return ()

    def _closed(self) -> Constraint:
        """That a stop or EOS ends the text, and nothing else."""
        return make_constraint(Both(()), self.until, self.constraint.vocabulary, True)

    def _of(self, languages: list[Language]) -> Constraint:
        return make_constraint(Both(tuple(languages)), self.until, self.constraint.vocabulary)

    def forced(self, context: Context, extend: Extend) -> list[Context]:
        """The contexts along the tokens that are the only ones allowed, as far as they are: their
        rows are needed whatever is drawn. Only automata are asked, whose masks cost little."""
        ids, budget = self.ids, self.budget
        contexts: list[Context] = []
        vocabulary = self.constraint.vocabulary
        while (
            not self.constraint.unions_and_grammars
            and len(contexts) < FORCED
            and not is_spent(budget)
        ):
            mask = self.constraint.mask(ids, budget)
            if mask is None or np.count_nonzero(mask) != 1:
                break
            token = int(mask.argmax())
            ids, budget = (*ids, token), one_later(budget)
            if token in vocabulary.ends or is_spent(budget):
                break
            context = extend(context, (token,))
            contexts.append(context)
        return contexts


Ahead = TextAhead | TextConstraint
"""What look-ahead is asked of."""


def text_constraint(
    particle: RunningParticle,
    op: DrawOp,
    d: TokenDistribution,
    late: Late,
    blame: bool = False,
) -> TextConstraint | None:
    """The constraint of a draw as its particle stands; None if the text begins in the middle of a
    character, or what should say its language fails: the condition itself will say so.

    late: where it is noted which conditions guide nothing. blame: whether it is to be known what
    each condition says.
    """
    assert op.plan is not None
    plan, frame = op.plan.completion, particle.frames[-1]
    assert plan is not None
    try:
        spoken = _language(op, plan, frame)
    except Fault:
        return None
    c = particle.contexts[leaves(d)[0].index]
    begins = c.start + frame.slots[plan.origin]
    vocabulary = particle.vocabulary(leaves(d)[0])
    if begins_within(c.node, c.start, begins, vocabulary):
        return None
    length = c.node.length - c.start
    left = tokens_left(frame.slots[plan.stop], length)
    budget = left if plan.budget_lookahead else None
    until = frame.slots[plan.ends]
    parts = tuple((p, of(frame)) for p, of in plan.parts) if blame else ()
    closed = plan.closed[0] if plan.closed is not None and plan.closed[1](frame) else None
    constraint = spoken.constraint(until, vocabulary, closed is not None)
    if constraint.left_out and not spoken.is_noted and op.varying:
        spoken.is_noted = True
        _note_late(late, op.varying, plan, frame, constraint)
    ids = c.node.tokens_from(begins)
    return TextConstraint(constraint, ids, budget, left, until, parts, closed)


class _Language:
    """The language of a draw and the constraints that were made of it. values: what it was made
    of."""

    def __init__(self, values: tuple[Any, ...], language: Language) -> None:
        self.values, self.language, self.is_noted = values, language, False
        self._made: dict[tuple[Until, str, bool], ref[Constraint]] = {}

    def constraint(self, until: Until, vocabulary: Vocabulary, closed: bool) -> Constraint:
        """As `make_constraint`, which knows it by its language: that may take long to compare."""
        key = (until, vocabulary.fingerprint, closed)
        made = self._made[key]() if key in self._made else None
        if made is None:
            made = make_constraint(self.language, until, vocabulary, closed)
            self._made[key] = ref(made)
        return made


def _language(op: DrawOp, plan: CompletionConstraint[Compute], frame: ActiveFrame) -> _Language:
    """The language of a draw as its particle stands. What it reads tells it, without a look at what
    is in it: forks of a particle have the same values. Raises Fault."""
    values = tuple(frame.slots[slot] for slot in op.language_reads)
    key = tuple(map(id, values))
    known: _Language | None = op.languages.get(key)
    if known is None:
        language = plan.language(frame)
        assert isinstance(language, Language)
        known = _Language(values, language)
        if all(map(_never_changes, values)):
            remember(op.languages, key, known, LANGUAGES)
    return known


def _never_changes(value: Any) -> bool:
    """Whether a value is a text, a number or a list of these: what a context says changes."""
    if isinstance(value, tuple):
        return all(map(_never_changes, value))
    return value is None or isinstance(value, str | int | float)


def _note_late(
    late: Late,
    places: Sequence[Span],
    plan: CompletionConstraint[Compute],
    frame: ActiveFrame,
    constraint: Constraint,
) -> None:
    """Notes which conditions, of those whose languages become known in the run, masks do not
    follow, or not all the way."""
    for place, of in plan.parts:
        if place in places and place not in late:
            language = of(frame)
            why = why_unfollowed(language)
            parts = () if why else parts_left_out(language)
            if why or parts:
                late[place] = bool(why), why or ", ".join(dict.fromkeys(parts))
    if late.keys().isdisjoint(places):  # each is followed, and together they are too much
        late[places[-1]] = False, ", ".join(dict.fromkeys(constraint.left_out))


def prefix_mask(particle: RunningParticle, op: DrawOp, d: TokenDistribution) -> Mask | None:
    """(V,) the tokens after which the drawn context's text so far is in the language of the plan's
    prefix constraint; None where it has none, or no small automaton knows."""
    plan = op.plan.prefix if op.plan is not None else None
    if plan is None or not isinstance(d, ContextRef):
        return None
    masks = masks_so_far(particle, op, plan, d)
    if masks is None:
        return None
    mask = None if masks.of_all is None else _prefix_mask(particle, masks.of_all, d)
    if masks.going_on is None:
        return mask
    spared = _spared(_prefix_mask(particle, masks.going_on, d), particle.vocabulary(d))
    return spared if mask is None else mask & spared


def prefix_ahead(particle: RunningParticle, op: DrawOp, d: TokenDistribution) -> TextAhead | None:
    """What a draw looks ahead by whose context's text must be in the language of the plan's prefix
    constraint after each token; None where it has none, or no small automaton knows."""
    plan = op.plan.prefix if op.plan is not None else None
    if plan is None or not isinstance(d, ContextRef):
        return None
    c = particle.contexts[d.index]
    masks = masks_so_far(particle, op, plan, d)
    if masks is None:
        return None
    length = c.node.length - c.start
    stop = None if plan.stop is None else plan.stop(particle.frames[-1])
    return TextAhead(masks, c.node.tokens_from(c.start), tokens_left(stop, length))


def words_ahead(
    particle: RunningParticle, op: DrawOp, d: TokenDistribution | Continues
) -> TextAhead | None:
    """What a draw of a word looks ahead by, or of whether it goes on; None where what should say
    the language of all words fails."""
    ref = d.context if isinstance(d, Continues) else d
    plan = op.plan.words if op.plan is not None else None
    if plan is None or not isinstance(ref, ContextRef):
        return None
    frame = particle.frames[-1]
    try:
        language = plan.language(frame)
    except Fault:
        return None
    assert isinstance(language, Language)
    words = drawn_words(language, particle.vocabulary(ref))
    c, left = particle.contexts[ref.index], words.tokens_left
    return TextAhead(words, c.node.tokens_from(c.start + frame.slots[plan.origin]), left, left)


def masks_so_far(
    particle: RunningParticle, op: DrawOp, plan: PrefixConstraint[Compute], d: ContextRef
) -> SoFar | None:
    """The masks of a plan, made once for the values that it reads; None as in `prefix_mask`."""
    frame, vocabulary = particle.frames[-1], particle.vocabulary(d)
    key = (vocabulary.fingerprint, *[state_key(frame.slots[s]) for s in plan.reads])
    try:
        return op.prefix_masks[key]
    except KeyError:
        made = _masks_of_plan(frame, plan, vocabulary)
        return remember(op.prefix_masks, key, made, LANGUAGES)


def prefix_masks_of_parts(
    particle: RunningParticle, plan: PrefixConstraint[Compute], d: TokenDistribution
) -> list[tuple[Span, Mask | None]]:
    """What each condition's own language allows, as `prefix_mask`."""
    assert isinstance(d, ContextRef)
    frame, vocabulary = particle.frames[-1], particle.vocabulary(d)
    result: list[tuple[Span, Mask | None]] = []
    for parts, spares in ((plan.parts, False), (plan.going_on, True)):
        for place, of in parts:
            masks = _regular_masks([of(frame)], vocabulary)
            mask = None if masks is None else _prefix_mask(particle, masks, d)
            if mask is not None and spares:
                mask = _spared(mask, vocabulary)
            result.append((place, mask))
    return result


def _masks_of_plan(
    frame: ActiveFrame, plan: PrefixConstraint[Compute], vocabulary: Vocabulary
) -> SoFar | None:
    """The masks of a plan; None where an automaton is not small, or the languages fail: the
    conditions themselves will say so."""
    try:
        groups = [[of(frame) for _, of in parts] for parts in (plan.parts, plan.going_on)]
        over = Either(tuple(of(frame) for _, of in plan.over))
    except Fault:
        return None
    of_all, going_on = (_regular_masks(group, vocabulary) for group in groups)
    if (groups[0] and of_all is None) or (groups[1] and going_on is None):
        return None
    ended = regular_masks(over, vocabulary) if over.parts else None
    return SoFar(of_all, going_on, ended)


def _regular_masks(languages: list[Language], vocabulary: Vocabulary) -> RegularMasks | None:
    if not languages:
        return None
    one = languages[0] if len(languages) == 1 else Both(tuple(languages))
    return regular_masks(one, vocabulary)


def _spared(mask: Mask, vocabulary: Vocabulary) -> Mask:
    """The mask with the ends, of which it does not speak."""
    spared = mask.copy()
    spared[list(vocabulary.ends)] = True
    return spared


def _prefix_mask(particle: RunningParticle, masks: RegularMasks, d: ContextRef) -> Mask:
    c = particle.contexts[d.index]
    return masks.prefix_mask(masks.position_at(c.node, c.start))
