"""The first match of a part of a pattern. An atomic group matches that alone: once it has matched,
nothing else is tried in it.

Of several parts that are tried in order, a later one matches where no earlier one does:

    first(A | B, K)  =  first(A, K)  |  (nothing that begins with A)  &  first(B, K)
    first(A*, K)     =  first(A A* | nothing, K)

Each option stands with all of the group that follows it, for the group tries the next option where
the rest of it does not match.
"""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.pattern_trees import Tree, sequence
from fkdsl.engine.constraints.text_places import Later, Rest, TextPlace, remembered

Todo = tuple[Tree, ...]
"""Parts that match one after the other."""
Translation = Callable[[Tree, Rest, bool], Rest]
Branches = Callable[[int, Tree, Tree, TextPlace], list[Tree]]


class FirstMatch:
    """translation, branches, rest, upper: those of PatternExpressions."""

    def __init__(
        self,
        algebra: Algebra,
        translation: Translation,
        branches: Branches,
        rest: Rest,
        upper: bool,
    ) -> None:
        self.a, self.translation, self.branches = algebra, translation, branches
        self.rest, self.upper = rest, upper
        self._known: dict[Todo, Rest] = {}
        self._begun: dict[Todo, Rest] = {}

    def of(self, todo: Todo) -> Rest:
        """The first match of the parts, and the rest, as a function of the place before them."""
        if not todo:
            return self.rest
        if todo not in self._known:
            self._known[todo] = self._of(todo[0], todo[1:])
        return self._known[todo]

    def _of(self, head: Tree, tail: Todo) -> Rest:
        match head.operator, head.parts:
            case "seq", parts:
                return self.of((*parts, *tail))
            case "alt", parts:
                return remembered(self.choice([(part, *tail) for part in parts]))
            case "repeat", (inner, least, most, greedy):
                fewer = most if most == INFINITE else most - 1
                again = (inner, Tree("repeat", (inner, max(least - 1, 0), fewer, greedy)), *tail)
                if least:
                    return self.of(again)
                if most == 0:
                    return self.of(tail)
                return self.repeat((head, *tail), [again, tail] if greedy else [tail, again])
            case "atomic", (inner,):
                after = self.of(tail)
                return FirstMatch(self.a, self.translation, self.branches, after, self.upper).of(
                    (inner,)
                )
            case "given", (number, yes, no):
                ways = {tree: self.of((tree, *tail)) for tree in (yes, no)}
                return remembered(
                    lambda place: self.a.union(
                        [ways[tree](place) for tree in self.branches(number, yes, no, place)]
                    )
                )
        return self.translation(head, self.of(tail), self.upper)

    def choice(self, options: list[Todo]) -> Rest:
        """The first of the options that matches."""
        matches = [self.of(option) for option in options]
        begins = [self.begins(option) for option in options[:-1]]

        def first(place: TextPlace) -> int:
            parts = []
            for i, match in enumerate(matches):
                earlier = [self.a.complement(begins[k](place)) for k in range(i)]
                parts.append(self.a.intersection([*earlier, match(place)]))
            return self.a.union(parts)

        return first

    def repeat(self, todo: Todo, options: list[Todo]) -> Rest:
        repeats = self._known[todo] = Later(self.a)
        repeats.definition = self.choice(options)
        return repeats

    def begins(self, todo: Todo) -> Rest:
        """The texts that begin with the parts."""
        if todo not in self._begun:
            self._begun[todo] = self.translation(
                sequence(todo), lambda _: Algebra.EVERYTHING, not self.upper
            )
        return self._begun[todo]
