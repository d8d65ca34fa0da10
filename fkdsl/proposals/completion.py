"""Looking ahead to the end of a text: how likely each token leads to one in a constraint's
language, by a surrogate of the model's future (engine/constraints/backward.py).

With h(i) that probability and b the power, a draw of a constrained text uses it in two ways, both
exact for every h > 0:

    proposal    i ~ p e h^b, its weight divided by h(i)^b                  (tilted.py)
    twist       the particle weighs h(i)^b more, until its next draw       (RunningParticle.guess)

With both, the weight of a draw is A' / h^b, A' = sum p e h^b and h of the draw before: were the
surrogate the model, A' = h, and every particle would weigh the same. How far A' is from h says how
far it is to be trusted (trust.py): a text chooses its b at its first token.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from fkdsl.base.kept import kept
from fkdsl.base.locks import taking_turns
from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.backward import (
    MOST_NUMBERS,
    BackwardMessages,
    Way,
    numbers,
    why_no_messages,
)
from fkdsl.engine.constraints.constraint import Constraint, Future
from fkdsl.engine.constraints.futures import Watched, futures
from fkdsl.engine.constraints.tokens_left import of_whole
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import TextGuess
from fkdsl.models.surrogate.model import Array, Surrogate
from fkdsl.proposals.filtering import belief_at, filter_texts
from fkdsl.proposals.outcomes import ContinuesOutcomes, Outcomes, TokenOutcomes
from fkdsl.proposals.text_masks import Ahead, TextAhead
from fkdsl.proposals.tilts import LEAST, Guided, Messages, Tilt, TiltSettings, tilts_of
from fkdsl.proposals.trust import CAUTION, Drifts
from fkdsl.values.token_distributions import Continues, mask_following
from fkdsl.values.values import ContextRef

FLOOR = 1e-3
"""The least h of a token, as a share of the mean under p: what the surrogate holds to be all but
impossible is still drawn now and then, at a weight of at most so many times the mean."""
POWER = 0.75
"""b of runs at most. A surrogate knows less of a text than the model, so it holds what will come
anyway to be less likely than it is, and hurries to what completes the text at once; a power below 1
trusts it less (figures: docs/lookahead.md)."""
TABLES, TOTAL = 16, 2 * MOST_NUMBERS
"""Constraints whose messages are kept, and numbers that these are together. Where a population has
more at once, as of particles that each have a language of their own, none looks ahead: messages
would be made anew at every token."""
TILTS = 32
"""Tilts that are kept for other particles in the same state."""
ENOUGH = 0.5
"""The probability of being met, as the surrogate expects it before the text, from which on a
constraint needs no look-ahead: little is lost by dying so seldom."""
ENOUGH_OF_WORDS = 0.8
"""The same of words that are drawn one by one: those that die have cost trials, too, and are not
replaced before the next checkpoint."""
OWNER = "completion"
"""Whose guess it is that a particle weighs h."""
Asked = Constraint | Watched
Tiltable = tuple[RunningParticle, ContextRef, Ahead, TokenOutcomes]
"""A particle, the distribution that it draws a constrained text from, the constraint, and what may
come."""

KEPT_NUMBERS, KEPT_MESSAGES = 1 << 21, 8
"""Numbers up to which the messages of a constraint are kept from run to run, and how many such."""


@kept(KEPT_MESSAGES, lambda made: 1, KEPT_MESSAGES)
def kept_messages(way: Way, surrogate: Surrogate) -> BackwardMessages:
    """Those of one automaton and one surrogate, made once in a process."""
    return used_messages(way, surrogate)


_USED: WeakValueDictionary[tuple[Way, Surrogate], BackwardMessages] = WeakValueDictionary()


def used_messages(way: Way, surrogate: Surrogate) -> BackwardMessages:
    """Those that a run has which is still going on, or new ones: a pilot's are its run's."""
    with taking_turns(surrogate):  # to make them may take a second
        messages = _USED.get((way, surrogate))
        if messages is None:
            messages = _USED[way, surrogate] = BackwardMessages(way, surrogate)
        return messages


@dataclass
class CompletionLookahead:
    """A run's look-ahead by surrogates.

    surrogates: by the program's names of its models. proposal, twist: what h is used for. power: b
    at most. floor: see FLOOR. enough: as ENOUGH; 1 to look ahead in any case. caution: as CAUTION;
    inf for a b that is `power` always. is_rough: whether the surrogate of a model is not to be
    asked of schemas and grammars. draws, tilted: how many draws of constrained texts there were,
    and how many of them looked ahead. left_out: why others did not. drifts: what h was wrong by.
    """

    surrogates: Mapping[str, Surrogate]
    proposal: bool = True
    twist: bool = True
    power: float = 1.0
    floor: float = FLOOR
    enough: float = 1.0
    caution: float = CAUTION
    is_rough: Callable[[str], bool] = lambda model: False
    draws: int = 0
    tilted: int = 0
    left_out: dict[str, None] = field(default_factory=dict)
    drifts: Drifts = field(default_factory=Drifts)
    _messages: OrderedDict[tuple[str, int, int], tuple[Asked, Messages | None]] = field(
        default_factory=OrderedDict
    )
    _sizes: dict[tuple[str, int, int], int] = field(default_factory=dict)
    _crowded: bool = False
    _tilts: dict[Hashable, tuple[Outcomes, Tilt, float]] = field(default_factory=dict)

    def proposes(self, particle: RunningParticle) -> bool:
        """Whether a particle's draws are tilted."""
        return self.proposal

    def twists(self, particle: RunningParticle) -> bool:
        """Whether a particle weighs the h of its last draw."""
        return self.twist

    def drawn(self, particle: RunningParticle, outcomes: Outcomes, tilt: Tilt, i: int) -> None:
        """Is told of outcome i of a draw, whose tilt it has made."""

    def prepare(self, draws: Sequence[tuple[RunningParticle, Any, Ahead]]) -> None:
        """Filters the texts of a population together. draws: particles, each with the distribution
        that it draws a constrained text from, and the constraint."""
        self._tilts.clear()
        wanted: dict[str, list[tuple[Context, int]]] = {}
        sizes: dict[int, int] = {}
        for particle, d, text in draws:
            ref = _context_of(d)
            if ref is not None and text.tokens_left is not None:
                c = particle.contexts[ref.index]
                if c.model in self.surrogates:
                    if id(text.constraint) not in sizes:
                        sizes[id(text.constraint)] = self._numbers(c.model, text)
                    wanted.setdefault(c.model, []).append((c.node, _begins(c.node, text)))
        if sizes:
            self._crowded = len(sizes) > TABLES or sum(sizes.values()) > TOTAL
        for model, texts in wanted.items():
            filter_texts(self.surrogates[model], texts)

    def tilt(
        self,
        particle: RunningParticle,
        d: Any,
        text: Ahead,
        outcomes: Outcomes,
        counted: bool = True,
    ) -> Tilt | None:
        """h of the outcomes of a draw; None where there is nothing to look ahead by. counted:
        whether it is a draw of the run's, and not of a drafter's."""
        if isinstance(d, Continues) and isinstance(outcomes, ContinuesOutcomes):
            return self._tilt_of_parts(particle, d.context, text, outcomes, counted)
        if not isinstance(d, ContextRef) or not isinstance(outcomes, TokenOutcomes):
            self.draws += counted
            return None
        # The sums of p itself are then those that are drawn by, also where an equal draw's tilt is
        # at hand: the draw is the same whichever were made before it.
        _ = outcomes.p
        return self.tilts([(particle, d, text, outcomes)], counted)[0]

    def _tilt_of_parts(
        self,
        particle: RunningParticle,
        ref: ContextRef,
        text: Ahead,
        outcomes: ContinuesOutcomes,
        counted: bool,
    ) -> Tilt | None:
        """h of whether a word goes on: the mean of h over the tokens with which it does, and over
        the others, by the row from which the next token will be drawn."""
        c, vocabulary = particle.contexts[ref.index], particle.vocabulary(ref)
        if c.done or c.pending is not None or c.node not in particle.rows:
            self.draws += counted
            return None
        row = np.asarray(particle.rows[c.node])
        tokens = TokenOutcomes(row, (ref,), vocabulary)
        tilt = self.tilt(particle, ref, text, tokens, counted)
        if tilt is None:
            return None
        h = np.ones(2)
        for goes_on in (False, True):
            p = tokens.p * mask_following(vocabulary, goes_on)
            mass = float(p.sum())
            if mass > 0.0:
                h[int(goes_on)] = max(float(p @ tilt.h) / mass, LEAST)
        possible = outcomes.p > 0.0
        largest = float(h[possible].max()) if possible.any() else 1.0
        log_scale = min(tilt.log_scale + math.log(largest), 0.0)
        return Tilt(np.minimum(h / largest, 1.0), log_scale, tilt.power)

    def tilts(self, draws: Sequence[Tiltable], counted: bool = True) -> list[Tilt | None]:
        """`tilt` of several draws, made together. Draws of particles in one state have one."""
        self.draws += counted * len(draws)
        keys: list[Hashable] = []
        missing: dict[Hashable, tuple[TokenOutcomes, Guided]] = {}
        for particle, d, text, outcomes in draws:
            c = particle.contexts[d.index]
            messages = self._messages_of(c.model, text)
            if messages is None:
                keys.append(None)
                continue
            # The entry keeps the arrays that its key tells apart.
            key: Hashable = (
                c.node,
                (id(text.constraint), len(text.ids), text.tokens_left),
                c.guess,
                (id(outcomes.row), id(outcomes.mask)),
            )
            keys.append(key)
            if key not in self._tilts and key not in missing:
                assert text.tokens_left is not None
                guess = c.guess
                power = guess.power if guess is not None and text.ids else None
                held = guess.log_h if guess is not None and guess.log_h != 0.0 else None
                belief = self._belief(c.model, c.node, text, outcomes.row)
                asked = (text.ids, text.tokens_left, power, held)
                missing[key] = outcomes, Guided(outcomes, belief, messages, *asked)
        if len(self._tilts) + len(missing) > TILTS:
            self._tilts = {key: self._tilts[key] for key in keys if key in self._tilts}
        settings = TiltSettings(self.power, self.floor, self.caution)
        made = tilts_of([guided for _, guided in missing.values()], settings)
        for (key, (outcomes, _)), (tilt, drift) in zip(missing.items(), made, strict=True):
            self._tilts[key] = outcomes, tilt, drift
        return [self._count(key, draw[2], counted) for key, draw in zip(keys, draws, strict=True)]

    def _count(self, key: Hashable, text: Ahead, counted: bool) -> Tilt | None:
        """The tilt of a draw, which is counted."""
        if key is None:
            return None
        _, tilt, drift = self._tilts[key]
        self.tilted += counted
        if counted and not math.isnan(drift):
            self.drifts.add(id(text.constraint), drift)
        return tilt

    def _messages_of(self, model: str, text: Ahead) -> Messages | None:
        """The messages of a constraint; None where there are none, whose reason is kept."""
        constraint, surrogate = text.constraint, self.surrogates.get(model)
        if surrogate is None:
            return None
        if text.tokens_left is None:
            self.left_out["how many tokens are left is not known"] = None
            return None
        if self._crowded:
            self.left_out["too many different constraints at once"] = None
            return None
        # Whether to look ahead depends on the text as a whole, so that a resumed run agrees. The
        # entry keeps the constraint alive, so that no other gets its id.
        whole = _whole(text)
        key = (model, id(constraint), whole)
        if key in self._messages:
            self._messages.move_to_end(key)
            return self._messages[key][1]
        ways, reason = self._future(model, constraint, whole)
        if reason:
            self.left_out[reason] = None
            return None
        self._sizes[key] = self._numbers(model, text)
        while len(self._messages) >= TABLES or sum(self._sizes.values()) > TOTAL:
            oldest, _ = self._messages.popitem(last=False)
            del self._sizes[oldest]
        make = kept_messages if self._sizes[key] <= KEPT_NUMBERS else used_messages
        messages: Messages | None = tuple(make(way, surrogate) for way in ways)
        if self.enough < 1.0:
            expected = math.fsum(way.expected(whole) for way in messages or ())
            of_words = isinstance(text, TextAhead) and text.whole is not None
            enough = max(self.enough, ENOUGH_OF_WORDS) if of_words else self.enough
            messages = messages if expected < enough else None
        self._messages[key] = (constraint, messages)
        return messages

    def _numbers(self, model: str, text: Ahead) -> int:
        """How many numbers the messages of a constraint are; 0 where it gets none."""
        known = self._sizes.get((model, id(text.constraint), _whole(text)))
        if known is not None:
            return known
        surrogate = self.surrogates[model]
        ways, _ = self._future(model, text.constraint, _whole(text))
        return sum(numbers(way.masks, surrogate, _whole(text)) for way in ways)

    def _future(self, model: str, constraint: Asked, whole: int) -> tuple[Future, str]:
        """(the first of a constraint's futures that the surrogate knows and that is small enough
        for texts of so many tokens; why there is none, "" where there is one)."""
        reasons = ["no automaton follows the condition"]
        for ways in futures(constraint):
            if any(way.structured for way in ways) and self.is_rough(model):
                reasons.append("the surrogate is too rough for schemas and grammars")
                continue
            found = why_no_messages(ways, self.surrogates[model], whole)
            if not found:
                return ways, ""
            reasons.append(found)
        return (), reasons[-1]

    def _belief(self, model: str, node: Context, text: Ahead, row: Floats) -> Array:
        """(H,) the law of the hidden state that emits the next token: the filter's, and where there
        is a head what it makes of that and of the row that is drawn from."""
        surrogate = self.surrogates[model]
        filtered = belief_at(surrogate, node, _begins(node, text))
        return filtered if surrogate.head is None else surrogate.head.belief(row, filtered)


