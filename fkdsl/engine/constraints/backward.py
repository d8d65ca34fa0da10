"""How likely a text is to be completed within a constraint, by a surrogate of the model's future.

The surrogate is a hidden Markov model over tokens (fkdsl.models.surrogate): z emits the next token.
Of a text at state s of the constraint's automaton, after which l more tokens may be drawn,

    M_0(z, s) = 1[s accepts]
    M_l(z, s) = sum_x B(z, x) ( 1[s accepts] where x is an end, else (A M_{l-1})(z, delta(s, x)) )

is the probability that it is completed. Tokens that do the same from every state are summed once,
so a step costs H times the pairs of a state and one that a token leads to. Then

    h(x) = P(completed | prefix, x) = [b . (B[:, x] * (A M_l)[:, delta(s, x)])] / [b . B[:, x]]

with b the belief about the hidden state, l the tokens that may follow x, and h = 1[s accepts] for
an end (Ctrl-G, Zhang et al. 2024, arXiv 2406.13892, section 3). A state from which every text is in
the language, as after `until`, has M = 1. Where a text must be in the language after each token, as
by conditions in a loop of draws, M = 0 at the states that do not accept, and 1 after any end.
Unfinished characters are estimated
(RegularMasks.onward): h is a guess in any case, and whoever uses it makes up for it in a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check
from fkdsl.base.locks import in_turn
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.automaton import DEAD, Automaton
from fkdsl.engine.constraints.message_steps import MessageSteps, kept_numbers, product
from fkdsl.engine.constraints.regular import Position, RegularMasks
from fkdsl.engine.constraints.tokens import Ints
from fkdsl.models.surrogate.model import Surrogate

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Averages = NDArray[np.float32]
Belief = NDArray[np.float32] | NDArray[np.float64]
"""(H,) a law of the hidden state that emits the next token; (m, H) of several texts."""
MOST_NUMBERS = 20_000_000
"""Numbers of eight bytes that may be kept of the messages of one constraint."""
MOST_PRODUCTS = 2_500_000_000
"""Products that the messages of one constraint may be sums of, for all of its ways: pairs of a
state and one that a token leads to, and the transitions of hidden states, times hidden states times
tokens. They take three or four seconds of one core."""
FASTER = 64
"""How many products of a matrix take as long as one of a pair."""
ROWS = 128
"""Tokens whose h is computed at a time."""
NEAR_NOTHING, SMALL = 1e-14, -50
"""The largest h of a text, and its power of two, below which this is left out of all of them."""
KEPT_STATES, FEW_PAIRS = 64, 64
"""States of the automaton whose products are kept, and pairs of one up to which they are."""


def why_not(masks: RegularMasks, surrogate: Surrogate, tokens_left: int) -> str:
    """Why no messages are computed for a constraint; "" where they are."""
    size = masks.automaton.size
    if masks.distances() is None:
        return f"an automaton of {size:,} states or more is too large"
    if numbers(masks, surrogate, tokens_left) > MOST_NUMBERS:
        return too_many(size, tokens_left)
    return ""


def too_many(states: int, tokens_left: int) -> str:
    """Why no messages are computed where these are too many."""
    return f"an automaton of {states:,} states and {tokens_left + 1} tokens are too many"


def products(masks: RegularMasks, surrogate: Surrogate, tokens_left: int) -> int:
    """How many products the messages of a constraint are sums of."""
    of_transition = masks.automaton.size * surrogate.states // FASTER
    return (masks.steps + of_transition) * surrogate.states * tokens_left


def numbers(masks: RegularMasks, surrogate: Surrogate, tokens_left: int) -> int:
    """How many numbers of eight bytes are kept of the messages of a constraint."""
    return kept_numbers((masks.automaton.size + 1) * surrogate.states, tokens_left)


@dataclass(frozen=True, eq=False)
class Way:
    """A way in which a text may end. masks: of the texts that do. by_end: whether only an end
    completes them, and not the budget. each_token: whether the text must be in the language after
    each token that is no end, and not only when it ends. structured: whether a schema or grammar is
    in it."""

    masks: RegularMasks
    by_end: bool = False
    each_token: bool = False
    structured: bool = False


def why_no_messages(ways: Sequence[Way], surrogate: Surrogate, tokens_left: int) -> str:
    """Why none are computed for the ways of a constraint; "" where they are."""
    for way in ways:
        if reason := why_not(way.masks, surrogate, tokens_left):
            return reason
    if sum(products(way.masks, surrogate, tokens_left) for way in ways) > MOST_PRODUCTS:
        return too_many(max(way.masks.automaton.size for way in ways), tokens_left)
    return ""


@dataclass(frozen=True)
class _Behaviours:
    """What tokens do, those that do the same from every state together. of_token: (V,) the
    behaviour of each token. after: (S, K) the state that each behaviour leads to."""

    of_token: NDArray[np.intp]
    after: Ints


class BackwardMessages:
    """The messages of one automaton and one surrogate, made for as many tokens as are asked about.

    State S, one more than the automaton has, stands for a text that has ended in the language.
    """

    def __init__(self, way: Way, surrogate: Surrogate) -> None:
        masks, by_end, self._each_token = way.masks, way.by_end, way.each_token
        self.masks, self.surrogate = masks, surrogate
        self.by_token = surrogate.emission.T  # (V, H)
        self._transition = surrogate.transition.astype(np.float64)
        self._size = masks.automaton.size
        self._behaviours = self._find_behaviours()
        self._pairs()
        self._of_states: dict[tuple[int, int], tuple[Indices, Floats, Floats]] = {}
        self._universal = np.append(_universal(masks.automaton) & (not by_end), True)
        self._accepting = np.array(masks.automaton.accepting)
        accepting = np.append(self._accepting & (not by_end), True)
        first = np.repeat(accepting[:, None].astype(np.float64), surrogate.states, axis=1)
        self._steps = MessageSteps(first, self._one_more)  # A M_l for every l; A 1 = 1

    def _find_behaviours(self) -> _Behaviours:
        after, kinds = self.masks.onward_from_all()
        accepting = np.array(self.masks.automaton.accepting)
        after[:, -1] = np.where(accepting | self._each_token, self._size, DEAD)
        first, of_kind = _alike(after.T)
        # numpy gathers by its own type of index several times faster than by any other.
        return _Behaviours(of_kind[kinds].astype(np.intp), after[:, first])

    def _pairs(self) -> None:
        """The pairs of a state and one that tokens lead to, state by state, and how likely each
        hidden state is to emit such a token: a row of `_masses` (n, H), by its number, since many
        pairs are of the same tokens."""
        of_token, after = self._behaviours.of_token, self._behaviours.after
        n_behaviours = after.shape[1]
        order = np.argsort(of_token, kind="stable")
        starts = np.searchsorted(of_token[order], np.arange(n_behaviours))
        mass = np.add.reduceat(self.by_token[order], starts, axis=0, dtype=np.float64)  # (K, H)
        mass /= mass.sum(axis=0)
        to: list[Indices] = []
        numbers: list[int] = []
        rows: list[Floats] = []
        known: dict[bytes, int] = {}
        for q in range(self._size):
            check()
            by_state = np.argsort(after[q], kind="stable")
            states, begins = np.unique(after[q][by_state], return_index=True)
            to.append(states.astype(np.intp))
            for some in np.split(by_state, begins[1:]):
                number = known.setdefault(some.tobytes(), len(rows))
                if number == len(rows):
                    rows.append(mass[some].sum(axis=0))
                numbers.append(number)
        self._begins = np.cumsum([0, *map(len, to)])
        self._to, self._masses = np.concatenate(to), np.stack(rows)
        self._weights = np.array(numbers, dtype=np.intp)

    def _of(self, state: int) -> slice:
        """The pairs of a state."""
        return slice(self._begins[state], self._begins[state + 1])

    def _weights_of(self, state: int) -> Floats:
        """(n, H) how likely each hidden state emits a token of each pair of a state."""
        return self._masses.take(self._weights[self._of(state)], axis=0)

    @property
    def behaviours(self) -> int:
        """K, the number of different things that a token can do."""
        return int(self._behaviours.after.shape[1])

    def moved(self, tokens_left: int) -> Floats:
        """(S + 1, H): A M_l, from the hidden state that emitted the last token on. One thread at a
        time makes them, which may take seconds."""
        return in_turn(self, self._steps.at, tokens_left)

    def _one_more(self, fewer: Floats, tokens_left: int) -> Floats:
        """A M_l of A M_{l-1}."""
        distances = self.masks.distances()
        assert distances is not None
        messages = np.zeros((self._size, self.surrogate.states))
        for q in np.flatnonzero(distances <= tokens_left).tolist():
            # Of a state at a time: what is gathered stays in the processor's caches.
            after = fewer.take(self._to[self._of(q)], axis=0)
            np.einsum("ph,ph->h", after, self._weights_of(q), out=messages[q])
        moved = np.ones_like(fewer)
        moved[:-1] = product(messages, self._transition.T)
        moved[self._universal], moved[DEAD] = 1.0, 0.0
        if self._each_token:
            moved[:-1][~self._accepting] = 0.0
        return moved

    def expected(self, tokens: int) -> float:
        """The probability that a text of at most so many tokens, of which nothing is known before
        it, is completed."""
        start = self.masks.position(())[0]
        if self._each_token and tokens:  # nothing is asked before the first
            return self.before(self.surrogate.stationary, (start, b""), tokens - 1)
        return float(self.surrogate.stationary @ self.moved(tokens)[start])

    # ------------------------------------------------------------- of a draw

    def before(self, belief: Belief, position: Position, tokens_left: int) -> float:
        """The probability that a text at a position is completed, the next token, after which so
        many may follow, not being known. Of a text in the midst of a character it is an estimate:
        that after an average token of the vocabulary."""
        moved, (state, pending) = self.moved(tokens_left), position
        if pending:
            return float((moved[self.states_after(position, None)] @ belief).mean())
        met = (self._weights_of(state) * moved[self._to[self._of(state)]]) @ belief
        return float(np.clip(met.sum() / belief.sum(), 0.0, 1.0))

    def of_tokens(
        self,
        beliefs: Belief,
        positions: Sequence[Position],
        tokens_left: int,
        texts: NDArray[np.intp],
        ids: NDArray[np.int64],
    ) -> Floats:
        """(n,) h of tokens, each after one of m texts. beliefs: (m, H) and positions: of the texts.
        tokens_left: how many may follow. texts, ids: (n,) each token, and the text that it follows.
        Where the surrogate holds a token to be impossible, as `averages` has it.

        A number depends, to its last bit, on its own token and text alone, here and in `averages`.
        """
        moved, after = self.moved(tokens_left), self._states_after(positions, texts, ids)
        h = np.empty(len(ids))
        for begin in range(0, len(ids), ROWS):  # what is gathered stays in the processor's caches
            some = slice(begin, begin + ROWS)
            belief, reached = beliefs[texts[some]], moved[after[some]]  # (ROWS, H)
            joint = (self.by_token[ids[some]] * belief).astype(np.float64)
            met, total = np.einsum("nh,nh->n", joint, reached), joint.sum(axis=1)
            h[some] = _ratios(met, total, partial(_products, "nh,nh->n", reached, belief))
        return h

    def _states_after(
        self, positions: Sequence[Position], texts: NDArray[np.intp], ids: NDArray[np.int64]
    ) -> Ints:
        """(n,) the state after each token that follows one of the texts."""
        states = np.array([state for state, _ in positions])
        after: Ints = self._behaviours.after[states[texts], self._behaviours.of_token[ids]]
        for j, position in enumerate(positions):
            if position[1]:
                here = texts == j
                after[here] = self.states_after(position, ids[here])
        return after

    def averages(
        self, beliefs: Belief, positions: Sequence[Position], tokens_left: int
    ) -> tuple[Averages, Ints]:
        """((m, V) h of every token after each of m texts, averaged over those that lead to the same
        state, (m,) the power of two that a text's are to be multiplied with, where the largest is
        near what float32 can tell from zero). beliefs: (m, H) and positions: of the texts."""
        moved = self.moved(tokens_left)
        averages = np.empty((len(positions), len(self.by_token)), dtype=np.float32)
        exponents = np.zeros(len(positions), dtype=np.int32)
        alike: dict[int, list[int]] = {}
        for j, (state, pending) in enumerate(positions):
            if pending:
                of_state, (exponents[j],) = scaled(np.clip(moved @ beliefs[j], 0.0, 1.0)[None])
                averages[j] = of_state[0].take(self.states_after(positions[j], None))
            else:
                alike.setdefault(state, []).append(j)
        for state, texts in alike.items():
            to, weights, joint = self._of_state(state, tokens_left)
            belief, pairs = beliefs[texts], "kh,jh->jk"
            met, total = _products(pairs, joint, belief), _products(pairs, weights, belief)
            h = _ratios(met, total, partial(_products, pairs, moved[to], belief))
            of_states = np.zeros((len(texts), self._size + 1), dtype=np.float32)
            of_states[:, to], exponents[texts] = scaled(h)
            of_behaviours = of_states[:, self._behaviours.after[state]]
            averages[texts] = of_behaviours.take(self._behaviours.of_token, axis=1)
        return averages, exponents

    def _of_state(self, state: int, tokens_left: int) -> tuple[Indices, Floats, Floats]:
        """The pairs of a state: where they lead (n,), how likely each hidden state emits such a
        token (n, H), and that it does so and the text is completed (n, H). The last few are kept,
        since particles often are where others are."""
        made = self._of_states.get((state, tokens_left))
        if made is None:
            to, weights = self._to[self._of(state)], self._weights_of(state)
            made = to, weights, weights * self.moved(tokens_left)[to]
            if len(self._of_states) >= KEPT_STATES:
                self._of_states.clear()
            if len(to) <= FEW_PAIRS:
                self._of_states[state, tokens_left] = made
        return made

    def states_after(self, position: Position, ids: NDArray[np.int64] | None) -> Ints:
        """The state after each of these tokens, or of all; S after an end at which the text is in
        the language."""
        state, pending = position
        if not pending:
            of_token = self._behaviours.of_token
            states: Ints = self._behaviours.after[state][of_token if ids is None else of_token[ids]]
            return states
        states = self.masks.onward(position)
        ended = self._size if self._each_token or self.masks.accepts(position) else DEAD
        states[list(self.masks.vocabulary.ends)] = ended
        return states if ids is None else states[ids]


def _alike(rows: Ints) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(the first of the rows that are equal, of which of these each row is)."""
    known: dict[bytes, int] = {}
    of_row = [known.setdefault(row.tobytes(), len(known)) for row in rows]
    _, first = np.unique(of_row, return_index=True)
    return first, np.array(of_row, dtype=np.intp)


