"""The automaton of a regular language over characters, explored as it is walked.

States are expressions (derivatives of the first). Small automata are explored whole: then it is known from which
states a text of the language can still be reached, and a language that holds nothing at all is found at once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fkdsl.engine.constraints.charsets import Partition
from fkdsl.engine.constraints.expressions import Algebra, TooComplex
from fkdsl.engine.constraints.languages import Expressions, Language, charsets_in

EXPLORED = 2_000
"""States up to which an automaton is explored whole."""
MOST_STATES = 20_000
DEAD = 0
"""The state of the expression that holds nothing."""


class Automaton:
    """States are numbers from 0, DEAD the one from which nothing is accepted; `start` is where a text begins.

    accepting: per state so far. live: per state so far, whether a text of the language can be reached; exact if
    `explored`, else all but DEAD.
    """

    def __init__(self, language: Language, until: str = "") -> None:
        self.partition = Partition(charsets_in(language, until))
        self.algebra = Algebra(self.partition.size)
        expressions = Expressions(self.algebra, self.partition.members)
        root = expressions.drawn(expressions.language(language), until)
        self._expression = [Algebra.EMPTY]
        self._state = {Algebra.EMPTY: DEAD}
        self.accepting: list[bool] = [False]
        self.table = np.full((64, self.partition.size), -1, dtype=np.int32)
        self.table[DEAD] = DEAD
        self.start = self._of(root)
        self.everything = self._of(Algebra.EVERYTHING)
        self.explored = False
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
                more = np.full((len(self.table), self.partition.size), -1, dtype=np.int32)
                self.table = np.concatenate([self.table, more])
        return self._state[expression]

    @property
    def size(self) -> int:
        """States so far."""
        return len(self._expression)

    def step(self, state: int, symbol: int) -> int:
        """The state after a character of a class."""
        found = int(self.table[state, symbol])
        if found < 0:
            found = self._of(self.algebra.derive(self._expression[state], symbol))
            self.table[state, symbol] = found
        return found

    def steps(self, states: NDArray[np.int32], symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """`step` for arrays of equal length."""
        found = self.table[states, symbols]
        if (found < 0).any():
            missing = np.unique(np.stack([states, symbols])[:, found < 0], axis=1)
            for state, symbol in missing.T:
                self.step(int(state), int(symbol))
            found = self.table[states, symbols]
        return found

    def read(self, state: int, text: str) -> int:
        """The state after a text."""
        for symbol in self.partition.classes_of(text):
            state = self.step(state, symbol)
        return state

    def accepts(self, text: str) -> bool:
        return self.accepting[self.read(self.start, text)]

    # -------------------------------------------------------------- exploration

    def _explore(self) -> None:
        try:
            state = 0
            while state < self.size:
                if self.size > EXPLORED:
                    return
                for symbol in range(self.partition.size):
                    self.step(state, symbol)
                state += 1
        except TooComplex:
            return
        self.explored = True

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
        """Which of the states may still be accepted; all but DEAD where the automaton is too large to know."""
        return self.live[states] if self.explored else states != DEAD

    @property
    def is_empty(self) -> bool:
        """Whether it is known that no text at all is in the language."""
        return not bool(self.is_live(np.array([self.start], dtype=np.int32))[0])


@lru_cache(maxsize=128)
def automaton(language: Language, until: str = "") -> Automaton:
    """The automaton of the texts drawn for a language. Raises Unsupported or TooComplex."""
    return Automaton(language, until)
