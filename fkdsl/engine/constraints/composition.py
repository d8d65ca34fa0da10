"""The table of a language: its simple parts explored by derivatives, and put together by array
operations (tables.py)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, Partition
from fkdsl.engine.constraints.expressions import Algebra, TooComplex
from fkdsl.engine.constraints.language_expressions import LanguageExpressions
from fkdsl.engine.constraints.languages import (
    Beginnings,
    Both,
    Complement,
    Contains,
    Either,
    Language,
    MayFail,
)
from fkdsl.engine.constraints.stops import Ending
from fkdsl.engine.constraints.tables import Table, TooLarge, preimage, product
from fkdsl.engine.constraints.transducers import before_stop

EXPLORED_STATES = 2_000
EXPLORED_STEPS = 100_000
"""A simple part with at most so many states, and steps between them, is explored whole."""


def table_of(
    language: Language, partition: Partition, stops: Sequence[str], ending: Ending
) -> Table | None:
    """The table of the texts that may be drawn for a language (stops.drawn_texts), state 0 the one
    from which none can come, and where a text begins; None where it would be too large. Raises
    Unsupported."""
    try:
        whole = _Composition(partition).table(language, True)
        if stops:
            before, has_ended = before_stop([tuple(partition.classes_of(s)) for s in stops])
            whole = preimage(
                before,
                whole,
                partition.members[ALL_CHARACTERS],
                lambda state: ending is Ending.ANY or has_ended(state) == (ending is Ending.STOP),
            )
        elif ending is Ending.STOP:
            return None
        return whole.smaller()
    except (TooComplex, TooLarge, RecursionError):
        return None


class _Composition:
    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.possible = sorted(partition.members[ALL_CHARACTERS])

    def table(self, language: Language, upper: bool) -> Table:
        """The table of a language, larger or smaller where a part has only a weaker form."""
        match language:
            case Both((_, *_) as parts):
                return self.of_all(parts, upper, either=False)
            case Either((_, *_) as parts):
                words = tuple(p for p in parts if isinstance(p, Contains))
                if words == parts:  # a list of words is one automaton, however many there are
                    return self.explored(language, upper)
                others = [p for p in parts if not isinstance(p, Contains)]
                return self.of_all([*others, *([Either(words)] if words else [])], upper, True)
            case MayFail(part, fails):
                return self.of_all((part,) if upper else (part, fails), upper, either=True)
            case Complement(part):
                return self.table(part, not upper).complement()
            case Beginnings(part) if upper:
                of_part = self.table(part, upper)
                return Table(of_part.after, of_part.live).smaller()
        return self.explored(language, upper)

    def of_all(self, parts: Sequence[Language], upper: bool, either: bool) -> Table:
        tables = sorted((self.table(p, upper) for p in parts), key=lambda t: t.size)
        return reduce(lambda a, b: product(a, b, either).smaller(), tables)

    def explored(self, language: Language, upper: bool) -> Table:
        """The table of a language by derivatives, one state after the other. Raises TooLarge."""
        algebra = Algebra(self.partition.size + 1)
        expressions = LanguageExpressions(algebra, self.partition)
        found = [expressions.language(language, upper)]
        number = {found[0]: 0}
        rows: list[list[int]] = []
        for state, expression in enumerate(found):  # grows
            too_many = len(found) > EXPLORED_STATES
            if too_many or len(rows) * self.partition.size > EXPLORED_STEPS or algebra.half_spent:
                raise TooLarge
            row = [state] * self.partition.size
            for symbol in self.possible:
                after = algebra.derive(expression, symbol)
                if after not in number:
                    number[after] = len(found)
                    found.append(after)
                row[symbol] = number[after]
            rows.append(row)
        accepting = np.array([algebra.nullable(e) for e in found], dtype=np.bool_)
        return Table(np.array(rows, dtype=np.int32), accepting).smaller()
