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

from fkdsl.base.quick_dataclass import dataclass

Symbols = tuple[int, ...]
Step = tuple[int, Symbols]
"""The next state, and the symbols that are written."""
OUTSIDE, INSIDE, AFTER_RETURN, IN_MARKS, ENDED = -1, -2, -3, -4, -5
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


def sentences(
    marks: Collection[int], closers: Collection[int], space: Collection[int], separator: int
) -> Transducer:
    """The sentences of values/library/text.py, without the white space before them. That behind a
    last one without a mark is left."""

    def step(state: int, c: int) -> Sequence[Step]:
        if c in marks or (state == IN_MARKS and c in closers):
            return [(IN_MARKS, (c,))]
        if state != INSIDE and c in space:
            return [(OUTSIDE, (separator,) if state == IN_MARKS else ())]
        return [(INSIDE, (c,))]

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


def replaced(old: Symbols, new: Symbols) -> Transducer:
    """The text with each `old` replaced, the first ones first."""
    between = parts(old, -1)

    def step(state: int, c: int) -> Sequence[Step]:
        ((following, written),) = between.step(state, c)
        return [(following, tuple(n for w in written for n in (new if w < 0 else (w,))))]

    return Transducer(0, step, lambda state: old[:state])


def framed(before: Symbols, behind: Symbols) -> Transducer:
    """The text with others before and behind it."""

    def step(state: int, c: int) -> Sequence[Step]:
        return [(INSIDE, (*before, c) if state == OUTSIDE else (c,))]

    def final(state: int) -> Symbols:
        return (*before, *behind) if state == OUTSIDE else behind

    return Transducer(OUTSIDE, step, final)


def characters(separator: int) -> Transducer:
    return Transducer(OUTSIDE, lambda state, c: [(state, (c, separator))], lambda state: ())


def before_stop(stops: Sequence[Symbols]) -> tuple[Transducer, Callable[[int], bool]]:
    """What stands before the first stop in a text, the one that begins first; the text itself if
    there is none. And of a state, whether a stop has ended a text that ends there. None of the
    stops begins with another. A state is the number of a beginning of a stop, which is held back;
    it may have another stop in it."""
    beginnings = list(dict.fromkeys([(), *(s[:k] for s in stops for k in range(len(s)))]))
    number = {b: i for i, b in enumerate(beginnings)}

    def stop_at(pending: Symbols) -> int:
        """Where a whole stop begins; behind the end if there is none."""
        places = (i for i in range(len(pending)) for s in stops if pending[i : i + len(s)] == s)
        return next(places, len(pending))

    def step(state: int, c: int) -> Sequence[Step]:
        if state == ENDED:
            return [(ENDED, ())]
        pending = (*beginnings[state], c)
        stop = stop_at(pending)
        held = next(i for i in range(len(pending) + 1) if pending[i:] in number)
        if stop < min(held, len(pending)):
            return [(ENDED, pending[:stop])]
        return [(number[pending[held:]], pending[:held])]

    def final(state: int) -> Symbols:
        return () if state == ENDED else beginnings[state][: stop_at(beginnings[state])]

    def has_ended(state: int) -> bool:
        return state == ENDED or stop_at(beginnings[state]) < len(beginnings[state])

    return Transducer(0, step, final), has_ended
