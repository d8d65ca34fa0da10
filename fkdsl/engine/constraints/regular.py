"""Masks over a vocabulary from an automaton: exact for every token, of whole characters or not.

A position in a text is (state, pending): the automaton's state after the complete characters, and
the bytes of an unfinished character. Bytes that are no UTF-8 are read as U+FFFD, as everywhere in
the language.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.arrays import distinct
from fkdsl.base.deadline import check
from fkdsl.base.locks import locked, remember
from fkdsl.base.probability_blocks import Mask
from fkdsl.engine.constraints.automaton import DEAD, Automaton
from fkdsl.engine.constraints.least_tokens import LeastTokens, costs, least_from_states
from fkdsl.engine.constraints.token_classes import Behaviours, ClassTree, distances
from fkdsl.engine.constraints.tokens import Ints, token_tree
from fkdsl.engine.constraints.tokens_left import TokensLeft, is_spent, suffices
from fkdsl.engine.constraints.unfinished_characters import MOST_LEFT, Unfinished, piece_classes
from fkdsl.engine.prefix_tree import Context
from fkdsl.models.vocabulary import Vocabulary

Position = tuple[int, bytes]
MEASURED = 60_000_000
"""Distances to acceptance are computed where what tokens do is known from at most so many triples
of a state, a class of characters, and what the beginnings of tokens do."""
MOST_TOKENS_LEFT = 100_000
"""More tokens than this are as many as this, where distances are not computed."""
ROWS_KEPT = 256
"""Most rows of next states, and most masks, that are kept; each is as long as the vocabulary."""


class RegularMasks:
    """The masks of one automaton over one vocabulary. They share the automaton's lock, since
    computing a mask may add states to it. before: what the automaton has read before a text.
    dropped: whether a budget may end a text in the middle of a character, which it then lacks.
    steps: pairs of a state and one that a token leads to, once distances were computed."""

    def __init__(
        self, automaton: Automaton, vocabulary: Vocabulary, before: str = "", dropped: bool = True
    ) -> None:
        self.dropped = dropped
        self.automaton, self.vocabulary, self.tree = automaton, vocabulary, token_tree(vocabulary)
        self.lock = automaton.lock
        classes = automaton.partition.classes(self.tree.point)
        self.classes = ClassTree(self.tree, classes, automaton.partition.size)
        pieces = [vocabulary.tokens[i] for i in self.tree.broken]
        textless = set(np.flatnonzero(self.tree.node == 0).tolist()) - vocabulary.ends
        self.unfinished = Unfinished(automaton.partition, pieces, bool(textless))
        self._next: dict[int, Ints] = {}
        self._masks: dict[tuple[Position, int | None], Mask] = {}
        with self.lock:
            self._begin: Position = (automaton.read(automaton.start, before), b"")
        self._positions: dict[tuple[int, ...], Position] = {(): self._begin}
        self._advanced: dict[tuple[Position, bytes], Position] = {}
        self._prefix_masks: dict[Position, Mask] = {}
        self._spelt: dict[bytes, dict[str, list[int]]] = {}
        self._distances: NDArray[np.float64] | None = None
        self._far: int | None = None
        self.steps, self._too_many = 0, False
        self._behaviours: Behaviours | None = None
        self._least: LeastTokens | NDArray[np.float64] | None = None
        self._groups: dict[bytes, dict[tuple[str, bytes], list[int]]] = {}
        self._alike: dict[tuple[frozenset[int], int], bytes] = {}

    @property
    def is_empty(self) -> bool:
        return self.automaton.is_empty

    # ---------------------------------------------------------------- positions

    @locked
    def position(self, ids: tuple[int, ...]) -> Position:
        """The position after these tokens."""
        known = len(ids)
        while ids[:known] not in self._positions:
            known -= 1
        position = self._positions[ids[:known]]
        if known < len(ids):
            position = self.advance(position, self.vocabulary.raw(ids[known:]))
            if len(self._positions) > 16 * ROWS_KEPT:
                self._positions = {(): self._begin}
            self._positions[ids] = position
        return position

    @locked
    def advance(self, position: Position, raw: bytes) -> Position:
        """The position after some more bytes."""
        state, pending = position
        if not pending and raw.isascii():
            return self.automaton.read(state, raw.decode()), b""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(pending + raw)
        return self.automaton.read(state, text), decoder.getstate()[0]

    def position_at(self, context: Context, start: int) -> Position:
        """The position after the text of a context's tokens behind its first `start`. Contexts keep
        their positions, so that of a longer one takes one look at its last token."""
        key, nodes, node = (self, start), [], context
        while (position := node.positions.get(key)) is None and node.length > start:
            nodes.append(node)
            assert node.parent is not None
            node = node.parent
        if position is None:
            position = (self.automaton.start, b"")
        for node in reversed(nodes):
            position = self._after(position, self.vocabulary.bytes_of(node.token))
            node.positions[key] = position
        return position

    def positions_at(self, contexts: Sequence[Context], starts: Sequence[int]) -> list[Position]:
        """`position_at` of each."""
        out, key, tokens = list[Position](), (self, -1), self.vocabulary.tokens
        for node, start in zip(contexts, starts, strict=True):
            if start != key[1]:
                key = (self, start)
            position = node.positions.get(key)
            if position is None:
                parent, token = node.parent, node.token
                before = None if parent is None else parent.positions.get(key)
                if before is None or type(token) is not int or token < 0:
                    position = self.position_at(node, start)
                else:
                    node.positions[key] = position = self._after(before, tokens[token])
            out.append(position)
        return out

    def _after(self, position: Position, raw: bytes) -> Position:
        """`advance`, remembered."""
        key = (position, raw)
        after = self._advanced.get(key)
        return (
            remember(self._advanced, key, self.advance(position, raw), 16 * ROWS_KEPT)
            if after is None
            else after
        )

    @locked
    def accepts(self, position: Position) -> bool:
        """Whether a text that ends here is in the language; an unfinished character counts as
        U+FFFD."""
        return self.automaton.accepting[self._final_state(position)]

    def _final_state(self, position: Position) -> int:
        """The state if the text ends here, an unfinished character read as U+FFFD."""
        state, pending = position
        return self.automaton.read(state, pending.decode("utf-8", "replace"))

    # -------------------------------------------------------------------- masks

    @locked
    def mask(self, position: Position, left: TokensLeft) -> Mask:
        """(V,) the tokens after which the text can still be completed; an end if it is complete."""
        if left is not None:
            left = min(left, self.horizon())
        key = (position, left)
        if key not in self._masks:
            while len(self._masks) >= ROWS_KEPT:
                del self._masks[next(iter(self._masks))]
            self._masks[key] = self._mask(position, left)
        return self._masks[key]

    def prefix_mask(self, position: Position) -> Mask:
        """(V,) the tokens after which the text so far is itself in the language. An unfinished
        character at its end is not part of it yet; after an end it is read as U+FFFD."""
        mask = self._prefix_masks.get(position)
        if mask is None:
            mask = remember(self._prefix_masks, position, self._prefix_mask(position), ROWS_KEPT)
        return mask

    @locked
    def _prefix_mask(self, position: Position) -> Mask:
        state, pending = position
        whole = self.after_tokens(self._final_state(position))
        broken = [
            (self.automaton.read(state, text), ids)
            for text, ids in self._after_broken(pending).items()
        ]
        ends = {
            i: self.accepts(self.advance(position, self.vocabulary.tokens[i]))
            for i in self.vocabulary.ends
        }
        accepting = np.array(self.automaton.accepting, dtype=np.bool_)
        mask: Mask = accepting[whole]
        # After a token without text an unfinished character is still unfinished.
        mask[self.tree.node == 0] = accepting[state]
        for reached, ids in broken:
            mask[ids] = accepting[reached]
        for i, accepted in ends.items():
            mask[i] = accepted
        return mask

    def _after_broken(self, pending: bytes) -> dict[str, list[int]]:
        """The tokens that are not whole characters, grouped by the whole characters that they and
        the pending bytes before them give."""
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

    def _mask(self, position: Position, left: TokensLeft) -> Mask:
        state, pending = position
        whole = self.after_tokens(self._final_state(position))
        allowed: Mask = self._viable(whole, left) & (self.tree.node >= 0)
        if pending:  # after a token without text the character is still unfinished
            allowed[self.tree.node == 0] = self._viable_at(position, left)
        for (text, unfinished), ids in self._broken(pending).items():
            allowed[ids] = self._viable_at((self.automaton.read(state, text), unfinished), left)
        for i in self.vocabulary.ends:
            allowed[i] = self.accepts(position)
        return allowed

    def _broken(self, pending: bytes) -> dict[tuple[str, bytes], list[int]]:
        """The tokens that are not whole characters, grouped by what they and the pending bytes
        before them give: whole characters, and the bytes of an unfinished one, of which the
        first of a kind stands for all."""
        if pending not in self._groups:
            groups: dict[tuple[str, bytes], list[int]] = {}
            for i in self.tree.broken:
                decoder = codecs.getincrementaldecoder("utf-8")("replace")
                text = decoder.decode(pending + self.vocabulary.tokens[i])
                unfinished = decoder.getstate()[0]
                kind = self.unfinished.kind(unfinished)
                groups.setdefault((text, self._alike.setdefault(kind, unfinished)), []).append(i)
            self._groups[pending] = groups
        return self._groups[pending]

    @locked
    def after_tokens(self, state: int) -> Ints:
        """(V,) the state after each token of whole characters."""
        if state not in self._next:
            while len(self._next) >= ROWS_KEPT:
                del self._next[next(iter(self._next))]
            tree = self.classes
            if (known := self._behaviours) is not None:
                return self._next.setdefault(state, known.after[known.of_node[tree.node], state])
            states = np.full(tree.size, DEAD, dtype=np.int32)
            states[0] = state
            for first, last in zip(tree.levels[1:], tree.levels[2:], strict=False):
                check()
                before = states[tree.parent[first:last]]
                going = np.flatnonzero(before != DEAD)
                if not len(going):
                    break
                states[first + going] = self.automaton.steps(
                    before[going], tree.symbol[first + going]
                )
            self._next[state] = states[tree.node]
        return self._next[state]

    @locked
    def onward(self, position: Position) -> Ints:
        """(V,) a state after each token. That of an unfinished character is the one after the
        character it may become that leaves the text nearest to acceptance: an estimate, where masks
        are exact. After a token without text, and after an end, it is where the text stands."""
        state, pending = position
        states = self.after_tokens(self._final_state(position)).copy()
        states[self.tree.node == 0] = here = self.nearest(position)
        for (text, unfinished), ids in self._broken(pending).items():
            states[ids] = self.nearest((self.automaton.read(state, text), unfinished))
        states[list(self.vocabulary.ends)] = here
        return states

    @locked
    def nearest(self, position: Position) -> int:
        """The state of a position, an unfinished character read as in `onward`."""
        state, pending = position
        symbols = self.unfinished.classes(pending)
        if not symbols or -1 in symbols:
            return state
        states = sorted({self.automaton.step(state, symbol) for symbol in symbols})
        distances = self.distances()
        return states[0] if distances is None else min(states, key=lambda q: distances[q])

    @locked
    def onward_from_all(self) -> tuple[Ints, NDArray[np.intp]]:
        """((S, n) the state after each of n kinds of tokens from every state, as `onward` has them,
        (V,) the kind of each token), of an automaton that has distances. Ends are the last kind,
        for which nothing is said."""
        self.distances()
        table, groups = self.automaton.table[: self.automaton.size], self._broken(b"")
        behaviours = self._behaviours
        assert behaviours is not None
        n, kinds = len(behaviours.after), behaviours.of_node[self.classes.node]
        for k, ids in enumerate(groups.values()):
            kinds[ids] = n + k
        kinds[list(self.vocabulary.ends)] = end = n + len(groups)
        used, of_token = np.unique(np.append(kinds, end), return_inverse=True)
        whole = used[used < n]
        after = np.zeros((len(table), len(used)), dtype=np.int32)
        after[:, : len(whole)] = behaviours.after[whole].T
        for k, (text, unfinished) in enumerate(groups):
            if (at := int(np.searchsorted(used, n + k))) < len(used):
                after[:, at] = self._nearest_from_all(table, text, unfinished)
        return after, of_token[:-1]

    def _nearest_from_all(self, table: Ints, text: str, unfinished: bytes) -> Ints:
        """(S,) `nearest` after a token that reads so, from every state."""
        states: Ints = np.arange(len(table), dtype=np.int32)
        for symbol in self.automaton.partition.classes_of(text):
            states = table[states, symbol]
        symbols, distances = sorted(self.unfinished.classes(unfinished)), self.distances()
        if not symbols or -1 in symbols or distances is None:
            return states
        candidates = table[states][:, symbols]
        nearest: Ints = candidates[np.arange(len(states)), distances[candidates].argmin(axis=1)]
        return nearest

    def _viable(self, states: Ints, left: TokensLeft) -> Mask:
        if left is None:
            return self.automaton.is_live(states)
        distances = self.distances()
        if distances is not None:
            return suffices(distances[states], left)
        if left == 0:
            return np.array(self.automaton.accepting, dtype=np.bool_)[states]
        reached, which = np.unique(states, return_inverse=True)
        mask: Mask = suffices(self._least_tokens(reached), left)[which]
        return mask & self.automaton.is_live(states)

    def _least_tokens(self, states: Ints) -> NDArray[np.float64]:
        """A lower bound on the tokens from each of some states to acceptance, for automata that are
        not measured."""
        automaton = self.automaton
        if self._least is None:
            broken = [self.vocabulary.tokens[i] for i in self.tree.broken]
            partition = automaton.partition
            of_classes = costs(self.classes, partition.size + 1, partition, broken)
            if automaton.explored:
                accepting = np.array(automaton.accepting, dtype=np.bool_)
                table = automaton.table[: automaton.size]
                self._least = least_from_states(table, accepting, of_classes)
            else:
                self._least = LeastTokens(automaton.algebra, of_classes)
        if isinstance(self._least, LeastTokens):
            return np.array([self._least.of(automaton.expression(q)) for q in states])
        return self._least[states]

    def _viable_at(self, position: Position, left: TokensLeft) -> bool:
        """`_viable` for a position in the middle of a character. Its remaining bytes may come, or
        it may be read as U+FFFD; and if the text is accepted without it, it may be `dropped` at
        the end of the budget."""
        state, pending = position
        if not pending:
            return bool(self._viable(np.array([state], dtype=np.int32), left)[0])
        symbols = self.unfinished.classes(pending)
        accepted = self.dropped and self.automaton.accepting[state]
        if -1 in symbols or (accepted and self.unfinished.may_stay(pending, left)):
            return True
        replaced = self.automaton.step(state, self.unfinished.replaced)
        if self._viable(np.array([replaced], dtype=np.int32), left)[0]:
            return True
        onward = [self.automaton.step(state, symbol) for symbol in symbols]
        later = None if left is None else left - self.unfinished.tokens(pending)
        return not is_spent(later) and bool(self._viable(np.array(onward, np.int32), later).any())

    # --------------------------------------------------------------- look-ahead

    @locked
    def distances(self) -> NDArray[np.float64] | None:
        """(states,) a lower bound on the number of tokens to acceptance; None if the automaton is
        too large to compute it."""
        automaton = self.automaton
        if self._distances is None and automaton.explored and not self._too_many:
            table = automaton.table[: automaton.size]
            behaviours = self._behaviours = Behaviours.of(self.classes, table, MEASURED)
            if behaviours is None:
                self._too_many = True
                return None
            whole = self.classes.node[self.classes.node >= 0]
            after = behaviours.after[distinct(behaviours.of_node[whole])]
            broken = (self.vocabulary.tokens[i] for i in self.tree.broken)
            pieces = piece_classes(broken, automaton.partition, self.unfinished.replaced)
            self._distances, self.steps = distances(after, table, automaton.accepting, pieces)
        return self._distances

    def horizon(self) -> int:
        """A number of tokens within which every text is completed that can be at all."""
        if self._far is None:
            distances = self.distances()
            if distances is None:
                return MOST_TOKENS_LEFT
            self._far = MOST_LEFT + int(distances[np.isfinite(distances)].max(initial=0))
        return self._far