def look_ahead(particle: RunningParticle, drawn_from: Any, guess: TextGuess | None = None) -> None:
    """Weighs a particle by the h^b of its last draw, in the place of what it weighed for the same
    text before. drawn_from: of that draw. guess: None where it did not look ahead.

    The particle weighs the product of h^b over its texts, so where it draws from several contexts
    in turn, each keeps its own from one of its tokens to the next. A text that has missed its turn,
    since another context was drawn from twice, counts no longer; nor does one that goes on in a
    copy of its context.
    """
    contexts = particle.contexts
    ref = drawn_from if guess is None else _context_of(drawn_from)
    index = ref.index if isinstance(ref, ContextRef) else -1
    own = contexts[index].guess if index >= 0 else None
    if guess is None and own is None and OWNER not in particle.guesses:
        return
    drawn = contexts[index].node if index >= 0 else None
    if drawn is not None and drawn_from is ref:  # it has one more token
        drawn = drawn.parent
    # Draws since the same context's last one; a draw that does not look ahead has no turns.
    turn = 0 if guess is None else math.inf if own is None else own.since
    after = list(contexts)
    for i, c in enumerate(contexts):
        if i == index:
            of = guess
        else:
            of = _waiting(c.guess, -1 if c.node is drawn and c.guess == own else turn)
        if of is not c.guess:
            after[i] = c._replace(guess=of)
    particle.contexts = after
    held = dict.fromkeys((c.node, c.guess) for c in after if c.guess is not None)  # a copy is one
    total = math.fsum(of.log_h for _, of in held)
    if total != 0.0 or OWNER in particle.guesses:
        particle.guess(OWNER, total)


def _waiting(guess: TextGuess | None, turn: float) -> TextGuess | None:
    """What is held of a text after one more draw from elsewhere. turn: more draws than that since
    its last token, and it has missed its turn."""
    if guess is None or guess.log_h == 0.0:
        return guess
    return TextGuess(guess.power) if guess.since > turn else guess._replace(since=guess.since + 1)


def _context_of(d: Any) -> ContextRef | None:
    """The context from whose row a draw is made that may look ahead."""
    if type(d) is ContextRef:
        return d
    return d.context if type(d) is Continues else None


def _whole(text: Ahead) -> int:
    """The most tokens of the text as a whole that are looked ahead."""
    if isinstance(text, TextAhead) and text.whole is not None:
        return text.whole
    assert text.tokens_left is not None
    return of_whole(text.tokens_left, text.ids)


def _begins(node: Context, text: Ahead) -> int:
    """How many tokens there are before the text."""
    return node.length - len(text.ids)
