"""A vocabulary as a tree of classes of characters: for an automaton two tokens are alike if their
characters are of the same classes, and most tokens of a vocabulary are like others. `Behaviours` is
what tokens do to all states at once, and `distances` the fewest tokens to acceptance."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.tokens import Ints, TokenTree

CHUNK = 4_000_000
"""About so many pairs of states are looked at at once."""
CHECKED = 256
"""Behaviours after which a deadline is looked at."""


class ClassTree:
    """The token tree with equal classes merged: parent, symbol: (nodes,) the node one character
    shorter, and the class of the last character; levels as in TokenTree. node: (V,) the node of
    each token, -1 for tokens that are not whole characters."""

    def __init__(self, tree: TokenTree, symbols: Ints, classes: int) -> None:
        merged = np.zeros(len(tree.parent), dtype=np.int64)
        parents, last, self.levels = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], [0, 1]
        for first, end in zip(tree.levels[1:], tree.levels[2:], strict=False):
            keys = merged[tree.parent[first:end]] * classes + symbols[first:end]
            nodes, which = np.unique(keys, return_inverse=True)
            parents.append(nodes // classes)
            last.append(nodes % classes)
            merged[first:end] = self.levels[-1] + which
            self.levels.append(self.levels[-1] + len(nodes))
        self.parent: Ints = np.concatenate(parents).astype(np.int32)
        self.symbol: Ints = np.concatenate(last).astype(np.int32)
        self.node: Ints = np.where(tree.node >= 0, merged[tree.node], -1).astype(np.int32)

    @property
    def size(self) -> int:
        return len(self.parent)


@dataclass(frozen=True, eq=False)
class Behaviours:
    """What the texts of a class tree do to the states of an automaton, those that do the same from
    every state together. after: (K, S) the state after a text of each behaviour, from every state.
    of_node: (nodes,) the behaviour of each node."""

    after: Ints
    of_node: NDArray[np.intp]

    @classmethod
    def of(cls, tree: ClassTree, table: Ints, most: float = np.inf) -> Behaviours | None:
        """Behaviours of longer texts are those of shorter ones and one class more, so of each pair
        of a behaviour and a class the states are found once, however many texts do so. None where
        there are more than `most` of such pairs times states. table: (S, classes)."""
        by_class = np.ascontiguousarray(table.T)
        of_node = np.zeros(tree.size, dtype=np.intp)
        rows = [np.arange(len(table), dtype=np.int32)]
        known = {_digest(rows[0]): 0}
        found = 0
        for first, end in zip(tree.levels[1:], tree.levels[2:], strict=False):
            keys = of_node[tree.parent[first:end]] * len(by_class) + tree.symbol[first:end]
            pairs, which = np.unique(keys, return_inverse=True)
            found += len(pairs)
            if found * len(table) > most:
                return None
            made = np.empty(len(pairs), dtype=np.intp)
            for k, pair in enumerate(pairs.tolist()):
                if not k % CHECKED:
                    check()
                before, symbol = divmod(pair, len(by_class))
                row = by_class[symbol].take(rows[before])
                made[k] = known.setdefault(_digest(row), len(rows))
                if made[k] == len(rows):
                    rows.append(row)
            of_node[first:end] = made[which]
        return cls(np.stack(rows), of_node)


def _digest(row: Ints) -> bytes:
    """What tells rows apart: two different ones of one digest are not to be expected anywhere."""
    return blake2b(row.tobytes(), digest_size=16).digest()


def distances(
    after: Ints,
    table: Ints,
    accepting: Sequence[bool],
    pieces: Collection[tuple[int, ...]],
) -> tuple[NDArray[np.float64], int]:
    """((states,) a lower bound on the number of tokens from each state to acceptance: the fewest
    steps; how many steps there are), where a step is any token of whole characters, or any of the
    pieces. after: (n, states) the states after such tokens. table: (states, classes) the state
    after each; pieces: the classes of what other tokens may read."""
    size = len(table)
    ways = [*after, *_after_pieces(table, pieces)]
    rows = max(1, CHUNK // size)
    targets, counts = [], []
    for begin in range(0, size, rows):
        check()
        here = np.arange(begin, min(begin + rows, size))
        reached = np.zeros((len(here), size), dtype=np.bool_)
        for way in ways:
            reached[np.arange(len(here)), way[here]] = True
        which, to = np.nonzero(reached)
        targets.append(to)
        counts.append(np.bincount(which, minlength=len(here)))
    to, count = np.concatenate(targets), np.concatenate(counts)
    begins = np.cumsum(count) - count
    result = np.where(np.array(accepting), 0.0, np.inf)
    while True:
        check()
        shorter = np.minimum(result, 1.0 + np.minimum.reduceat(result[to], begins))
        if (shorter == result).all():
            return result, len(to)
        result = shorter


def _after_pieces(table: Ints, pieces: Collection[tuple[int, ...]]) -> list[Ints]:
    """For each piece, (states,) the state after it."""
    after: dict[tuple[int, ...], Ints] = {(): np.arange(len(table), dtype=np.int32)}
    for piece in pieces:
        for k in range(1, len(piece) + 1):
            if piece[:k] not in after:
                check()
                after[piece[:k]] = table[after[piece[: k - 1]], piece[k - 1]]
    return [after[piece] for piece in pieces]
