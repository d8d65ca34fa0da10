"""Stops: strings that end a text. The stop that stands first in the text ends it.

>>> stops_of("\\n"), stops_of(""), stops_of(("ab", "abc", "ab", "b"))
(('\\n',), (), ('ab', 'b'))
>>> first_stop("x.\\n", ("\\n", ".")), first_stop("x", ("\\n", "."))
(1, -1)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fkdsl.engine.constraints.expressions import Algebra
    from fkdsl.models.vocabulary import Vocabulary

Until = str | tuple[str, ...]
"""One stop, or several that are not empty; "" for none."""


class Ending(Enum):
    """What ends a text: a stop, EOS, or either of them or the budget."""

    STOP = "stop"
    EOS = "eos"
    ANY = "any"


def stops_of(until: Until) -> tuple[str, ...]:
    """The stops, each once, without those that begin with another: where such a one stands, the
    other stands as well."""
    stops = dict.fromkeys((until,) if isinstance(until, str) else until)
    return tuple(
        s
        for s in stops
        if s and not any(other and s != other and s.startswith(other) for other in stops)
    )


def first_stop(text: str, stops: Sequence[str]) -> int:
    """The index at which the first stop in the text begins; -1 if there is none."""
    return min((at for at in map(text.find, stops) if at >= 0), default=-1)


def ends_stand_alone(until: Until, vocabulary: Vocabulary) -> bool:
    """Whether no token has a part of a text before a stop, so that the text was whole before the
    token that ends it. (Of a stop of several bytes that is not known.)"""
    stops = [stop.encode() for stop in stops_of(until)]
    return all(len(stop) == 1 for stop in stops) and not any(
        stop in raw[1:] for stop in stops for raw in vocabulary.tokens
    )


def drawn_texts(
    a: Algebra,
    text: Callable[[str], int],
    language: int,
    stops: Sequence[str],
    ending: Ending = Ending.ANY,
) -> int:
    """The texts that may be drawn for a text s of the language: s itself if it has no stop in it;
    or s, a stop that begins no later than any other, and any characters that the last token has
    behind the stop. text: gives the language of one text. ending: STOP leaves the latter alone,
    EOS the former."""
    if not stops:
        return a.EMPTY if ending is Ending.STOP else language

    def begins_with(stop: str) -> int:
        return a.concat(text(stop), a.EVERYTHING)

    never = a.complement(a.concat(a.EVERYTHING, a.union([begins_with(stop) for stop in stops])))
    parts = [a.intersection([language, never])]
    if ending is Ending.EOS:
        return parts[0]
    if ending is Ending.STOP:
        parts.clear()
    for length, group in groupby(sorted(stops, key=len), len):
        ends = list(group)
        # A stop e in s + end begins before `end` if at least so many characters follow it.
        behind = [(e, max(0, length - len(e) + 1)) for e in stops]
        earlier = a.union(
            [
                a.concat_all([a.EVERYTHING, text(e), *[a.any_symbol()] * n, a.EVERYTHING])
                for e, n in behind
            ]
        )
        to_end = a.concat(language, a.union([text(e) for e in ends]))
        ended = a.intersection([to_end, a.complement(earlier)])
        # A longer stop may contain `end` and be completed by the characters behind it; since it
        # begins earlier, it is the one that ends the text.
        completed = [
            a.concat_all(
                [a.intersection([ended, a.concat(a.EVERYTHING, text(e[:k]))]), begins_with(e[k:])]
            )
            for e in stops
            for k in range(length + 1, len(e))
            if e[:k].endswith(tuple(ends))
        ]
        parts.append(
            a.intersection([a.concat(ended, a.EVERYTHING), a.complement(a.union(completed))])
        )
    return a.union(parts)
