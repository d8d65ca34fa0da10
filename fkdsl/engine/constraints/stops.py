"""What ends a text: one stop or several, of which the one that stands first in the text ends it.

>>> stops_of("\\n"), stops_of(""), stops_of(("ab", "abc", "ab", "b"))
(('\\n',), (), ('ab', 'b'))
>>> first_stop("x.\\n", ("\\n", ".")), first_stop("x", ("\\n", "."))
(1, -1)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from fkdsl.engine.constraints.expressions import Algebra

Until = str | tuple[str, ...]
"""One text, "" for none, or several, none of them empty."""


def stops_of(until: Until) -> tuple[str, ...]:
    """The stops, each once; one that begins with another is left out, since the other stands there
    as well."""
    found = dict.fromkeys((until,) if isinstance(until, str) else until)
    return tuple(
        s
        for s in found
        if s and not any(other and s != other and s.startswith(other) for other in found)
    )


def first_stop(text: str, stops: Sequence[str]) -> int:
    """Where the first of the stops in the text begins; -1 if there is none."""
    return min((at for at in map(text.find, stops) if at >= 0), default=-1)


def drawn(a: Algebra, text: Callable[[str], int], language: int, stops: Sequence[str]) -> int:
    """The texts that may be drawn for a text s of the language: s itself without a stop in it, or
    s, a stop, and whatever shares a token with the end of that, where no stop begins earlier. text:
    the language of one text."""
    if not stops:
        return language

    def begins_with(stop: str) -> int:
        return a.concat(text(stop), a.EVERYTHING)

    never = a.complement(a.concat(a.EVERYTHING, a.union([begins_with(stop) for stop in stops])))
    parts = [a.intersection([language, never])]
    for length, group in groupby(sorted(stops, key=len), len):
        ends = list(group)
        # A stop e in s + end begins before end does if at least this many characters stand behind
        # it.
        behind = [(e, max(0, length - len(e) + 1)) for e in stops]
        earlier = a.union(
            [
                a.concat_all([a.EVERYTHING, text(e), *[a.any_symbol()] * n, a.EVERYTHING])
                for e, n in behind
            ]
        )
        to_end = a.concat(language, a.union([text(e) for e in ends]))
        ended = a.intersection([to_end, a.complement(earlier)])
        # A longer stop may hold this one in its middle, and be completed by what stands behind it.
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
