r"""The numbers of a JSON text within bounds, as trees of outlines (outlines.py).

A number is written digit by digit, so what may come next is known by whether the digits so far are
those of the least number, of the greatest one, or of neither, and, for multiples, by what they
leave when divided. So the fewest characters to a number that is allowed are exact.

>>> from fkdsl.engine.constraints.outlines import Lengths
>>> Lengths({}).of(integer(7, 212)), Lengths({}).of(integer(-212, -70)), Lengths({}).of(number())
(1, 3, 1)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from string import digits
from typing import TYPE_CHECKING, Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.charsets import characters_of
from fkdsl.engine.constraints.outlines import (
    NO_TEXT,
    alternatives,
    character_in,
    repeated,
    sequence,
)
from fkdsl.engine.constraints.pattern_trees import EMPTY_TEXT, Tree, text_tree

if TYPE_CHECKING:
    from fractions import Fraction

DIGIT = character_in(characters_of(digits))
ANY_DIGITS, DIGITS = repeated(DIGIT), repeated(DIGIT, 1)
FIRST_DIGIT = character_in(characters_of(digits[1:]))
POINT, MINUS = text_tree("."), text_tree("-")
MOST_DIGITS = 15
"""Digits up to which bounds count: llguidance has them as floats."""
WITHIN = "x-within"
"""A keyword of outlines alone: bounds on numbers without an exponent, [text of a fraction, whether
it is none of the numbers itself] for the least and the greatest, None for none."""
PLACES = 30
"""Digits behind the point up to which bounds count."""
MOST_STATES = 400
"""Most places in the digits of multiples."""
LAST_DIGITS = 3
"""Digits by which multiples are told among numbers without an upper bound."""


@dataclass(frozen=True)
class End:
    """A bound. strict: whether it is none of the numbers itself."""

    value: Fraction
    strict: bool = False

    def negative(self) -> End:
        return End(-self.value, self.strict)


Between = Callable[[End | None, End | None], Tree]
"""The numbers without a sign between two bounds, None for none; the second is at least 0."""


def fraction(value: Any, over: int | None = None) -> Fraction:
    """A fraction, as of a number's text. The module is imported when the first one is made: a run
    without numbers in JSON does not need it, and it takes 10 ms."""
    from fractions import Fraction

    return Fraction(value, over)


def integer(least: int | None = None, most: int | None = None, step: int | float = 1) -> Tree:
    """The multiples of a step from least to most, without a point or an exponent; also `-0` if
    least is at most 0."""
    # A whole number is a multiple of a fraction if it is one of its numerator.
    whole = abs(fraction(str(step)).numerator) if math.isfinite(step) else 1

    def between(low: End | None, high: End | None) -> Tree:
        return _Whole(whole or 1).between(
            math.ceil(low.value) if low is not None else 0,
            math.floor(high.value) if high is not None else None,
        )

    ends = (None if n is None else End(fraction(n)) for n in (least, most))
    return of_both_signs(between, *ends)


def number(
    low: End | None = None,
    high: End | None = None,
    within: tuple[End | None, End | None] = (None, None),
) -> Tree:
    """The numbers within bounds; without any, those with an exponent too, as llguidance has it.
    within: bounds that those without an exponent have besides."""
    if any(end is not None and not _is_written(end.value) for end in (low, high)):
        low = high = None
    free = low is None and high is None
    low, high = nearer(low, within[0], up=True), nearer(high, within[1], up=False)
    if any(end is not None and not _is_written(end.value) for end in (low, high)):
        low = high = None
    exponent = sequence(
        character_in(characters_of("eE")), repeated(character_in(characters_of("-+")), 0, 1), DIGITS
    )
    digits = sequence(integer(), repeated(sequence(POINT, DIGITS), 0, 1))
    if low is None and high is None:
        return sequence(digits, repeated(exponent, 0, 1)) if free else digits
    bounded = of_both_signs(decimals, low, high) if _are_apart(low, high) else NO_TEXT
    return alternatives(bounded, sequence(digits, exponent)) if free else bounded


def _are_apart(low: End | None, high: End | None) -> bool:
    """Whether there are numbers within bounds."""
    if low is None or high is None or low.value < high.value:
        return True
    return low.value == high.value and not (low.strict or high.strict)


def nearer(a: End | None, b: End | None, up: bool) -> End | None:
    """Of two bounds from below, up, or from above, that which leaves fewer numbers."""
    if a is None or b is None:
        return a or b
    sign = 1 if up else -1
    return max(a, b, key=lambda end: (sign * end.value, end.strict))


def of_both_signs(between: Between, low: End | None, high: End | None) -> Tree:
    parts = []
    if high is None or high.value >= 0:
        parts.append(between(low if low is not None and low.value >= 0 else None, high))
    if low is None or low.value <= 0:
        nearest = high.negative() if high is not None and high.value <= 0 else None
        parts.append(sequence(MINUS, between(nearest, low.negative() if low is not None else None)))
    return alternatives(*parts)


# ------------------------------------------------------------------ whole numbers


class _Whole:
    """The multiples of a step, without a sign."""

    def __init__(self, step: int) -> None:
        self.step = step
        self._trees: dict[tuple[str, str, int], Tree] = {}

    def between(self, least: int, most: int | None) -> Tree:
        """Those from least to most, None for no bound."""
        least = max(least, 0)
        if most is not None and most < least:
            return NO_TEXT
        low, high = str(least), None if most is None else str(most)
        if len(low) > MOST_DIGITS:
            low = "1" + "0" * (MOST_DIGITS - 1)
        if high is not None and len(high) > MOST_DIGITS:
            high = None
        if high is None or min(self.step, int(high) - int(low) + 1) * len(high) > MOST_STATES:
            return self._by_last_digits(low, high)
        return self._of_lengths(low, high)

    def _of_lengths(self, low: str, high: str) -> Tree:
        parts = []
        for n in range(len(low), len(high) + 1):
            first = low if n == len(low) else "1" + "0" * (n - 1)
            parts.append(self._of_length(first, high if n == len(high) else "9" * n, 0))
        return alternatives(*(part for part in parts if part != NO_TEXT))

    def _by_last_digits(self, low: str, high: str | None) -> Tree:
        """Those whose last digits are the last digits of a multiple."""
        plain = _Whole(1)
        if high is None:
            longer = sequence(FIRST_DIGIT, repeated(DIGIT, len(low)))
            within = alternatives(plain._of_lengths(low, "9" * len(low)), longer)
        else:
            within = plain._of_lengths(low, high)
        divisor = math.gcd(self.step, 10**LAST_DIGITS)
        if divisor == 1:
            return within
        n = next(n for n in range(1, LAST_DIGITS + 1) if 10**n % divisor == 0)
        ends = _Whole(divisor)
        short = ends._of_lengths("0", "9" * n)
        any_of_length = ends._of_length("0" * n, "9" * n, 0)
        return Tree("and", (within, alternatives(short, sequence(ANY_DIGITS, any_of_length))))

    def _of_length(self, low: str, high: str, rest: int) -> Tree:
        """The digits from low to high, equally many, behind digits that leave a rest."""
        if not low:
            return EMPTY_TEXT if rest == 0 else NO_TEXT
        key = (low, high, rest)
        if key not in self._trees:
            by_what_follows: dict[tuple[str, str, int], str] = {}
            for d in range(int(low[0]), int(high[0]) + 1):
                after_low = low[1:] if d == int(low[0]) else "0" * len(low[1:])
                after_high = high[1:] if d == int(high[0]) else "9" * len(high[1:])
                then = (after_low, after_high, (10 * rest + d) % self.step)
                by_what_follows[then] = by_what_follows.get(then, "") + str(d)
            self._trees[key] = _each(
                (some, self._of_length(*then)) for then, some in by_what_follows.items()
            )
        return self._trees[key]


def _each(options: Iterable[tuple[str, Tree]]) -> Tree:
    """A digit of some, and what follows it."""
    parts = []
    for some, then in options:
        one = character_in(characters_of(some))
        if then == EMPTY_TEXT:
            parts.append(one)
        elif then != NO_TEXT:
            parts.append(sequence(one, then))
    return alternatives(*parts)


# ------------------------------------------------------------------ decimals


def _is_written(value: Fraction) -> bool:
    """Whether a number has few digits before and behind its point."""
    return bool(abs(value) < 10**MOST_DIGITS and (value * 10**PLACES).denominator == 1)


def decimals(low: End | None, high: End | None, bare: bool = False) -> Tree:
    """The numbers without a sign, with a point or none. bare: whether a point may stand without
    digits before it or behind it; then a 0 before it is left out of the tree."""
    low = low or End(fraction(0))
    first, least = _parts(low.value)
    last, most = (None, None) if high is None else _parts(high.value)
    strict = high is not None and high.strict
    ends: list[tuple[int, Tree]] = []
    if last is not None and first == last:
        ends.append((first, _Fractions(low.strict, strict, bare).between(least, most)))
    elif last is None or first < last:
        ends.append((first, _Fractions(low.strict, False, bare).between(least, None)))
        if last is not None:
            ends.append((last, _Fractions(False, strict, bare).between(None, most)))
    whole = _Whole(1).between(first + 1, None if last is None else last - 1)
    behind = sequence(POINT, ANY_DIGITS if bare else DIGITS)
    parts = [] if whole == NO_TEXT else [sequence(whole, repeated(behind, 0, 1))]
    for n, rest in ends:
        before = EMPTY_TEXT if bare and n == 0 else text_tree(str(n))
        parts += [] if rest == NO_TEXT else [sequence(before, rest)]
    return alternatives(*parts)


def _parts(value: Fraction) -> tuple[int, str]:
    """The digits before the point, as a number, and those behind it."""
    whole = math.floor(value)
    rest = int((value - whole) * 10**PLACES)
    return whole, str(rest).zfill(PLACES).rstrip("0") if rest else ""


class _Fractions:
    """What may follow the digits before a point, of a number whose digits there are those of both
    bounds, or of one. strict_low, strict_high: see End. bare: see decimals."""

    def __init__(self, strict_low: bool, strict_high: bool, bare: bool) -> None:
        self.strict_low, self.strict_high, self.bare = strict_low, strict_high, bare

    def between(self, low: str | None, high: str | None) -> Tree:
        """A point and digits, or none, which are at least low and at most high; None: no bound."""
        behind = self._digits(low, high, first=True)
        parts = [] if behind == NO_TEXT else [sequence(POINT, behind)]
        if self._may_end(low, high):
            parts += [EMPTY_TEXT, POINT] if self.bare else [EMPTY_TEXT]
        return alternatives(*parts)

    def _may_end(self, low: str | None, high: str | None) -> bool:
        above = low is None or (low == "" and not self.strict_low)
        return above and not (high == "" and self.strict_high)

    def _digits(self, low: str | None, high: str | None, first: bool = False) -> Tree:
        """The digits that may follow, at least one if they are the first."""
        if low == "" and not self.strict_low:
            low = None
        least = 1 if first else 0
        if low is None and high is None:
            return repeated(DIGIT, least)
        if high == "":
            zeros = repeated(text_tree("0"), least)
            return zeros if low is None and not self.strict_high else NO_TEXT
        if low == "" and high is None:  # above the bound, of which all digits have been
            return sequence(repeated(text_tree("0")), FIRST_DIGIT, ANY_DIGITS)
        parts = [] if first or not self._may_end(low, high) else [EMPTY_TEXT]
        lowest, highest = int(low[:1] or 0) if low is not None else 0, int(high[0]) if high else 9
        by_what_follows: dict[tuple[str | None, str | None], str] = {}
        for d in range(lowest, highest + 1):
            after_low = low[1:] if low is not None and d == lowest else None
            after_high = high[1:] if high is not None and d == highest else None
            then = (after_low, after_high)
            by_what_follows[then] = by_what_follows.get(then, "") + str(d)
        options = ((some, self._digits(*then)) for then, some in by_what_follows.items())
        tree = _each(options)
        return alternatives(*parts, *([] if tree == NO_TEXT else [tree]))
