"""Functions of texts that are read from left to right, over the classes of a partition: the case of
each character, and the items of a text one after the other, a separator behind each.

    words       It's a--b.    ->  I t ' s | a | b |
    lines       a CR LF b     ->  a | b |
    sentences   _One. _Two_   ->  O n e . | T w o _ |

An expression over what such a function gives becomes one over the text itself
(`Algebra.preimage`), so that conditions on items are exact, whatever they ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

Symbols = tuple[int, ...]
Step = tuple[int, Symbols]
"""The next state, and the symbols that are written."""
OUTSIDE, INSIDE, AFTER_RETURN, IN_MARKS = -1, -2, -3, -4
"""States. A state from 0 on says which characters are held back."""


@dataclass(frozen=True, eq=False)
class Transducer:
    """step(state, symbol): the state after a symbol and what is written, one step or several that
    are possible; final(state): what is written at the end of the text. widest: whether a text is
    in a preimage if one of several possible images is, or if all are."""

    start: int
    step: Callable[[int, int], Sequence[Step]]
    final: Callable[[int], Symbols]
    widest: bool = True


def mapping(images: Mapping[int, Sequence[Symbols]], widest: bool) -> Transducer:
    """Each symbol by its possible images; itself where it has none."""
    return Transducer(
        OUTSIDE,
        lambda state, c: [(state, image) for image in images.get(c, ((c,),))],
        lambda state: (),
        widest,
    )


def words(inside: Collection[int], joint: Collection[int], separator: int) -> Transducer:
    """The words of values/library/text.py. A joint is held back until it is known whether the word
    goes on behind it."""

    def step(state: int, c: int) -> Sequence[Step]:
        if c in inside:
            return [(INSIDE, (state, c) if state >= 0 else (c,))]
        if state == INSIDE and c in joint:
            return [(c, ())]
        return [(OUTSIDE, () if state == OUTSIDE else (separator,))]

    return Transducer(OUTSIDE, step, lambda state: () if state == OUTSIDE else (separator,))


def lines(
    breaks: Collection[int], carriage_return: int, newline: int, separator: int
) -> Transducer:
    """The lines of `str.splitlines`: "\\r\\n" is one break, and the last line has one or none."""

    def step(state: int, c: int) -> Sequence[Step]:
        if state == AFTER_RETURN and c == newline:
            return [(OUTSIDE, ())]
        if c in breaks:
            return [(AFTER_RETURN if c == carriage_return else OUTSIDE, (separator,))]
        return [(INSIDE, (c,))]

    return Transducer(OUTSIDE, step, lambda state: (separator,) if state == INSIDE else ())


def sentences(marks: Collection[int], space: Collection[int], separator: int) -> Transducer:
    """The sentences of values/library/text.py, without the white space before them. That behind a
    last one without a mark is left."""

    def step(state: int, c: int) -> Sequence[Step]:
        ended = (separator,) if state == IN_MARKS else ()
        if c in marks:
            return [(IN_MARKS, (c,))]
        if state != INSIDE and c in space:
            return [(OUTSIDE, ended)]
        return [(INSIDE, (*ended, c))]

    return Transducer(OUTSIDE, step, lambda state: () if state == OUTSIDE else (separator,))


def runs(space: Collection[int], separator: int) -> Transducer:
    """The runs of characters between white space, as `str.split` gives them."""

    def step(state: int, c: int) -> Sequence[Step]:
        if c in space:
            return [(OUTSIDE, (separator,) if state == INSIDE else ())]
        return [(INSIDE, (c,))]

    return Transducer(OUTSIDE, step, lambda state: (separator,) if state == INSIDE else ())


def parts(between: Symbols, separator: int) -> Transducer:
    """The parts between occurrences of a text that do not overlap, the first ones first. State k:
    the first k symbols of that text are held back."""

    def step(state: int, c: int) -> Sequence[Step]:
        pending, written = [*between[:state], c], []
        while pending and tuple(pending) != between[: len(pending)]:
            written.append(pending.pop(0))
        if len(pending) == len(between):
            return [(0, (*written, separator))]
        return [(len(pending), tuple(written))]

    return Transducer(0, step, lambda state: (*between[:state], separator))


def characters(separator: int) -> Transducer:
    return Transducer(OUTSIDE, lambda state, c: [(state, (c, separator))], lambda state: ())
