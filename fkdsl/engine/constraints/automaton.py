"""The automaton of a regular language over characters, explored as it is walked.

States are expressions (derivatives of the first). Small automata are explored whole: then it is
known from which states a text of the language can still be reached, and a language that holds
nothing at all is found at once.
"""

from __future__ import annotations

import threading
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.locks import locked
from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, Partition
from fkdsl.engine.constraints.expressions import Algebra, TooComplex
from fkdsl.engine.constraints.languages import Language, LanguageExpressions, charsets_in
from fkdsl.engine.constraints.stops import Until, drawn, stops_of

EXPLORED_STATES = 2_000
EXPLORED_STEPS = 100_000
"""States, and steps between them, up to which an automaton is explored whole."""
MOST_STATES = 20_000
DEAD = 0
"""The state of the expression that holds nothing."""


class Automaton:
    """States are numbers from 0, DEAD the one from which nothing is accepted; `start` is where a
    text begins.

    accepting: per state so far. live: per state so far, whether a text of the language can be
    reached; exact if `explored`, else all but DEAD. Where too many states would be met,
    `everything` stands for the next: what it accepts is for the conditions to decide. No text is in
    the language after a surrogate.
    """

    def __init__(self, language: Language, until: Until = "") -> None:
        stops = stops_of(until)
        self.lock = threading.RLock()
        self.partition = Partition(charsets_in(language, stops))
        self.algebra = Algebra(self.partition.size)
        try:
            expressions = LanguageExpressions(self.algebra, self.partition.members)
            root = drawn(self.algebra, expressions.text, expressions.language(language), stops)
            self.algebra.nullable(root)
        except RecursionError:
            raise TooComplex("too long a text or too deep a pattern") from None
        self._none = sorted(
            set(range(self.partition.size)) - self.partition.members[ALL_CHARACTERS]
        )
        self._expression = [Algebra.EMPTY]
        self._state = {Algebra.EMPTY: DEAD}
        self.accepting: list[bool] = [False]
        self.table = self._rows(64)
        self.table[DEAD] = DEAD
        self.start = self._of(root)
        self.everything = self._of(Algebra.EVERYTHING)
        self.exact, self.explored = True, False
        self._explore()
        self.live = self._live()

    def _of(self, expression: int) -> int:
        if expression not in self._state:
            if len(self._expression) >= MOST_STATES:
                raise TooComplex(f"more than {MOST_STATES:,} states")
            self._state[expression] = len(self._expression)
            self._expression.append(expression)
            self.accepting.append(self.algebra.nullable(expression))
            if len(self._expression) > len(self.table):
                self.table = np.concatenate([self.table, self._rows(len(self.table))])
        return self._state[expression]

    def _rows(self, states: int) -> NDArray[np.int32]:
        rows = np.full((states, self.partition.size), -1, dtype=np.int32)
        rows[:, self._none] = DEAD
        return rows

    @property
    def size(self) -> int:
        """States so far."""
        return len(self._expression)

    def step(self, state: int, symbol: int) -> int:
        """The state after a character of a class; who calls it holds the lock."""
        found = int(self.table[state, symbol])
        if found < 0:
            try:
                found = self._of(self.algebra.derive(self._expression[state], symbol))
            except (TooComplex, RecursionError):
                found, self.exact = self.everything, False
            self.table[state, symbol] = found
        return found

    @locked
    def steps(self, states: NDArray[np.int32], symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """`step` for arrays of equal length."""
        found = self.table[states, symbols]
        if (found < 0).any():
            missing = np.unique(np.stack([states, symbols])[:, found < 0], axis=1)
            for state, symbol in missing.T:
                self.step(int(state), int(symbol))
            found = self.table[states, symbols]
        return found

    @locked
    def read(self, state: int, text: str) -> int:
        """The state after a text."""
        for symbol in self.partition.classes_of(text):
            state = self.step(state, symbol)
        return state

    def accepts(self, text: str) -> bool:
        return self.accepting[self.read(self.start, text)]

    # -------------------------------------------------------------- exploration

    def _explore(self) -> None:
        state = 0
        while state < self.size:
            too_many = self.size > EXPLORED_STATES or state * self.partition.size > EXPLORED_STEPS
            if too_many or not self.exact or self.algebra.half_spent:
                return
            for symbol in range(self.partition.size):
                self.step(state, symbol)
            state += 1
        self.explored = self.exact

    def _live(self) -> NDArray[np.bool_]:
        """Which of the explored states reach acceptance."""
        if not self.explored:
            return np.ones(0, dtype=np.bool_)
        live = np.array(self.accepting, dtype=np.bool_)
        table = self.table[: self.size]
        while True:
            more = live | live[table].any(axis=1)
            if (more == live).all():
                return live
            live = more

    def is_live(self, states: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the states may still be accepted; all but DEAD where the automaton is too large
        to know."""
        return self.live[states] if self.explored else states != DEAD

    @property
    def is_empty(self) -> bool:
        """Whether it is known that no text at all is in the language."""
        return not bool(self.is_live(np.array([self.start], dtype=np.int32))[0])


@lru_cache(maxsize=128)
def automaton(language: Language, until: Until = "") -> Automaton:
    """The automaton of the texts drawn for a language. Raises Unsupported or TooComplex."""
    return Automaton(language, until)
