"""The automaton of a regular language over characters, whose states are made when a walk first
reaches them.

A state is an expression, a derivative of the language's own. Small automata are explored whole when
they are built. Then it is known from which states a text of the language can still be reached, and
an empty language is recognised at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import PIECE, check, pieces
from fkdsl.base.kept import kept
from fkdsl.base.locks import locked
from fkdsl.engine.constraints.bounds import verify_kinds, verify_size, within_bounds
from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, Partition
from fkdsl.engine.constraints.composition import EXPLORED_STATES, EXPLORED_STEPS, table_of
from fkdsl.engine.constraints.expressions import Algebra, TooComplex
from fkdsl.engine.constraints.language_charsets import charsets_in
from fkdsl.engine.constraints.language_expressions import LanguageExpressions
from fkdsl.engine.constraints.languages import Language
from fkdsl.engine.constraints.stops import Ending, Until, drawn_texts, stops_of
from fkdsl.engine.constraints.tables import Table

MOST_STATES = 20_000
KEPT_CELLS, KEPT_AUTOMATA = 20_000_000, 2_000
"""Numbers in tables, and automata, that are kept for later: where a condition reads a variable, a
population has many."""
DEAD = 0
"""The state of the empty language."""


class Automaton:
    """States are numbers from 0. DEAD accepts nothing; a text begins in `start`.

    most_explored: with how many states an automaton is explored whole. algebra: makes the algebra
    of so many classes of characters.

    accepting: for each state so far, whether it accepts. live: for each state, whether a text of
    the language can still be reached, if `explored`. exact: whether every state stands for its own
    expression; where there are too many states, `everything`, which accepts all texts, stands for
    further ones, and the conditions decide. impossible: the classes of UTF-16 surrogates, which no
    text of the language has.
    """

    def __init__(
        self,
        language: Language,
        until: Until = "",
        ending: Ending = Ending.ANY,
        *,
        most_explored: int = EXPLORED_STATES,
        algebra: Callable[[int], Algebra] = Algebra,
    ) -> None:
        self.lock = threading.RLock()
        with within_bounds():
            self._make(language, stops_of(until), ending, most_explored, algebra)

    def _make(
        self,
        language: Language,
        stops: tuple[str, ...],
        ending: Ending,
        most_explored: int,
        algebra: Callable[[int], Algebra],
    ) -> None:
        verify_size(language, stops)
        sets = charsets_in(language, stops)
        verify_kinds(sets)
        self._over(Partition(sets))
        if most_explored == EXPLORED_STATES and algebra is Algebra:
            table = table_of(language, self.partition, stops, ending)
            if table is not None:
                self._take(table)
                return
        self.algebra = algebra(self.partition.size + 1)
        try:
            expressions = LanguageExpressions(self.algebra, self.partition)
            root = drawn_texts(
                self.algebra, expressions.text, expressions.language(language), stops, ending
            )
            self.algebra.nullable(root)
        except RecursionError:
            raise TooComplex("too long a text or too deep a pattern") from None
        self._expression = [Algebra.EMPTY]
        self._state = {Algebra.EMPTY: DEAD}
        self.accepting: list[bool] = [False]
        self._shortest: list[float] = []
        self.table = self._rows(64)
        self.table[DEAD] = DEAD
        self.start = self._state_of(root)
        self.everything = self._state_of(Algebra.EVERYTHING)
        self.exact, self.explored = True, False
        self._explore(most_explored)
        self.live = self._live()

    @classmethod
    def of_table(cls, table: Table, partition: Partition) -> Automaton:
        """The automaton of a table over these classes of characters."""
        made = cls.__new__(cls)
        made.lock = threading.RLock()
        made._over(partition)
        made._take(table)
        return made

    def _over(self, partition: Partition) -> None:
        self.partition = partition
        self.impossible = sorted(set(range(partition.size)) - partition.members[ALL_CHARACTERS])

    def _take(self, table: Table) -> None:
        """Takes over a table: the states that are not live become DEAD, and the others follow."""
        live = table.live
        number = np.where(live, np.cumsum(live), DEAD).astype(np.int32)
        after = number[table.after[live]]
        after[:, self.impossible] = DEAD
        self.table = np.concatenate([np.full((1, self.partition.size), DEAD, np.int32), after])
        self.accepting = [False, *table.accepting[live].tolist()]
        self.start = int(number[0])
        self.exact = self.explored = True
        self.live = np.arange(len(self.accepting)) != DEAD

    def _state_of(self, expression: int) -> int:
        if expression not in self._state:
            if len(self._expression) >= MOST_STATES:
                raise TooComplex(f"more than {MOST_STATES:,} states")
            # What may fail comes first: all three are entered, or none.
            accepting = self.algebra.nullable(expression)
            self._state[expression] = len(self._expression)
            self._expression.append(expression)
            self.accepting.append(accepting)
            if len(self._expression) > len(self.table):
                self.table = np.concatenate([self.table, self._rows(len(self.table))])
        return self._state[expression]

    def _rows(self, states: int) -> NDArray[np.int32]:
        rows = np.full((states, self.partition.size), -1, dtype=np.int32)
        rows[:, self.impossible] = DEAD
        return rows

    @property
    def size(self) -> int:
        """The number of states so far."""
        return len(self.accepting)

    def expression(self, state: int) -> int:
        """The expression of the texts from a state on."""
        return self._expression[state]

    def step(self, state: int, symbol: int) -> int:
        """The state after a character of a class. The caller holds the lock."""
        after = int(self.table[state, symbol])
        if after < 0:
            try:
                after = self._state_of(self.algebra.derive(self._expression[state], symbol))
            except (TooComplex, RecursionError):
                after, self.exact = self.everything, False
            self.table[state, symbol] = after
        return after

    @locked
    def steps(self, states: NDArray[np.int32], symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """`step` for arrays of equal length."""
        after = self.table[states, symbols]
        if (after < 0).any():
            missing = np.unique(np.stack([states, symbols])[:, after < 0], axis=1)
            for state, symbol in missing.T:
                self.step(int(state), int(symbol))
            after = self.table[states, symbols]
        return after

    @locked
    def read(self, state: int, text: str) -> int:
        """The state after a text."""
        for piece in pieces(text) if len(text) > PIECE else (text,):
            for symbol in self.partition.classes_of(piece):
                state = self.step(state, symbol)
        return state

    def accepts(self, text: str) -> bool:
        return self.accepting[self.read(self.start, text)]

    # -------------------------------------------------------------- exploration

    def _explore(self, most: int) -> None:
        state = 0
        while state < self.size:
            too_many = self.size > most or state * self.partition.size > EXPLORED_STEPS
            if too_many or not self.exact or self.algebra.half_spent:
                return
            for symbol in range(self.partition.size):
                self.step(state, symbol)
            state += 1
        self.explored = self.exact

    def _live(self) -> NDArray[np.bool_]:
        """(states,) from which an accepting state can be reached; empty if not explored."""
        if not self.explored:
            return np.ones(0, dtype=np.bool_)
        live = np.array(self.accepting, dtype=np.bool_)
        table = self.table[: self.size]
        while True:
            check()
            more = live | live[table].any(axis=1)
            if (more == live).all():
                return live
            live = more

    @locked
    def merge_states(self) -> None:
        """Makes equivalent states one, where the automaton is explored (Moore 1956: states are told
        apart by what they accept, then by the states that they lead to, until no more are)."""
        if not self.explored:
            return
        table, count = self.table[: self.size], 0
        merged = np.array(self.accepting, dtype=np.int32)
        while merged.max() + 1 > count:
            check()
            count = int(merged.max()) + 1
            rows = np.concatenate([merged[:, None], merged[table]], axis=1)
            _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
            merged = np.asarray(inverse.ravel(), dtype=np.int32)
        # DEAD keeps its number.
        number = np.arange(count, dtype=np.int32)
        number[[DEAD, merged[DEAD]]] = merged[DEAD], DEAD
        merged, order = number[merged], np.argsort(number)
        self.table = merged[table[first[order]]]
        self._expression = [self._expression[q] for q in first[order].tolist()]
        self._state = {e: q for q, e in enumerate(self._expression)}
        self.accepting = [self.accepting[q] for q in first[order].tolist()]
        self.start, self.everything = int(merged[self.start]), int(merged[self.everything])
        self._shortest, self.live = [], self._live()

    def is_live(self, states: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the states can still reach acceptance; all but DEAD if the automaton was not
        explored."""
        return self.live[states] if self.explored else states != DEAD

    @locked
    def shortest(self, states: NDArray[np.int32]) -> NDArray[np.float64]:
        """The characters of the shortest text from each of the states to acceptance, or fewer; inf
        where there is none."""
        for state in range(len(self._shortest), self.size):
            self._shortest.append(self.algebra.shortest(self._expression[state]))
        return np.array(self._shortest)[states]

    @property
    def allows_all(self) -> bool:
        """Whether the automaton shows that it accepts every text."""
        if not self.explored:
            return self.start != DEAD and self._expression[self.start] == Algebra.EVERYTHING
        possible = sorted(set(range(self.partition.size)) - set(self.impossible))
        seen, todo = {self.start}, [self.start]
        while todo:
            state = todo.pop()
            if not self.accepting[state]:
                return False
            after = set(self.table[state, possible].tolist()) - seen
            seen |= after
            todo += after
        return True

    @property
    def is_empty(self) -> bool:
        """Whether the automaton shows that no text is in the language."""
        return not bool(self.is_live(np.array([self.start], dtype=np.int32))[0])


def automaton(language: Language, until: Until = "", ending: Ending = Ending.ANY) -> Automaton:
    """The automaton of the texts that may be drawn for a language (stops.drawn_texts). Raises
    Unsupported or TooComplex."""
    made = kept_automaton(language, until, ending)
    if isinstance(made, str):
        raise TooComplex(made)
    return made


@kept(KEPT_CELLS, lambda made: 1 if isinstance(made, str) else made.table.size, KEPT_AUTOMATA)
def kept_automaton(language: Language, until: Until, ending: Ending) -> Automaton | str:
    """The automaton, or why it is too complex: who asks again need not wait again."""
    try:
        return Automaton(language, until, ending)
    except TooComplex as error:
        return str(error)
