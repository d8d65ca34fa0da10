"""The automata by which draws look ahead to a constraint's end (backward.py): one of all its parts.

A regular part has an automaton of its own, and a schema or grammar that of its outline
(completion_bounds.py), which may have more texts than it. Where one automaton for all of them is
too large for messages, that of a part says less, and looks ahead too: h is a guess in any case, and
masks and conditions decide.

>>> from fkdsl.engine.constraints.constraint import make_constraint
>>> from fkdsl.engine.constraints.languages import Both, JsonText, Matches
>>> from fkdsl.models.vocabulary import Vocabulary
>>> language = Both((JsonText('{"enum": ["a", "bb"]}'), Matches('.*b.*')))
>>> constraint = make_constraint(language, "", Vocabulary((b'"', b"a", b"b", b""), frozenset({3})))
>>> (way,) = futures(constraint)[0]
>>> [way.masks.automaton.accepts(text) for text in ('"a"', '"bb"', "bb")]
[False, True, False]
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.backward import Way
from fkdsl.engine.constraints.charsets import Partition
from fkdsl.engine.constraints.closed import ClosedMasks
from fkdsl.engine.constraints.completion_bounds import completion_bounds
from fkdsl.engine.constraints.constraint import Alternatives, Constraint, Future
from fkdsl.engine.constraints.grammars import GrammarMasks
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.tables import Table, TooLarge, product, reached_from


class Watched(Protocol):
    """What draws look ahead by as by a Constraint. found: its futures, which are kept."""

    lock: threading.RLock
    futures: tuple[Future, ...] | None

    def found(self) -> Iterator[Future]: ...


class SoFar:
    """The masks of what conditions in a loop of draws ask of the text so far. of_all: of the texts
    after any token. going_on: of those after a token that is no end. None where nothing is asked of
    them, but not both. over: of the texts with which the loop is over, so that nothing more is
    asked. Draws look ahead by them as by a Constraint."""

    def __init__(
        self,
        of_all: RegularMasks | None,
        going_on: RegularMasks | None,
        over: RegularMasks | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.of_all, self.going_on, self.over = of_all, going_on, over
        self.futures: tuple[Future, ...] | None = None

    def found(self) -> Iterator[Future]:
        """Those of one automaton for all of them."""
        asked = [m for m in (self.of_all, self.going_on) if m is not None]
        if len(asked) == 1 and self.over is None:
            yield (Way(asked[0], each_token=True),)
            return
        read = of_all_tables([of_masks(masks) for masks in asked])
        if self.over is not None:
            met = of_all_tables([read, of_masks(self.over)])
            read = met and of_all_tables([read, (_ended(met[0]), met[1])], either=True)
        if read is not None:
            masks = RegularMasks(Automaton.of_table(*read), asked[0].vocabulary)
            yield (Way(masks, each_token=True),)


def futures(constraint: Constraint | Watched) -> tuple[Future, ...]:
    """What a constraint's draws may look ahead by, that which says most first; none where no
    automaton follows it. They are made once."""
    with constraint.lock:
        if constraint.futures is None:
            made = (
                _futures(constraint) if isinstance(constraint, Constraint) else constraint.found()
            )
            constraint.futures = tuple(made)
        return constraint.futures


def _futures(constraint: Constraint) -> Iterator[Future]:
    own: Future = ()
    match constraint.regular:
        case ClosedMasks() as closed:
            own = (Way(closed.stopped), Way(closed.whole, by_end=True))
        case RegularMasks() as masks:
            own = (Way(masks),)
    structure = of_all_tables([_of_part(part) for part in constraint.unions_and_grammars])
    if structure is not None:
        if own and all(way.masks.automaton.explored for way in own):
            joint = [of_all_tables([of_masks(way.masks), structure]) for way in own]
            yield tuple(
                _way(read, constraint, w.by_end) for read, w in zip(joint, own, strict=True)
            )
        if not isinstance(constraint.regular, ClosedMasks):
            yield (_way(structure, constraint),)
    if own:
        yield own


Read = tuple[Table, Partition]
"""A table, and the classes of characters that it reads."""


def _of_part(part: GrammarMasks | Alternatives) -> Read | None:
    """The table of a schema or grammar, or of a union of some; None where nothing follows it."""
    if isinstance(part, GrammarMasks):
        bounds = completion_bounds(part.outlined, part.until, part.vocabulary)
        return None if bounds is None or bounds.by_tokens is None else of_masks(bounds.by_tokens)
    parts = [_of_constraint(inner) for inner in part.parts]
    return None if None in parts else of_all_tables(parts, either=True)


def _of_constraint(constraint: Constraint) -> Read | None:
    parts = [_of_part(part) for part in constraint.unions_and_grammars]
    if isinstance(constraint.regular, RegularMasks) and constraint.regular.automaton.explored:
        parts.append(of_masks(constraint.regular))
    return of_all_tables(parts)


def of_masks(masks: RegularMasks) -> Read:
    """The table of masks, which begins after what they have read before a text."""
    automaton, (start, _) = masks.automaton, masks.position(())
    accepting = np.array(automaton.accepting, dtype=np.bool_)
    return reached_from(start, automaton.table[: automaton.size], accepting), automaton.partition


def of_all_tables(parts: Sequence[Read | None], either: bool = False) -> Read | None:
    """The texts of all tables that there are, or of any of them. A table that makes the whole too
    large is left out of all; of any, there is none then."""
    result: Read | None = None
    for part in sorted(filter(None, parts), key=lambda part: part[0].size):
        if result is None:
            result = part
            continue
        partition = Partition([*result[1].sets, *part[1].sets])
        a, b = (over_classes(read, partition) for read in (result, part))
        try:
            result = product(a, b, either).smaller(), partition
        except TooLarge:
            if either:
                return None
    return result


def _ended(table: Table) -> Table:
    """The texts that begin with one of a table's."""
    after = table.after.copy()
    after[table.accepting] = np.flatnonzero(table.accepting)[:, None]
    return Table(after, table.accepting)


def _way(read: Read | None, constraint: Constraint, by_end: bool = False) -> Way:
    assert read is not None
    return Way(
        RegularMasks(Automaton.of_table(*read), constraint.vocabulary), by_end, structured=True
    )


def over_classes(read: Read, partition: Partition) -> Table:
    """A table over finer classes."""
    table, coarser = read
    points = partition.representatives()
    finer = coarser.classes_of("".join(points[c] for c in range(partition.size)))
    return Table(table.after[:, finer], table.accepting)
