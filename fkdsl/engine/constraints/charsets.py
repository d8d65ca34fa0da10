"""Sets of characters as sorted ranges of code points, and the partition of all characters that some
sets make.

The characters of a class come from the `regex` library itself, which is asked over all of Unicode.
So an automaton's `\\w` is the one of `matches`, whatever version of Unicode is installed.

>>> charset("[b-d]")
((98, 101),)
>>> Partition([charset("[a-c]"), charset("[b-z]")]).classes_of("abz!")
[1, 2, 3, 0]
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from fkdsl.base.arrays import NDArray, distinct, np
from fkdsl.base.lazy import lazy_import

if TYPE_CHECKING:
    import regex
else:
    regex = lazy_import("regex")

FEW_CHARACTERS = 256
SHORT = 16
"""Characters of a text whose classes are looked up one by one."""
Charset = tuple[tuple[int, int], ...]
"""Ranges [first, last) of code points, ascending, with gaps between them; none has surrogates."""
SURROGATES = (0xD800, 0xE000)
CODE_POINTS = 0x110000
ALL_CHARACTERS: Charset = ((0, SURROGATES[0]), (SURROGATES[1], CODE_POINTS))
REPLACEMENT = 0xFFFD
"""U+FFFD, which a decoder writes for bytes that are no UTF-8."""


@lru_cache(maxsize=1)
def all_characters() -> str:
    """Every character, in order."""
    points = np.concatenate([np.arange(first, last, dtype="<u4") for first, last in ALL_CHARACTERS])
    return points.tobytes().decode("utf-32-le")


@lru_cache(maxsize=512)
def charset(one_character: str) -> Charset:
    """The characters that a pattern for one character matches. The pattern may begin with flags."""
    gap = SURROGATES[1] - SURROGATES[0]

    def point(position: int) -> int:
        return position if position < SURROGATES[0] else position + gap

    runs: list[tuple[int, int]] = []
    flags = re.match(r"(?:\(\?[a-zA-Z01]+\))?", one_character)[0]  # type: ignore[index]
    for match in regex.finditer(f"{flags}(?:{one_character[len(flags) :]})+", all_characters()):
        first, last = match.span()
        if first < SURROGATES[0] < last:
            runs += [(first, SURROGATES[0]), (SURROGATES[1], point(last - 1) + 1)]
        else:
            runs.append((point(first), point(last - 1) + 1))
    return tuple(runs)


@lru_cache(maxsize=1)
def letter_charset() -> Charset:
    """The characters that Python calls letters (`str.isalpha`), whatever version of Unicode it
    has."""
    # Python's own `re` has the same version of Unicode, and matches every letter as part of a word.
    runs = re.findall(r"[^\W_]+", all_characters())
    letters = (run if run.isalpha() else "".join(filter(str.isalpha, run)) for run in runs)
    return characters_of("".join(letters))


def characters_of(text: str) -> Charset:
    """The characters of a text.

    >>> characters_of("cab") == charset("[a-c]")
    True
    """
    if len(text) <= FEW_CHARACTERS:  # without numpy, which `fkdsl check` does not import
        runs: list[tuple[int, int]] = []
        for p in sorted(set(map(ord, text))):
            first = runs.pop()[0] if runs and runs[-1][1] == p else p
            runs.append((first, p + 1))
        return tuple(runs)
    points = distinct(np.frombuffer(text.encode("utf-32-le"), dtype="<u4")).astype(np.int64)
    starts = np.flatnonzero(np.diff(points, prepend=-2) != 1)
    ends = np.append(starts[1:], len(points)) - 1
    return tuple(zip(points[starts].tolist(), (points[ends] + 1).tolist(), strict=True))


def single(character: str) -> Charset:
    return ((ord(character), ord(character) + 1),)


def without_point(runs: Charset, point: int) -> Charset:
    """The set without one code point."""
    kept: list[tuple[int, int]] = []
    for first, last in runs:
        if first <= point < last:
            kept += [r for r in ((first, point), (point + 1, last)) if r[0] < r[1]]
        else:
            kept.append((first, last))
    return tuple(kept)


class Partition:
    """The coarsest partition of all characters in which each given set is a union of classes.
    Classes are numbered from 0. members: the classes of each set. size: how many classes."""

    def __init__(self, sets: Iterable[Charset]) -> None:
        self.sets = list(dict.fromkeys([ALL_CHARACTERS, *sets]))
        self._cuts = np.array(
            sorted({0, *(c for s in self.sets for run in s for c in run)}), dtype=np.int64
        )
        signatures: dict[tuple[bool, ...], int] = {}
        inside = [self._inside(s) for s in self.sets]
        self._class = np.zeros(len(self._cuts), dtype=np.int32)
        self.members: dict[Charset, frozenset[int]] = {s: frozenset() for s in self.sets}
        for k in range(len(self._cuts)):
            signature = tuple(bool(rows[k]) for rows in inside)
            number = signatures.setdefault(signature, len(signatures))
            self._class[k] = number
        for s, column in zip(self.sets, zip(*signatures, strict=True), strict=True):
            self.members[s] = frozenset(n for n, within in enumerate(column) if within)
        self.size = len(signatures)

    def _inside(self, runs: Charset) -> NDArray[np.bool_]:
        """Whether each interval between cuts lies in the set."""
        edges = np.array([e for run in runs for e in run], dtype=np.int64)
        inside: NDArray[np.bool_] = np.searchsorted(edges, self._cuts, side="right") % 2 == 1
        return inside

    def representatives(self) -> dict[int, str]:
        """A character of each class."""
        numbers, first = np.unique(self._class, return_index=True)
        points = self._cuts[first].tolist()
        return dict(zip(numbers.tolist(), map(chr, points), strict=True))

    def runs(self, classes: Collection[int]) -> Charset:
        """The characters of some classes."""
        ends = [*self._cuts.tolist()[1:], CODE_POINTS]
        runs: list[tuple[int, int]] = []
        for first, last, number in zip(
            self._cuts.tolist(), ends, self._class.tolist(), strict=True
        ):
            if number in classes and first < last:
                first = runs.pop()[0] if runs and runs[-1][1] == first else first
                runs.append((first, last))
        return tuple(runs)

    def classes(self, points: NDArray[np.int64]) -> NDArray[np.int32]:
        """The class of each code point."""
        intervals = np.searchsorted(self._cuts, points, side="right") - 1
        classes: NDArray[np.int32] = self._class[intervals]
        return classes

    @cached_property
    def _lists(self) -> tuple[list[int], list[int]]:
        """The intervals' first characters and classes: for few characters Python's own search takes
        less than numpy's operators."""
        return self._cuts.tolist(), self._class.tolist()

    def classes_of(self, text: str) -> list[int]:
        """The class of each character of a text."""
        if not text:
            return []
        if len(text) <= SHORT:
            cuts, numbers = self._lists
            return [numbers[bisect_right(cuts, ord(c)) - 1] for c in text]
        points: Sequence[int] = [ord(c) for c in text]
        classes: list[int] = self.classes(np.array(points, dtype=np.int64)).tolist()
        return classes

    def classes_between(self, first: int, last: int) -> list[int]:
        """The classes of the characters from first to last, both included."""
        low, high = np.searchsorted(self._cuts, [first, last], side="right") - 1
        classes: list[int] = distinct(self._class[low : high + 1]).tolist()
        return classes
