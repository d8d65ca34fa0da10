"""What look-behinds know of the text before a place: the derivative, by that text, of each language
that they ask for. A look-behind holds where its derivative has the empty text."""

from __future__ import annotations

from collections.abc import Iterable

from fkdsl.engine.constraints.expressions import Algebra, TooComplex

MOST_HISTORIES = 64
"""Most histories of one pattern."""
History = tuple[int, ...]


class Histories:
    """pasts: for each look-behind the texts behind which it holds. of_last: whether all of them
    depend on the last character alone. start: the history at the beginning of a text."""

    def __init__(self, algebra: Algebra, pasts: list[int], of_last: bool) -> None:
        self.a, self.start, self.of_last = algebra, tuple(pasts), of_last
        self._onward: dict[History, list[tuple[History, frozenset[int]]]] = {}
        self._between: dict[tuple[History, History], int] = {}

    def onward(self, history: History) -> list[tuple[History, frozenset[int]]]:
        """(the history behind a character, the classes of the characters that lead to it)."""
        if history not in self._onward:
            if len(self._onward) >= MOST_HISTORIES:
                raise TooComplex(f"more than {MOST_HISTORIES} states of look-behinds")
            classes: dict[History, set[int]] = {}
            for symbol in range(self.a.symbols):
                then = tuple(self.a.derive(past, symbol) for past in history)
                classes.setdefault(then, set()).add(symbol)
            self._onward[history] = [(then, frozenset(c)) for then, c in classes.items()]
        return self._onward[history]

    def ends(self, history: History, expression: int) -> Iterable[tuple[History, int]]:
        """(a history, the texts of an expression that lead to it), for all histories; the texts are
        not empty."""
        a = self.a
        if self.of_last:
            for then, classes in self.onward(history):
                last = a.concat(Algebra.EVERYTHING, a.symbol(classes))
                yield then, a.intersection([expression, last])
            return
        for then in self._reached(history):
            some = a.concat(a.any_symbol(), Algebra.EVERYTHING)
            texts = a.intersection([expression, some, self.between(history, then)])
            yield then, texts

    def _reached(self, history: History) -> list[History]:
        reached = [then for then, _ in self.onward(history)]
        for then in reached:
            reached += [more for more, _ in self.onward(then) if more not in reached]
        return reached

    def between(self, history: History, then: History) -> int:
        """The texts that lead from one history to another."""
        key = (history, then)
        if key not in self._between:
            a = self.a
            later = self._between[key] = a.later()
            steps = [
                a.concat(a.symbol(classes), self.between(onward, then))
                for onward, classes in self.onward(history)
            ]
            a.define(later, a.union([*steps, *([Algebra.EPSILON] if history == then else [])]))
        return self._between[key]
