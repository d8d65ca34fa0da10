"""Bounds on the work that the automaton of a language may take, so that one that is made of a
stranger's data, or of an earlier draw, takes neither all time nor all memory.

What is counted comes first, so that the same language is followed, or is not, on every machine:
characters, parts and kinds of characters here, states and parts of expressions in `Algebra` and
`Automaton`. Seconds of CPU time are for what the counts do not foresee.

>>> from fkdsl.engine.constraints.languages import Contains
>>> verify_size(Contains("a" * 200_000), ())
Traceback (most recent call last):
    ...
fkdsl.engine.constraints.expressions.TooComplex: more than 100,000 characters of text
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fkdsl.base.deadline import OutOfTime, check, within_cpu_time
from fkdsl.engine.constraints.charsets import Charset
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.language_parts import components
from fkdsl.engine.constraints.languages import (
    Contains,
    Either,
    EndsWith,
    Framed,
    Language,
    Ordered,
    Replaced,
    StartsWith,
    Texts,
)

SECONDS = 5.0
"""CPU time for an automaton, and for all that the masks of one text need before its first token."""
MOST_CHARACTERS = 100_000
"""Most characters of the texts that a language names."""
MOST_PARTS = 10_000
"""Most languages that one is made of, as a sum of numbers is of the pairs that add up to it; the
words of which a text contains one count as one."""
MOST_CONDITIONS = 1_000
"""Most languages all of which a text must be in, each with an automaton of its own."""
MOST_KINDS, MOST_CUTS = 1_000, 4_000_000
"""Most sets of characters that must be told apart, and most of these times their ranges."""


@contextmanager
def within_bounds() -> Iterator[None]:
    """Raises TooComplex where the code inside takes more than SECONDS of CPU time."""
    try:
        with within_cpu_time(SECONDS):
            yield
    except OutOfTime:
        raise TooComplex(f"more than {SECONDS:g} s of work") from None


def verify_size(language: Language, stops: Sequence[str]) -> None:
    """Raises TooComplex for a language that names too long texts, or has too many parts."""
    characters, parts, todo = sum(map(len, stops)), 0, [language]
    while todo:
        check()
        here = todo.pop()
        below = components(here)
        parts += 1
        parts -= sum(isinstance(p, Contains) for p in below) if isinstance(here, Either) else 0
        characters += sum(map(len, _named(here)))
        todo += below
        if characters > MOST_CHARACTERS:
            raise TooComplex(f"more than {MOST_CHARACTERS:,} characters of text")
        if parts > MOST_PARTS:
            raise TooComplex(f"more than {MOST_PARTS:,} parts")


def verify_kinds(sets: Sequence[Charset]) -> None:
    """Raises TooComplex for more sets of characters than are told apart."""
    if len(sets) > MOST_KINDS or len(sets) * sum(map(len, sets)) > MOST_CUTS:
        raise TooComplex(f"more than {MOST_KINDS:,} kinds of characters")


def _named(language: Language) -> Sequence[str]:
    """The texts that a language names, not those of its parts."""
    match language:
        case Texts(texts):
            return texts
        case Contains(part) | StartsWith(part) | EndsWith(part) | Ordered(_, part):
            return (part,)
        case Framed(before, behind):
            return before, behind
        case Replaced(old, new):
            return old, new
    return ()
