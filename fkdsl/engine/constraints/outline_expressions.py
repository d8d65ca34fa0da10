"""Outlines as expressions of an algebra: followed all the way, where rules may refer to themselves,
or some rules deep, so that an automaton of finitely many states follows them."""

from __future__ import annotations

import math

from fkdsl.engine.constraints.charsets import (
    ALL_CHARACTERS,
    REPLACEMENT,
    Charset,
    single,
    without_point,
)
from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.outlines import Outline
from fkdsl.engine.constraints.pattern_trees import Tree

FILLED = 8
"""Most characters that a rule which is not followed is known to have at least."""


class OutlineExpressions:
    """The expressions of one outline. members: the classes of each charset. stops: what ends a
    text. counted: the rules that count as depth. kept: the classes of the characters that a text
    may have."""

    def __init__(
        self,
        algebra: Algebra,
        members: dict[Charset, frozenset[int]],
        outline: Outline,
        stops: tuple[str, ...],
        counted: frozenset[str],
    ) -> None:
        self.counted = counted
        self.a, self.members, self.outline, self.stops = algebra, members, outline, stops
        short = [members[single(stop)] for stop in stops if len(stop) == 1]
        self.kept = members[without_point(ALL_CHARACTERS, REPLACEMENT)].difference(*short)
        self._trees: dict[tuple[int, int | None], int] = {}
        self._rules: dict[tuple[str, int | None], int] = {}

    def whole(self, depth: int | None) -> int:
        """The texts of languages.Outlined. An outline that is left recursive must have a depth."""
        text = self._text(depth)
        if not self.stops:
            return text
        a = self.a
        stopped = [
            a.concat_all([*(a.symbol(self.members[single(c)]) for c in stop), a.EVERYTHING])
            for stop in self.stops
        ]
        return a.concat(text, a.union([a.EPSILON, *stopped]))

    def _text(self, depth: int | None) -> int:
        if depth is None:
            shortest = self.outline.shortest
            for name, length in shortest.items():  # a rule that derives nothing is left out
                derives = not math.isinf(length)
                self._rules[name, None] = self.a.later(length == 0) if derives else self.a.EMPTY
            for name, tree in self.outline.rules.items():
                if not math.isinf(shortest[name]):
                    later = self._rules[name, None]
                    self.a.define(later, self.tree(tree, None), shortest[name])
        return self.tree(self.outline.start, depth)

    def rule(self, name: str, depth: int | None) -> int:
        key = (name, depth)
        if key not in self._rules:
            counts = depth is not None and name in self.counted
            if counts and depth == 0:
                self._rules[key] = self.filled(self.outline.shortest[name])
            else:
                below = depth - 1 if depth is not None and counts else depth
                self._rules[key] = self.tree(self.outline.rules[name], below)
        return self._rules[key]

    def filled(self, length: float) -> int:
        """Any text of at least so many characters."""
        if math.isinf(length):
            return self.a.EMPTY
        least = min(int(length), FILLED)
        some = self.a.repeat(self.a.symbol(self.kept), least, least)
        return self.a.concat(some, self.a.EVERYTHING)

    def tree(self, tree: Tree, depth: int | None) -> int:
        key = (id(tree), depth)
        if key not in self._trees:
            self._trees[key] = self._tree(tree, depth)
        return self._trees[key]

    def _tree(self, tree: Tree, depth: int | None) -> int:
        a = self.a
        match tree.operator, tree.parts:
            case "set", (runs,):
                return a.symbol(self.members[runs] & self.kept)
            case "rule", (name,):
                return self.rule(name, depth)
            case "seq", parts:
                return a.concat_all([self.tree(part, depth) for part in parts])
            case "alt", parts:
                return a.union([self.tree(part, depth) for part in parts])
            case "and", parts:
                return a.intersection([self.tree(part, depth) for part in parts])
            case "repeat", (inner, least, most, _):
                bound = INFINITE if most == -1 else most
                return a.repeat(self.tree(inner, depth), least, bound)
        raise AssertionError(tree.operator)
