"""A lower bound on the tokens that a text of an expression takes, for automata that are too large
to measure: by their expressions, without a walk of their states.

A token of n characters pays 1 / n for each of them, so a text costs as much as it has tokens; and a
character of a class costs at least 1 / n for the longest token that has one of the class in it. The
cheapest text of an expression, character by character, is then a bound for all of its texts.

>>> a = Algebra(2)
>>> word = a.concat(a.repeat(a.symbol({0}), 6, 9), a.symbol({1}))
>>> LeastTokens(a, np.array([0.5, 1.0])).of(word)
4.0
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.arrays import distinct
from fkdsl.base.deadline import check
from fkdsl.engine.constraints.charsets import Partition
from fkdsl.engine.constraints.expressions import Algebra
from fkdsl.engine.constraints.token_classes import ClassTree
from fkdsl.engine.constraints.tokens import Ints

Costs = NDArray[np.float64]


class LeastTokens:
    """costs: (classes,) of a character of each class, in tokens; inf where no token has one."""

    def __init__(self, algebra: Algebra, costs: Costs) -> None:
        self.algebra, self.costs = algebra, costs
        self._known: dict[int, float] = {}

    def of(self, expression: int) -> float:
        """A lower bound on the tokens of every text of the expression; inf if it has none."""
        try:
            return self._least(expression)
        except RecursionError:
            return 0.0

    def _least(self, a: int) -> float:
        first = 0.0
        while a not in self._known:  # concatenations nest to the right, and deep
            match self.algebra.parts_of(a):
                case ("concat", int(begin), int(rest)):
                    first, a = first + self._least(begin), rest
                case parts:
                    self._known[a] = 0.0  # what refers to itself costs at least nothing
                    self._known[a] = self._of_parts(a, parts)
        return first + self._known[a]

    def _of_parts(self, a: int, parts: Sequence[object]) -> float:
        match parts:
            case ("empty",):
                return float("inf")
            case ("symbol", frozenset() as classes):
                return float(min(self.costs[c] for c in classes))
            case ("repeat", int(inner), int(least), _):
                return least * self._least(inner) if least else 0.0
            case ("or", *below):
                return min(self._all(below))
            case ("and", *below):
                return max(self._all(below))
            case ("not", _):
                return 0.0 if self.algebra.nullable(a) else float(self.costs.min())
            case ("later", int(defined)):
                return self._least(defined)
        return 0.0

    def _all(self, parts: Iterable[object]) -> list[float]:
        return [self._least(part) for part in parts if isinstance(part, int)]


def costs(tree: ClassTree, symbols: int, partition: Partition, broken: Iterable[bytes]) -> Costs:
    """(symbols,) the least that a character of each class costs. broken: the tokens that are not
    whole characters, of which each byte may be of a character of its own."""
    longest = np.zeros(tree.size)
    for depth, (first, last) in enumerate(zip(tree.levels, tree.levels[1:], strict=False)):
        ends = distinct(tree.node[(tree.node >= first) & (tree.node < last)])
        longest[ends] = depth
    for first, last in reversed([*zip(tree.levels[1:], tree.levels[2:], strict=False)]):
        np.maximum.at(longest, tree.parent[first:last], longest[first:last])
    of_class = np.zeros(symbols)
    np.maximum.at(of_class, tree.symbol[1:], longest[1:])
    other = partition.classes_between(0x80, 0x10FFFF)
    for raw in broken:
        within = [*other, *partition.classes_of(raw.decode("utf-8", "replace"))]
        of_class[within] = np.maximum(of_class[within], len(raw))
    with np.errstate(divide="ignore"):
        result: Costs = 1.0 / of_class
    return result


def least_from_states(table: Ints, accepting: NDArray[np.bool_], of_class: Costs) -> Costs:
    """(states,) the same bound from each state of an automaton of which all are known, along its
    cheapest way to acceptance. table: (states, classes) the state after each class."""
    least: Costs = np.where(accepting, 0.0, np.inf)
    while True:
        check()
        less = np.minimum(least, (of_class[: table.shape[1]] + least[table]).min(axis=1))
        if (less == least).all():
            return least
        least = less
