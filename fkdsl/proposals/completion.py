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
from typing import Any, NamedTuple

import numpy as np

from fkdsl.base.kept import kept
from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import Context
from fkdsl.engine.constraints.backward import (
    MOST_NUMBERS,
    BackwardMessages,
    Belief,
    Way,
    numbers,
    why_not,
)
from fkdsl.engine.constraints.constraint import Constraint, Future
from fkdsl.engine.constraints.futures import SoFar, futures
from fkdsl.engine.constraints.tokens_left import of_whole
from fkdsl.machine.particle import RunningParticle
from fkdsl.models.surrogate.model import WINDOW, Array, Surrogate
from fkdsl.proposals.outcomes import Outcomes, TokenOutcomes
from fkdsl.proposals.text_masks import Ahead
from fkdsl.proposals.trust import CAUTION, Drifts, trusted_power
from fkdsl.values.values import ContextRef

FLOOR = 1e-3
"""The least h of a token, as a share of the mean under p: what the surrogate holds to be all but
impossible is still drawn now and then, at a weight of at most so many times the mean."""
POWER = 0.75
"""b of runs at most. A surrogate knows less of a text than the model, so it holds what will come
anyway to be less likely than it is, and hurries to what completes the text at once; a power below 1
trusts it less (figures: docs/lookahead.md)."""
LIKELY = 5e-4
"""Share of the probability from which on a token's h is computed for itself. The others share the
average of those that lead to the same state of the automaton."""
FEW_TOKENS = 64
"""Where at most so many tokens are possible, each has its own."""
TABLES, TOTAL = 16, 2 * MOST_NUMBERS
"""Constraints whose messages are kept, and numbers that these are together. Where a population has
more at once, as of particles that each have a language of their own, none looks ahead: messages
would be made anew at every token."""
BELIEFS = 1024
TILTS = 32
"""Tilts that are kept for other particles in the same state."""
ENOUGH = 0.5
"""The probability of being met, as the surrogate expects it before the text, from which on a
constraint needs no look-ahead: little is lost by dying so seldom."""
LEAST = 1e-300
"""The least h before a text."""
OWNER = "completion"
"""Whose guess it is that a particle weighs h."""
Asked = Constraint | SoFar
Messages = tuple[BackwardMessages, ...]
"""Those of each way in which a text may end: their probabilities add up."""


KEPT_NUMBERS, KEPT_MESSAGES = 1 << 20, 8
"""Numbers up to which the messages of a constraint are kept from run to run, and how many such."""


@kept(KEPT_MESSAGES, lambda made: 1, KEPT_MESSAGES)
def kept_messages(way: Way, surrogate: Surrogate) -> BackwardMessages:
    """Those of one automaton and one surrogate, made once in a process."""
    return BackwardMessages(way, surrogate)