def scaled(h: Floats) -> tuple[Floats, Ints]:
    """(h (m, n) without a power of two of each row, these powers (m,)): 0 but for a row whose
    largest is near what float32 can tell from zero."""
    largest = h.max(axis=1, initial=0.0)
    if largest.min(initial=1.0) >= NEAR_NOTHING:
        return h, np.zeros(len(h), dtype=np.int32)
    _, exponents = np.frexp(largest)
    exponents = np.where(exponents < SMALL, exponents, 0).astype(np.int32)
    return (np.ldexp(h, -exponents[:, None]) if exponents.any() else h), exponents


def _products(axes: str, of_states: Floats, belief: Belief) -> Floats:
    """Sums over hidden states, each of them by itself, which a product of matrices does not
    promise."""
    sums: Floats = np.einsum(axes, of_states, belief.astype(np.float64))
    return sums


def _ratios(met: Floats, total: Floats, otherwise: Callable[[], Floats]) -> Floats:
    """met / total within [0, 1], and what `otherwise` gives where the total is zero."""
    possible = total > 0.0
    if possible.all():
        h = met / total
    else:
        h = np.divide(met, total, out=otherwise(), where=possible)
    within: Floats = np.minimum(np.maximum(h, 0.0), 1.0)
    return within


def _universal(automaton: Automaton) -> NDArray[np.bool_]:
    """(S,) the states from which every text is in the language."""
    universal = np.array(automaton.accepting, dtype=np.bool_)
    symbols = np.setdiff1d(np.arange(automaton.partition.size), automaton.impossible)
    table = automaton.table[: automaton.size][:, symbols]
    while True:
        fewer = universal & universal[table].all(axis=1)
        if (fewer == universal).all():
            return universal
        universal = fewer
