"""A vocabulary as a tree of classes of characters: for an automaton two tokens are alike if their
characters are of the same classes, and most tokens of a vocabulary are like others. `distances`
walks it for all states at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.arrays import distinct
from fkdsl.base.deadline import check
from fkdsl.engine.constraints.tokens import Ints, TokenTree

CHUNK = 4_000_000
"""About so many states and nodes are walked at once."""


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

    def walk(self, table: Ints, states: Ints) -> Ints:
        """(n, nodes) the states after each node, from each of these states (n,). table: (states,
        classes) the state after each."""
        after = np.zeros((len(states), self.size), dtype=np.int32)
        after[:, 0] = states
        for first, last in zip(self.levels[1:], self.levels[2:], strict=False):
            after[:, first:last] = table[after[:, self.parent[first:last]], self.symbol[first:last]]
        return after


def distances(
    tree: ClassTree,
    table: Ints,
    accepting: Sequence[bool],
    pieces: Collection[tuple[int, ...]],
) -> NDArray[np.float64]:
    """(states,) a lower bound on the number of tokens from each state to acceptance: the fewest
    steps, where a step is any token of whole characters, or any of the pieces. table: (states,
    classes) the state after each; pieces: the classes of what other tokens may read."""
    size = len(table)
    ends = distinct(tree.node[tree.node >= 0])
    ways = _after_pieces(table, pieces)
    rows = max(1, CHUNK // (tree.size + size))
    targets, counts = [], []
    for begin in range(0, size, rows):
        check()
        here = np.arange(begin, min(begin + rows, size))
        states = tree.walk(table, here.astype(np.int32))
        reached = np.zeros((len(here), size), dtype=np.bool_)
        reached[np.arange(len(here))[:, None], states[:, ends]] = True
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
            return result
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
