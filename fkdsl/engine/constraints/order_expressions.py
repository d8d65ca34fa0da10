"""Texts in an order, as expressions: those before another text, and those that write a whole number
of some range."""

from __future__ import annotations

from collections.abc import Mapping

from fkdsl.engine.constraints.charsets import Charset, Partition, charset, single
from fkdsl.engine.constraints.expressions import Algebra
from fkdsl.engine.constraints.language_charsets import SPACE, digit_charset

Ranges = tuple[tuple[int | None, int | None], ...]


def ordered(a: Algebra, partition: Partition, operator: str, text: str) -> int:
    """The texts before another one, by their code points, or after it. operator: "lt", "le", "gt"
    or "ge"."""
    if operator in ("gt", "ge"):
        return a.complement(ordered(a, partition, {"gt": "le", "ge": "lt"}[operator], text))
    before = a.EPSILON if operator == "le" else a.EMPTY
    for character in reversed(text):  # the empty text, a smaller character, or the same and on
        below = partition.members[((0, ord(character)),)] if ord(character) else frozenset[int]()
        same = a.symbol(partition.members[single(character)])
        smaller = a.concat(a.symbol(below), a.EVERYTHING)
        before = a.union([a.EPSILON, smaller, a.concat(same, before)])
    return before


class WholeNumbers:
    """The texts of which `int` of the program gives a number: white space, a sign, and digits with
    single underscores between them."""

    def __init__(self, algebra: Algebra, members: Mapping[Charset, frozenset[int]]) -> None:
        self.a, self.members = algebra, members
        self.between = self.optional(algebra.symbol(members[single("_")]))

    def written(self, ranges: Ranges) -> int:
        """The texts that write a number of the ranges; None for no end."""
        a = self.a
        space = a.star(a.symbol(self.members[charset(SPACE)]))
        plus, minus = (a.symbol(self.members[single(c)]) for c in "+-")
        numbers = []
        for least, most in ranges:
            if most is None or most >= 0:
                numbers.append(a.concat(self.optional(plus), self.digits(max(least or 0, 0), most)))
            if least is None or least <= 0:
                furthest = None if least is None else -least
                numbers.append(a.concat(minus, self.digits(max(-(most or 0), 0), furthest)))
        return a.concat_all([space, a.union(numbers), space])

    def digits(self, least: int, most: int | None) -> int:
        """The digits of the numbers from least, at least 0, to most, after any zeros."""
        a, parts = self.a, []
        if most is not None and most < least:
            return a.EMPTY
        low, high = str(least), None if most is None else str(most)
        longest = len(high) if high is not None else len(low)
        for n in range(len(low), longest + 1):
            first = low if n == len(low) else "1" + "0" * (n - 1)
            last = high if high is not None and n == len(high) else "9" * n
            parts.append(self.of_length(first, last))
        if high is None:
            first_digit = a.symbol(self.one_of(1, 9))
            parts.append(a.concat(first_digit, self.any_digits(longest, None)))
        zeros = a.star(a.concat(a.symbol(self.one_of(0, 0)), self.between))
        return a.concat(zeros, a.union(parts))

    def of_length(self, first: str, last: str) -> int:
        """The digits of the numbers from first to last, which have equally many."""
        a, parts = self.a, []
        if not first:
            return a.EPSILON
        low, high = int(first[0]), int(last[0])
        if low == high:
            return self.followed_by(low, low, self.of_length(first[1:], last[1:]), first[1:])
        rest = len(first) - 1
        begin, end = self.of_length(first[1:], "9" * rest), self.of_length("0" * rest, last[1:])
        parts = [self.followed_by(low, low, begin, first[1:])]
        if low + 1 < high:
            anything = self.of_length("0" * rest, "9" * rest)
            parts.append(self.followed_by(low + 1, high - 1, anything, first[1:]))
        return a.union([*parts, self.followed_by(high, high, end, first[1:])])

    def followed_by(self, low: int, high: int, rest: int, more: str) -> int:
        """A digit from low to high, and the rest behind it, if there is more."""
        digit = self.a.symbol(self.one_of(low, high))
        return self.a.concat_all([digit, self.between, rest] if more else [digit])

    def any_digits(self, least: int, most: int | None) -> int:
        """So many digits, each with something before it."""
        digit = self.a.concat(self.between, self.a.symbol(self.one_of(0, 9)))
        return self.a.repeat(digit, least, -1 if most is None else most)

    def one_of(self, low: int, high: int) -> frozenset[int]:
        return frozenset().union(*(self.members[digit_charset(d)] for d in range(low, high + 1)))

    def optional(self, part: int) -> int:
        return self.a.union([self.a.EPSILON, part])
