"""Places in a text, of which is known what the rest of a pattern depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fkdsl.engine.constraints.expressions import Algebra
from fkdsl.engine.constraints.histories import History
from fkdsl.engine.constraints.pattern_trees import Text

Capture = Text | str
"""What a group has captured: a text, or one of the following."""
UNSET, UNKNOWN, PERHAPS = "unset", "unknown", "perhaps"
"""A group that has not matched; that has matched a text which is not known; of which not even that
is known."""


class TextPlace(NamedTuple):
    """A place in a text. start: whether it is the beginning. history: what look-behinds know of the
    text before it. captures: what each group has captured. times: for each repeat that the place is
    in, the outermost first, the captures with which times that have read no character began; None
    once a character was read."""

    start: bool
    history: History
    captures: tuple[Capture, ...] = ()
    times: tuple[tuple[tuple[Capture, ...], ...] | None, ...] = ()


Rest = Callable[[TextPlace], int]
"""The expression of what follows, as a function of the place where it begins."""


def remembered(rest: Rest) -> Rest:
    """A function of a place that is called once for each."""
    known: dict[TextPlace, int] = {}

    def once(place: TextPlace) -> int:
        if place not in known:
            known[place] = rest(place)
        return known[place]

    return once


class Later:
    """A function of a place that refers to itself: its value at a place is an expression that is
    defined once all that led to it is made. definition: the function, which reads a character
    before it refers to itself."""

    def __init__(self, algebra: Algebra) -> None:
        self.a, self.known = algebra, dict[TextPlace, int]()
        self.definition: Rest = lambda place: Algebra.EMPTY
        self._waiting: list[TextPlace] = []
        self._defines = False

    def __call__(self, place: TextPlace) -> int:
        if place not in self.known:
            self.known[place] = self.a.later()
            self._waiting.append(place)
            self._define()
        return self.known[place]

    def _define(self) -> None:
        """Defines what waits, one after the other, so that no place is within another's call."""
        if self._defines:
            return
        self._defines = True
        while self._waiting:
            place = self._waiting.pop()
            self.a.define(self.known[place], self.definition(place))
        self._defines = False
