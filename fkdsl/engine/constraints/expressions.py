r"""Regular expressions with intersection and complement, by Brzozowski's derivatives (1964; Owens,
Reppy, Turon 2009).

An `Algebra` numbers expressions over the classes of a partition. Expressions that are equal by the
laws of `or`, `and` and `not` have one number, so an expression has finitely many derivatives: they
are the states of an automaton.

>>> a = Algebra(2)
>>> word = a.concat(a.symbol({0}), a.star(a.symbol({1})))      # 0 1*
>>> a.nullable(word), a.nullable(a.derive(word, 0)), a.derive(word, 1) == a.EMPTY
(False, True, True)
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from fkdsl.base.deadline import check
from fkdsl.engine.constraints.counters import Counter
from fkdsl.engine.constraints.text_parts import TextParts
from fkdsl.engine.constraints.transducers import Transducer

Term = tuple[object, ...]
INFINITE = -1
"""The upper bound of a repeat without an upper bound."""
CHECKED_STEPS = 256
"""Derivatives and parts between two checks of the deadline."""


class TooComplex(Exception):
    """An expression or automaton passed its bounds; the conditions then check the text."""


class Algebra:
    """Expressions over `symbols` classes of characters. most: how many expressions there may be.
    parts: how many parts of unions and intersections may be visited in all, which bounds time and
    memory."""

    EMPTY, EPSILON, EVERYTHING = 0, 1, 2

    def __init__(self, symbols: int, most: int = 50_000, parts: int = 1_000_000) -> None:
        self.symbols, self.most, self.parts = symbols, most, parts
        self.visited = self._steps = 0
        self._nodes: list[Term] = [("empty",), ("epsilon",), ("everything",)]
        self._ids: dict[Term, int] = {n: i for i, n in enumerate(self._nodes)}
        self._nullable: dict[int, bool] = {0: False, 1: True, 2: True}
        self._derived: dict[tuple[int, int], int] = {}
        self._defined: dict[int, int] = {}
        self._shortest: dict[int, float] = {0: math.inf, 1: 0, 2: 0}

    def _make(self, *node: object) -> int:
        number = self._ids.get(node)
        if number is None:
            if len(self._nodes) >= self.most:
                raise TooComplex(f"more than {self.most:,} states")
            number = self._ids[node] = len(self._nodes)
            self._nodes.append(node)
        return number

    def _count_step(self) -> None:
        """Checks the deadline at every CHECKED_STEPS steps. Results are entered when they are
        whole, so a run that ends here leaves the algebra as it was."""
        self._steps += 1
        if not self._steps % CHECKED_STEPS:
            check()

    @property
    def half_spent(self) -> bool:
        """Whether half of the bounds is used up."""
        return 2 * len(self._nodes) > self.most or 2 * self.visited > self.parts

    # ------------------------------------------------------------ construction

    def symbol(self, classes: Iterable[int]) -> int:
        """One character of one of the classes."""
        members = frozenset(classes)
        return self._make("symbol", members) if members else self.EMPTY

    def any_symbol(self) -> int:
        return self.symbol(range(self.symbols))

    def concat(self, a: int, b: int) -> int:
        if self.EMPTY in (a, b):
            return self.EMPTY
        if a == self.EPSILON:
            return b
        if b == self.EPSILON:
            return a
        if a == b == self.EVERYTHING:
            return a
        # Nest to the right, so that more of the expressions that are equal have one number.
        firsts: list[int] = []
        node = self._nodes[a]
        while node[0] == "concat":
            _, first, a = node  # type: ignore[assignment]
            firsts.append(first)  # type: ignore[arg-type]
            node = self._nodes[a]
        result = b if a == b == self.EVERYTHING else self._make("concat", a, b)
        for first in reversed(firsts):
            result = (
                result
                if first == result == self.EVERYTHING
                else self._make("concat", first, result)
            )
        return result

    def concat_all(self, parts: Iterable[int]) -> int:
        result = self.EPSILON
        for part in reversed(list(parts)):
            result = self.concat(part, result)
        return result

    def repeat(self, a: int, least: int, most: int) -> int:
        """`a` from `least` to `most` times; most INFINITE: no upper bound."""
        least = max(least, 0)
        if most != INFINITE and most < least:
            return self.EMPTY
        if most == 0 or a == self.EPSILON:
            return self.EPSILON
        if a == self.EMPTY:
            return self.EPSILON if least == 0 else self.EMPTY
        if (least, most) == (1, 1):
            return a
        if self.nullable(a):
            least = 0
        if most == INFINITE and least == 0:
            if a in (self.EVERYTHING, self.any_symbol()):
                return self.EVERYTHING
            if self._nodes[a][0] == "repeat" and self._nodes[a][2:] == (0, INFINITE):
                return a
        return self._make("repeat", a, least, most)

    def star(self, a: int) -> int:
        return self.repeat(a, 0, INFINITE)

    def union(self, parts: Iterable[int]) -> int:
        kept = self._flat("or", parts) - {self.EMPTY}
        if self.EVERYTHING in kept or any(
            self.complement(p) in kept for p in kept if self._nodes[p][0] == "not"
        ):
            return self.EVERYTHING
        kept = self._merge_symbols(kept)
        if len(kept) <= 1:
            return kept.pop() if kept else self.EMPTY
        return self._make("or", *sorted(kept))

    def intersection(self, parts: Iterable[int]) -> int:
        kept = self._flat("and", parts) - {self.EVERYTHING}
        if self.EMPTY in kept or any(
            self.complement(p) in kept for p in kept if self._nodes[p][0] == "not"
        ):
            return self.EMPTY
        if len(kept) <= 1:
            return kept.pop() if kept else self.EVERYTHING
        return self._make("and", *sorted(kept))

    def complement(self, a: int) -> int:
        if a in (self.EMPTY, self.EVERYTHING):
            return self.EVERYTHING if a == self.EMPTY else self.EMPTY
        match self._nodes[a]:
            case ("not", int(inner)):
                return inner
        return self._make("not", a)

    def preimage(self, of: Transducer, a: int, state: int | None = None) -> int:
        """The texts that the function maps into a, read from a state on, at first its own."""
        if a in (self.EMPTY, self.EVERYTHING):
            return a
        return self._make("map", of, of.start if state is None else state, a)

    def counter(self, counter: Counter, state: tuple[int, ...] | None = None) -> int:
        """The texts that a counter accepts, read from a state on, at first its own."""
        return self._make("counter", counter, counter.start if state is None else state)

    def part(self, of: TextParts, state: int | None = None) -> int:
        """The texts that stand in a text, read from a state on, at first its own."""
        return self._make("part", of, of.start if state is None else state)

    def _flat(self, kind: str, parts: Iterable[int]) -> set[int]:
        flat: set[int] = set()
        for part in parts:
            self._count_step()
            node = self._nodes[part]
            self.visited += len(node)
            if node[0] == kind:
                flat.update(n for n in node[1:] if isinstance(n, int))
            else:
                flat.add(part)
            if self.visited > self.parts:
                raise TooComplex(f"more than {self.parts:,} parts")
        return flat

    def _merge_symbols(self, parts: set[int]) -> set[int]:
        symbols = {p for p in parts if self._nodes[p][0] == "symbol"}
        if len(symbols) < 2:
            return parts
        members = (self._nodes[p][1] for p in symbols)
        classes: frozenset[int] = frozenset().union(*members)  # type: ignore[arg-type]
        return (parts - symbols) | {self.symbol(classes)}

    def later(self, nullable: bool | None = None) -> int:
        """A new expression, which `define` defines: so an expression may refer to itself. nullable:
        whether it will have the empty text, if it stands in repeats before it is defined."""
        later = self._make("later", len(self._nodes))
        if nullable is not None:
            self._nullable[later] = nullable
        return later

    def define(self, later: int, expression: int, shortest: float = 0) -> None:
        """Defines an expression of `later`. The definition must read a character before it refers
        to itself. shortest: the characters of its shortest text, or fewer."""
        self._defined[later] = expression
        self._shortest[later] = shortest

    def parts_of(self, a: int) -> Term:
        """The operator of an expression and what it is of; of one of `later`, its definition."""
        match self._nodes[a]:
            case ("later", _):
                return "later", self._defined[a]
        return self._nodes[a]

    # -------------------------------------------------------------- derivatives

    def nullable(self, a: int) -> bool:
        """Whether the empty text is in the language."""
        if a not in self._nullable:
            match self._nodes[a]:
                case ("symbol", _):
                    nullable = False
                case ("concat", int(first), int(rest)):
                    nullable = self.nullable(first) and self.nullable(rest)
                case ("repeat", int(inner), least, _):
                    nullable = least == 0 or self.nullable(inner)
                case ("or", *parts):
                    nullable = any(self.nullable(p) for p in parts if isinstance(p, int))
                case ("and", *parts):
                    nullable = all(self.nullable(p) for p in parts if isinstance(p, int))
                case ("not", int(inner)):
                    nullable = not self.nullable(inner)
                case ("map", Transducer() as of, int(state), int(inner)):
                    nullable = self.nullable(self.derive_all(inner, of.final(state)))
                case ("counter", Counter() as counter, tuple(state)):
                    nullable = counter.accepts(state)
                case ("part", *_):
                    nullable = True
                case ("later", _):
                    nullable = self.nullable(self._defined[a])
                case _:
                    raise AssertionError(a)
            self._nullable[a] = nullable
        return self._nullable[a]

    def shortest(self, a: int) -> float:
        """The characters of the shortest text of the language, inf if it has none. Perhaps fewer
        where there is an intersection, a complement or a transducer in it."""
        parts = 0.0
        while a not in self._shortest and self._nodes[a][0] == "concat":
            _, first, a = self._nodes[a]  # type: ignore[assignment]
            parts += self.shortest(first)  # type: ignore[arg-type]
        if a not in self._shortest:
            self._shortest[a] = self._length(a)
        return parts + self._shortest[a]

    def _length(self, a: int) -> float:
        match self._nodes[a]:
            case ("symbol", _):
                return 1
            case ("repeat", int(inner), int(least), _):
                return least * self.shortest(inner) if least else 0
            case ("or", *parts):
                return min(self.shortest(p) for p in parts if isinstance(p, int))
            case ("and", *parts):
                return max(self.shortest(p) for p in parts if isinstance(p, int))
            case ("not", _) | ("map", *_) | ("counter", *_) | ("part", *_):
                return 0 if self.nullable(a) else 1
        raise AssertionError(a)

    def derive(self, a: int, symbol: int) -> int:
        """The derivative by a character c of the class: { s : c s in a }."""
        key = (a, symbol)
        if key not in self._derived:
            self._derived[key] = self._derive(a, symbol)
        return self._derived[key]

    def _derive(self, a: int, c: int) -> int:
        self._count_step()
        match self._nodes[a]:
            case ("empty",) | ("epsilon",):
                return self.EMPTY
            case ("everything",):
                return a
            case ("symbol", frozenset() as classes):
                return self.EPSILON if c in classes else self.EMPTY
            case ("concat", int(first), int(rest)):
                onward = self.concat(self.derive(first, c), rest)
                return (
                    self.union([onward, self.derive(rest, c)]) if self.nullable(first) else onward
                )
            case ("repeat", int(inner), int(least), int(most)):
                fewer = most if most == INFINITE else most - 1
                return self.concat(
                    self.derive(inner, c), self.repeat(inner, max(least - 1, 0), fewer)
                )
            case ("or", *parts):
                return self.union(self.derive(p, c) for p in parts if isinstance(p, int))
            case ("and", *parts):
                return self.intersection(self.derive(p, c) for p in parts if isinstance(p, int))
            case ("not", int(inner)):
                return self.complement(self.derive(inner, c))
            case ("map", Transducer() as of, int(state), int(inner)):
                after = [
                    self.preimage(of, self.derive_all(inner, written), following)
                    for following, written in of.step(state, c)
                ]
                return self.union(after) if of.widest else self.intersection(after)
            case ("counter", Counter() as counter, tuple(state)):
                following = counter.step(state, c)
                if following is None:
                    return self.EVERYTHING if counter.widest else self.EMPTY
                return self.counter(counter, following)
            case ("part", TextParts() as whole, int(state)):
                behind = whole.step(state, c)
                return self.EMPTY if behind is None else self.part(whole, behind)
            case ("later", _):
                return self.derive(self._defined[a], c)
        raise AssertionError(a)

    def derive_all(self, a: int, symbols: Iterable[int]) -> int:
        """The derivative by several characters, one after the other."""
        for symbol in symbols:
            a = self.derive(a, symbol)
        return a