class Tilt(NamedTuple):
    """h: (n,) of each outcome, relative to the largest, so in (0, 1]. log_scale: the log of the
    largest, nats; of both, the power is taken already. power: b. log_h_0: of a text's first token,
    the log of the h before it, nats, of which no power is taken; None of a later token."""

    h: Floats
    log_scale: float
    power: float
    log_h_0: float | None = None

    def log_h(self, i: int) -> float:
        """log h(i)^b, nats; at most 0."""
        return self.log_scale + math.log(self.h[i])


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
    _messages: OrderedDict[tuple[str, int, int], tuple[Constraint | SoFar, Messages | None]] = (
        field(default_factory=OrderedDict)
    )
    _sizes: dict[tuple[str, int, int], int] = field(default_factory=dict)
    _crowded: bool = False
    _beliefs: dict[tuple[str, tuple[int, ...]], Array] = field(default_factory=dict)
    _tilts: dict[Hashable, tuple[Outcomes, Tilt, float]] = field(default_factory=dict)
    _windows: dict[Context, tuple[int, ...]] = field(default_factory=dict)

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
        self._windows.clear()
        wanted: dict[str, dict[tuple[int, ...], None]] = {}
        sizes: dict[int, int] = {}
        for particle, d, text in draws:
            if isinstance(d, ContextRef) and text.tokens_left is not None:
                c = particle.contexts[d.index]
                if c.model in self.surrogates:
                    sizes[id(text.constraint)] = self._numbers(c.model, text)
                    window = self._windows[c.node] = _window(c.node)
                    if (c.model, window) not in self._beliefs:
                        wanted.setdefault(c.model, {})[window] = None
        if sizes:
            self._crowded = len(sizes) > TABLES or sum(sizes.values()) > TOTAL
        if len(self._beliefs) + sum(map(len, wanted.values())) > BELIEFS:
            self._beliefs.clear()
        for model, windows in wanted.items():
            beliefs = self.surrogates[model].beliefs(list(windows))
            self._beliefs.update(
                ((model, window), b) for window, b in zip(windows, beliefs, strict=True)
            )

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
        self.draws += counted
        if not isinstance(d, ContextRef) or not isinstance(outcomes, TokenOutcomes):
            return None
        messages = self._messages_of(particle.contexts[d.index].model, text)
        if messages is None:
            return None
        self.tilted += counted
        # Particles in one state have one tilt. The entry keeps the arrays that its key tells apart.
        key = (
            particle.contexts[d.index].node,
            (id(text.constraint), len(text.ids), text.tokens_left),
            (particle.power, particle.guesses.get(OWNER)),
            (id(outcomes.row), id(outcomes.mask)),
        )
        if len(self._tilts) >= TILTS:
            self._tilts.clear()
        if key not in self._tilts:
            self._tilts[key] = outcomes, *self._tilt(particle, d, text, outcomes, messages)
        _, tilt, drift = self._tilts[key]
        if counted and not math.isnan(drift):
            self.drifts.add(id(text.constraint), drift)
        return tilt

    def _tilt(
        self,
        particle: RunningParticle,
        d: ContextRef,
        text: Ahead,
        outcomes: TokenOutcomes,
        messages: Messages,
    ) -> tuple[Tilt, float]:
        """The tilt, and what h was wrong by, nats; NaN where nothing says so."""
        belief, p = self._belief(particle, d, outcomes.row), outcomes.p
        h = sum(_h(way, belief, text, outcomes) for way in messages)
        if len(messages) > 1:  # rounding
            h = np.minimum(h, 1.0)
        log_before, power = particle.guesses.get(OWNER), particle.power if text.ids else None
        log_h_0 = None
        if power is None:
            log_h_0 = _log_h_0(messages, belief, text)
            power = trusted_power(p, h, log_h_0, self.power, self.caution)
            log_before = log_h_0 * power
        if power != 1.0:
            h = h**power
        mass = float(p.sum())
        mean = float(p @ h) / mass if mass > 0.0 else 0.0
        if not mean > 0.0:  # nothing is known: the weight stays where it was
            held = particle.guesses.get(OWNER, 0.0)
            return Tilt(np.ones_like(h), held, power, log_h_0), math.nan
        h = np.maximum(h, self.floor * mean)
        largest = float(h.max())
        drift = math.nan if log_before is None else math.log(float(p @ h)) - log_before
        return Tilt(h / largest, math.log(largest), power, log_h_0), drift

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
        make = kept_messages if self._sizes[key] <= KEPT_NUMBERS else BackwardMessages
        messages: Messages | None = tuple(make(way, surrogate) for way in ways)
        if self.enough < 1.0:
            expected = math.fsum(way.expected(whole) for way in messages or ())
            messages = messages if expected < self.enough else None
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
            found = [why_not(way.masks, self.surrogates[model], whole) for way in ways]
            if not any(found):
                return ways, ""
            reasons += filter(None, found)
        return (), reasons[-1]

    def _belief(self, particle: RunningParticle, d: ContextRef, row: Floats) -> Belief:
        """The law of the hidden state that emits the next token: the filter's, and where there is a
        head what it makes of that and of the row that is drawn from."""
        c = particle.contexts[d.index]
        surrogate, window = self.surrogates[c.model], self._windows.get(c.node)
        key = (c.model, _window(c.node) if window is None else window)
        if key not in self._beliefs:
            self._beliefs[key] = surrogate.beliefs([key[1]])[0]
        filtered = self._beliefs[key]
        if surrogate.head is None:
            return filtered
        return surrogate.head.belief(row, filtered)


def look_ahead(particle: RunningParticle, log_h: float, power: float | None = None) -> None:
    """Weighs a particle by the h^b of its last draw, nats, in the place of that of the one before;
    0 where the last draw looks no further ahead. power: b."""
    particle.power = power
    if log_h != 0.0 or OWNER in particle.guesses:
        particle.guess(OWNER, log_h)


def _whole(text: Ahead) -> int:
    """The most tokens of the text as a whole."""
    assert text.tokens_left is not None
    return of_whole(text.tokens_left, text.ids)


def _window(node: Context) -> tuple[int, ...]:
    """The tokens of a context that a belief depends on: one more than the window of a longer text,
    which begins otherwise."""
    tokens = node.tokens_from(max(0, node.length - WINDOW - 1))
    return tuple(i for i in tokens if i >= 0)  # a surrogate knows no attachments


def _log_h_0(messages: Messages, belief: Belief, text: Ahead) -> float:
    """log h before the next token is known, nats."""
    assert text.tokens_left is not None
    h = sum(way.before(belief, way.masks.position(text.ids), text.tokens_left) for way in messages)
    return math.log(min(max(h, LEAST), 1.0))


def _h(
    messages: BackwardMessages,
    belief: Belief,
    text: Ahead,
    outcomes: TokenOutcomes,
) -> Any:
    """(n,) h of each outcome."""
    assert text.tokens_left is not None
    position, ids, p = messages.masks.position(text.ids), outcomes.ids, outcomes.p
    h: Any
    if np.count_nonzero(p > 0.0) <= FEW_TOKENS:  # faster than of p itself
        h, likely = np.zeros(len(p)), p.nonzero()[0]
    else:
        averages = messages.averages(belief, position, text.tokens_left)
        h = averages if ids is None else averages[ids]
        likely = np.flatnonzero(p > LIKELY * p.sum())
    of_likely = likely if ids is None else ids[likely]
    h[likely] = messages.of_tokens(belief, position, text.tokens_left, of_likely)
    return h
