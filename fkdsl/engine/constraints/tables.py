"""Automata as tables of all their states, put together by and, or, not and functions of texts.

Derivatives (expressions.py) follow one state after the other; a product of tables is a few array
operations, however many states it has. So each simple part of a language is explored by
derivatives, and what and, or and not make of them is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.arrays import distinct
from fkdsl.base.deadline import check
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.transducers import Transducer

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
MOST_PAIRS = 20_000_000
"""Most pairs of states of which a product may be made, reached or not."""
MOST_STATES = 20_000
"""Most states of a table."""
MINIMISED = 5_000
"""Tables of at most so many states are made as small as they can be."""


class TooLarge(Exception):
    """A table would pass its bounds."""


@dataclass(frozen=True)
class Table:
    """after: (states, classes) the state after each class of characters; a class that no text has
    leaves a state as it is. accepting: (states,). A text begins in state 0."""

    after: Ints
    accepting: Bools

    @property
    def size(self) -> int:
        return len(self.accepting)

    @property
    def live(self) -> Bools:
        """(states,) from which an accepting state can be reached."""
        live = self.accepting
        while True:
            check()
            more: Bools = live | live[self.after].any(axis=1)
            if (more == live).all():
                return live
            live = more

    def complement(self) -> Table:
        return Table(self.after, ~self.accepting)

    def smaller(self) -> Table:
        """The same language by the fewest states: those that no text tells apart are one (Moore
        1956). A hash of a state's row stands for the row, and the result is checked."""
        if self.size > MINIMISED:
            return self
        weights = np.random.default_rng(0).integers(1, 2**63, self.after.shape[1], dtype=np.uint64)
        labels = self.accepting.astype(np.int64)
        count = 0
        while True:
            check()
            rows = labels[self.after].astype(np.uint64) * weights
            hashes = rows.sum(axis=1) * np.uint64(2 * self.size + 1) + labels.astype(np.uint64)
            _, first, found = np.unique(hashes, return_index=True, return_inverse=True)
            labels = found.reshape(-1)
            if len(first) == count:
                break
            count = len(first)
        after = labels[self.after[first]]
        if (
            not (labels[self.after] == after[labels]).all()
            or not (self.accepting == self.accepting[first][labels]).all()
        ):
            return self
        return reached_from(int(labels[0]), after.astype(np.int32), self.accepting[first])


def product(a: Table, b: Table, either: bool = False) -> Table:
    """The texts of both tables, or of either. Raises TooLarge."""
    if a.size * b.size > MOST_PAIRS:
        raise TooLarge
    dead_a, dead_b = ~a.live, ~b.live
    dead = -1  # one pair for all that nothing can come of

    def pairs(x: Ints, y: Ints) -> NDArray[np.int64]:
        codes = x.astype(np.int64) * b.size + y
        lost = dead_a[x] & dead_b[y] if either else dead_a[x] | dead_b[y]
        codes[lost] = dead
        return codes

    number = np.full(a.size * b.size + 1, -1, dtype=np.int32)  # the last one is of `dead`
    start = pairs(np.zeros(1, np.int32), np.zeros(1, np.int32))
    number[start] = 0
    rows, states, found, count = [], [start], start, 1
    while len(found):
        check()
        x, y = found // b.size, found % b.size
        after = pairs(a.after[x], b.after[y])
        after[found == dead] = dead
        rows.append(after)
        following = distinct(after)
        found = following[number[following] < 0]
        if count + len(found) > MOST_STATES:
            raise TooLarge
        number[found] = np.arange(count, count + len(found))
        count += len(found)
        states.append(found)
    reached = np.concatenate(states)
    x, y = reached // b.size, reached % b.size
    accepting = a.accepting[x] | b.accepting[y] if either else a.accepting[x] & b.accepting[y]
    accepting[reached == dead] = False
    return Table(number[np.concatenate(rows)], accepting)


def preimage(
    of: Transducer, table: Table, possible: Collection[int], ends: Callable[[int], bool]
) -> Table:
    """The texts that a function maps into a table's. possible: the classes that texts have. ends:
    the states of the function in which a text may end. Raises TooLarge where the function has
    several values, or too many states."""
    classes = table.after.shape[1]
    numbers, states = {of.start: 0}, [of.start]
    steps: list[list[tuple[int, Ints]]] = []
    for state in states:  # grows
        check()
        row = []
        for c in range(classes):
            if c not in possible:
                row.append((numbers[state], np.arange(table.size, dtype=np.int32)))
                continue
            options = of.step(state, c)
            if len(options) > 1 or len(states) * table.size > MOST_STATES:
                raise TooLarge
            ((following, written),) = options
            if following not in numbers:
                numbers[following] = len(states)
                states.append(following)
            row.append((numbers[following], _after(table, written)))
        steps.append(row)
    after = np.empty((table.size, len(states), classes), dtype=np.int32)
    accepting = np.zeros((table.size, len(states)), dtype=np.bool_)
    for q, state in enumerate(states):
        for c, (following, reached) in enumerate(steps[q]):
            after[:, q, c] = reached * len(states) + following
        if ends(state):
            accepting[:, q] = table.accepting[_after(table, of.final(state))]
    return reached_from(0, after.reshape(-1, classes), accepting.reshape(-1))


def _after(table: Table, symbols: tuple[int, ...]) -> Ints:
    """(states,) the state after some symbols."""
    states = np.arange(table.size, dtype=np.int32)
    for symbol in symbols:
        states = table.after[states, symbol]
    return states


def reached_from(start: int, after: Ints, accepting: Bools) -> Table:
    """The states that a text that begins in `start` can reach, numbered from there on."""
    number = np.full(len(accepting), -1, dtype=np.int32)
    number[start] = 0
    found = np.array([start])
    states, count = [found], 1
    while len(found):
        check()
        following = distinct(after[found])
        found = following[number[following] < 0]
        number[found] = np.arange(count, count + len(found))
        count += len(found)
        states.append(found)
    kept = np.concatenate(states)
    return Table(number[after[kept]], accepting[kept])
