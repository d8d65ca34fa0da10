"""Masks over a vocabulary from an automaton: exact for every token, whole characters or not.

A position in a text is (state, pending): the automaton's state after the complete characters, and
the bytes of an unfinished one. Bytes that are no UTF-8 are read as U+FFFD, as everywhere in the
language.
"""

from __future__ import annotations

import codecs

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.blocks import Mask
from fkdsl.base.locks import locked
from fkdsl.engine.constraints.automaton import DEAD, Automaton
from fkdsl.engine.constraints.charsets import REPLACEMENT
from fkdsl.engine.constraints.tokens import Ints, token_tree
from fkdsl.models.vocabulary import Vocabulary

Position = tuple[int, bytes]
MEASURED = 600
"""States up to which the distance to acceptance is worked out."""
ROWS_KEPT = 256
"""Rows of next states and masks kept for each constraint; one is as long as the vocabulary."""


class RegularMasks:
    """The masks of one automaton over one vocabulary. Its lock is the automaton's, which it
    explores."""

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary) -> None:
        self.automaton, self.vocabulary, self.tree = automaton, vocabulary, token_tree(vocabulary)
        self.lock = automaton.lock
        self._symbols = automaton.partition.classes(self.tree.point)
        self._replaced = automaton.partition.classes_of(chr(REPLACEMENT))[0]
        self._next: dict[int, Ints] = {}
        self._masks: dict[tuple[Position, int | None], Mask] = {}
        self._positions: dict[tuple[int, ...], Position] = {(): (automaton.start, b"")}
        self._of_bytes: dict[bytes, Position] = {}
        self._holding: dict[Position, Mask] = {}
        self._spelt: dict[bytes, dict[str, list[int]]] = {}
        self._distances: NDArray[np.float64] | None = None
        self._groups: dict[bytes, dict[tuple[str, bytes], list[int]]] = {}
        self._alike: dict[frozenset[int], bytes] = {}
        self._pieces: tuple[set[str], set[str]] | None = None

    @property
    def is_empty(self) -> bool:
        return self.automaton.is_empty

    # ---------------------------------------------------------------- positions

    @locked
    def position(self, ids: tuple[int, ...]) -> Position:
        """Where a text of these tokens stands."""
        known = len(ids)
        while ids[:known] not in self._positions:
            known -= 1
        found = self._positions[ids[:known]]
        if known < len(ids):
            found = self.advance(found, self.vocabulary.raw(ids[known:]))
            if len(self._positions) > 16 * ROWS_KEPT:
                self._positions = {(): (self.automaton.start, b"")}
            self._positions[ids] = found
        return found

    @locked
    def advance(self, position: Position, raw: bytes) -> Position:
        """The position after some more bytes."""
        state, pending = position
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(pending + raw)
        return self.automaton.read(state, text), decoder.getstate()[0]

    @locked
    def position_of(self, raw: bytes, last: bytes) -> Position:
        """Where a text of these bytes stands; last: the end of them, which came last."""
        found = self._of_bytes.get(raw)
        if found is None:
            before = self._of_bytes.get(raw[: len(raw) - len(last)])
            start = (self.automaton.start, b"")
            found = self.advance(before, last) if before is not None else self.advance(start, raw)
            if len(self._of_bytes) > 16 * ROWS_KEPT:
                self._of_bytes.clear()
            self._of_bytes[raw] = found
        return found

    @locked
    def accepts(self, position: Position) -> bool:
        """Whether a text that ends here is in the language; an unfinished character counts as
        U+FFFD."""
        return self.automaton.accepting[self._broken_off(position)]

    def _broken_off(self, position: Position) -> int:
        """The state once U+FFFD stands for an unfinished character."""
        state, pending = position
        return self.automaton.read(state, pending.decode("utf-8", "replace"))

    # -------------------------------------------------------------------- masks

    @locked
    def mask(self, position: Position, left: int | None) -> Mask:
        """(V,) the tokens after which the text can still be completed; an end where it is complete.

        left: how many tokens may follow the next one; None leaves the budget out.
        """
        if left is not None:
            left = min(left, self._horizon())
        key = (position, left)
        if key not in self._masks:
            while len(self._masks) >= ROWS_KEPT:
                del self._masks[next(iter(self._masks))]
            self._masks[key] = self._mask(position, left)
        return self._masks[key]

    @locked
    def holding(self, position: Position) -> Mask:
        """(V,) the tokens after which the text so far is in the language: without an unfinished
        character, which is held back; after an end U+FFFD stands for it."""
        found = self._holding.get(position)
        if found is None:
            while len(self._holding) >= ROWS_KEPT:
                del self._holding[next(iter(self._holding))]
            found = self._holding[position] = self._held(position)
        return found

    def _held(self, position: Position) -> Mask:
        state, pending = position
        whole = self.after_tokens(self._broken_off(position))
        broken = [
            (self.automaton.read(state, text), ids)
            for text, ids in self._after_broken(pending).items()
        ]
        ends = {
            i: self.accepts(self.advance(position, self.vocabulary.tokens[i]))
            for i in self.vocabulary.ends
        }
        accepting = np.array(self.automaton.accepting, dtype=np.bool_)
        found: Mask = accepting[whole]
        found[self.tree.node == 0] = accepting[
            state
        ]  # a token without text leaves a character unfinished
        for reached, ids in broken:
            found[ids] = accepting[reached]
        for i, holds in ends.items():
            found[i] = holds
        return found

    def _after_broken(self, pending: bytes) -> dict[str, list[int]]:
        """The tokens that are not whole characters, grouped by the whole ones that they come to
        after some pending bytes."""
        if pending not in self._spelt:
            while len(self._spelt) >= ROWS_KEPT:
                del self._spelt[next(iter(self._spelt))]
            groups: dict[str, list[int]] = {}
            for i in self.tree.broken:
                text = codecs.getincrementaldecoder("utf-8")("replace").decode(
                    pending + self.vocabulary.tokens[i]
                )
                groups.setdefault(text, []).append(i)
            self._spelt[pending] = groups
        return self._spelt[pending]

    def _mask(self, position: Position, left: int | None) -> Mask:
        state, pending = position
        whole = self.after_tokens(self._broken_off(position))
        allowed: Mask = self._viable(whole, left) & (self.tree.node >= 0)
        if pending:  # a token without text leaves the character unfinished
            allowed[self.tree.node == 0] = self._viable_at(position, left)
        for (text, unfinished), ids in self._broken(pending).items():
            allowed[ids] = self._viable_at((self.automaton.read(state, text), unfinished), left)
        for i in self.vocabulary.ends:
            allowed[i] = self.accepts(position)
        return allowed

    def _broken(self, pending: bytes) -> dict[tuple[str, bytes], list[int]]:
        """The tokens that are not whole characters, grouped by what they come to after some pending
        bytes: the text, and bytes that stand for all unfinished characters which may become the
        same."""
        if pending not in self._groups:
            groups: dict[tuple[str, bytes], list[int]] = {}
            for i in self.tree.broken:
                decoder = codecs.getincrementaldecoder("utf-8")("replace")
                text = decoder.decode(pending + self.vocabulary.tokens[i])
                left = decoder.getstate()[0]
                groups.setdefault(
                    (text, self._alike.setdefault(self._onward(left), left)), []
                ).append(i)
            self._groups[pending] = groups
        return self._groups[pending]

    def _onward(self, pending: bytes) -> frozenset[int]:
        """The classes of the characters that an unfinished one may become; none if there is no
        unfinished one, and -1 for the first bytes of a surrogate, which Python holds back and then
        reads as two or three U+FFFD."""
        if not pending:
            return frozenset()
        if pending[0] == 0xED and pending[1:] >= b"\xa0":
            return frozenset({-1})
        return frozenset(
            {self._replaced, *self.automaton.partition.classes_between(*completions(pending))}
        )

    @locked
    def after_tokens(self, state: int) -> Ints:
        """(V,) the state after each token of whole characters."""
        if state not in self._next:
            while len(self._next) >= ROWS_KEPT:
                del self._next[next(iter(self._next))]
            tree = self.tree
            states = np.full(len(tree.parent), DEAD, dtype=np.int32)
            states[0] = state
            for first, last in zip(tree.levels[1:], tree.levels[2:], strict=False):
                before = states[tree.parent[first:last]]
                going = np.flatnonzero(before != DEAD)
                if not len(going):
                    break
                states[first + going] = self.automaton.steps(
                    before[going], self._symbols[first + going]
                )
            self._next[state] = states[tree.node]
        return self._next[state]

    def _viable(self, states: Ints, left: int | None) -> Mask:
        if left is None:
            return self.automaton.is_live(states)
        distances = self.distances()
        if distances is not None:
            return distances[states] <= left
        if left == 0:
            return np.array(self.automaton.accepting, dtype=np.bool_)[states]
        return self.automaton.is_live(states)

    def _viable_at(self, position: Position, left: int | None) -> bool:
        """`_viable` for a position in mid-character: its remaining bytes come, or U+FFFD stands for
        it; at the end of the budget, or of one that is not looked at, it is held back."""
        state, pending = position
        if not pending:
            return bool(self._viable(np.array([state], dtype=np.int32), left)[0])
        symbols = self._onward(pending)
        if -1 in symbols or self.automaton.accepting[state]:
            return True
        onward = [self.automaton.step(state, symbol) for symbol in symbols]
        return bool(self._viable(np.array(onward, dtype=np.int32), left).any())

    # --------------------------------------------------------------- look-ahead

    @locked
    def distances(self) -> NDArray[np.float64] | None:
        """(states,) the fewest tokens to acceptance, never too many; None where the automaton is
        too large to know."""
        automaton = self.automaton
        if not automaton.explored or automaton.size > MEASURED:
            return None
        if self._distances is None:
            successors = [
                np.unique(np.concatenate([self.after_tokens(q), self._by_pieces(q)]))
                for q in range(automaton.size)
            ]
            found = np.where(np.array(automaton.accepting), 0.0, np.inf)
            while True:
                nearer = np.minimum(found, [1.0 + found[s].min() for s in successors])
                if (nearer == found).all():
                    break
                found = nearer
            self._distances = found
        return self._distances

    def _by_pieces(self, state: int) -> Ints:
        """States after a token that is not whole characters, at least those that there are: its
        first bytes may end any character that is not ASCII, its last may begin one."""
        automaton, found = self.automaton, []
        fresh, after = self._piece_texts()
        ended = {
            automaton.step(state, symbol)
            for symbol in automaton.partition.classes_between(0x80, 0x10FFFF)
        }
        for before, texts in [({state}, fresh), (ended - {DEAD}, after)]:
            for reached in (automaton.read(q, text) for q in before for text in texts):
                found += [reached, automaton.step(reached, self._replaced)]
        return np.array(found, dtype=np.int32)

    def _piece_texts(self) -> tuple[set[str], set[str]]:
        """What tokens that are not whole characters say by themselves, and what is left of them
        once their first bytes have ended a character."""
        if self._pieces is None:
            fresh, after = set(), set()
            for raw in {self.vocabulary.tokens[i] for i in self.tree.broken}:
                fresh |= _read(raw)
                tail = next(
                    (k for k, b in enumerate(raw[:4]) if not 0x80 <= b < 0xC0), min(len(raw), 4)
                )
                for k in range(1, min(tail, 3) + 1):
                    after |= _read(raw[k:])
            self._pieces = fresh, after
        return self._pieces

    def _horizon(self) -> int:
        """A number of tokens that is enough from wherever the text can be completed at all."""
        distances = self.distances()
        if distances is None:
            return 1
        return int(distances[np.isfinite(distances)].max(initial=0))


def _read(raw: bytes) -> set[str]:
    """The text of some bytes, their unfinished end held back or replaced."""
    return {
        codecs.getincrementaldecoder("utf-8")("replace").decode(raw),
        raw.decode("utf-8", "replace"),
    }


def completions(pending: bytes) -> tuple[int, int]:
    """The least and the greatest code point of the characters that begin with these bytes."""
    return _complete(pending, range(0x80, 0xC0)), _complete(pending, range(0xBF, 0x7F, -1))


def _complete(pending: bytes, order: range) -> int:
    try:
        return ord(pending.decode("utf-8"))
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return -1
    return next(found for b in order if (found := _complete(pending + bytes([b]), order)) >= 0)
