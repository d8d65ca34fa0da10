"""Lists of texts that write numbers which add up, as expressions: three of them, `int(words(s)[0])
+ int(words(s)[1]) == int(words(s)[2])`, or all, `sum([int(w) for w in words(s)]) == 20`.

The first two are read digit by digit, each number on a way of its own, so that when the third one
comes it is known which numbers it may be: one, for an equation. The first two are told apart from 0
to 99, written without a sign and without a zero in front; of lists with others it is known that
they write numbers.

A sum of all is followed from item to item: what matters of the digits so far is the sum before them
and the number that they make. It is followed where numbers from 0 on are written without a sign and
without a zero in front, up to MOST_SUM; beyond, it is known that the items write numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fkdsl.engine.constraints.charsets import Charset, charset
from fkdsl.engine.constraints.expressions import Algebra
from fkdsl.engine.constraints.language_charsets import SPACE, digit_charset
from fkdsl.engine.constraints.languages import Added
from fkdsl.engine.constraints.order_expressions import Ranges, WholeNumbers

ANY_NUMBER: Ranges = ((None, None),)
MOST_SUM = 60
"""The greatest sum that is followed."""


def quotients(ranges: Ranges, less: int, factor: int) -> Ranges:
    """The whole numbers z with `factor * z + less` in some ranges.

    >>> quotients(((0, 6), (9, 9)), 1, 2), quotients(((None, 4),), 0, -2)
    (((0, 2), (4, 4)), ((-2, None),))
    """
    found = []
    for ends in ranges:
        least, most = (None if end is None else end - less for end in ends)
        least, most = (least, most) if factor > 0 else (most, least)
        low = None if least is None else -(-least // factor)
        high = None if most is None else most // factor
        if low is None or high is None or low <= high:
            found.append((low, high))
    return tuple(found)


class AddedNumbers:
    """The expressions of such lists. item: any text of a list; separator: what stands behind it;
    signed: whether an item may have a sign, as a word has not."""

    def __init__(
        self,
        algebra: Algebra,
        members: Mapping[Charset, frozenset[int]],
        item: int,
        separator: int,
        signed: bool = True,
    ) -> None:
        self.a, self.members, self.item = algebra, members, item
        self.behind = algebra.symbol({separator})
        self.any_items = algebra.star(algebra.concat(item, self.behind))
        self._numbers = WholeNumbers(algebra, members)
        self.space = algebra.star(algebra.symbol(members[charset(SPACE)]))
        self._last: dict[Ranges, int] = {}
        self.signed = signed

    def lists(self, items: Added) -> int:
        """Those of which the condition holds, and those whose sum is not known."""
        a, (first, second, last) = self.a, items.places

        def of_two(x: int, y: int) -> int:
            less = items.factors[0] * x + items.factors[1] * y
            third = quotients(items.ranges, less, items.factors[2])
            if not self.signed:
                third = tuple(
                    (max(low or 0, 0), high) for low, high in third if high is None or high >= 0
                )
            if not third:
                return a.EMPTY
            return a.concat(self.skipped(last - second - 1), self.last(third))

        def of_one(x: int) -> int:
            after = self.by_number(lambda y: of_two(x, y))
            return a.concat(self.skipped(second - first - 1), after)

        known = a.concat(self.skipped(first), self.by_number(of_one))
        number = a.intersection([self.item, self._numbers.written(ANY_NUMBER)])
        told_apart = self.by_number(lambda n: a.EPSILON, ends=False)
        other = a.intersection([number, a.complement(told_apart)])

        def unknown(x: int, y: int) -> int:
            parts = [self.skipped(first), x, self.behind]
            parts += [self.skipped(second - first - 1), y, self.behind]
            return a.concat_all([*parts, self.skipped(last - second - 1), self.last(ANY_NUMBER)])

        return a.union([known, unknown(other, number), unknown(number, other)])

    def summed(self, ranges: Ranges) -> int:
        """The lists whose items all write numbers with a sum in some ranges, and those whose sum is
        not known."""
        a = self.a
        number = a.intersection([self.item, self._numbers.written(ANY_NUMBER)])
        numbers = a.star(a.concat(number, self.behind))
        open_ends = [low for low, high in ranges if high is None]
        ends = [end for both in ranges for end in both if end is not None]
        most = max(ends, default=0)
        if not 0 <= most <= MOST_SUM:
            return numbers if most > 0 or open_ends or not ranges else self.with_other(number)
        sums = _Sums(self, ranges, most, bool(open_ends))
        return a.union([sums.lists(0), self.with_other(number)])

    def with_other(self, number: int) -> int:
        """The lists of numbers one of which is negative, or written in another way."""
        a = self.a
        zero, digit = (a.symbol(self._numbers.one_of(0, high)) for high in (0, 9))
        first = a.symbol(self._numbers.one_of(1, 9))
        plain = a.union([zero, a.concat(first, a.star(digit))])
        told_apart = a.concat_all([self.space, plain, self.space])
        other = a.intersection([number, a.complement(told_apart)])
        numbers = a.star(a.concat(number, self.behind))
        return a.concat_all([numbers, other, self.behind, numbers])

    def by_number(self, then: Callable[[int], int], ends: bool = True) -> int:
        """A number that is told apart and what follows behind it, by the number."""
        a = self.a
        behind = a.concat(self.space, self.behind if ends else a.EPSILON)

        def digit(d: int) -> int:
            return a.symbol(self.members[digit_charset(d)])

        parts = []
        for d in range(10):
            after = [a.concat(behind, then(d))]
            if d:
                after += [a.concat_all([digit(e), behind, then(10 * d + e)]) for e in range(10)]
            parts.append(a.concat(digit(d), a.union(after)))
        return a.concat(self.space, a.union(parts))

    def last(self, ranges: Ranges) -> int:
        """The third number, and any further items."""
        if ranges not in self._last:
            parts = [self._numbers.written(ranges), self.behind, self.any_items]
            self._last[ranges] = self.a.concat_all(parts)
        return self._last[ranges]

    def skipped(self, n: int) -> int:
        return self.a.repeat(self.a.concat(self.item, self.behind), n, n)


class _Sums:
    """The lists of numbers that are told apart, by the sum of those before. most: sums beyond are
    alike: in a range if `is_open`, else in none."""

    def __init__(self, numbers: AddedNumbers, ranges: Ranges, most: int, is_open: bool) -> None:
        self.numbers, self.a, self.most, self.is_open = numbers, numbers.a, most, is_open
        self.has = [
            any((low is None or low <= n) and (high is None or n <= high) for low, high in ranges)
            for n in range(most + 1)
        ]
        self._lists = [self.a.later(has) for has in self.has]
        for total in range(most, -1, -1):
            end = self.a.EPSILON if self.has[total] else self.a.EMPTY
            self.a.define(self._lists[total], self.a.union([end, self.number(total)]))

    def lists(self, total: int) -> int:
        """What may follow numbers with a sum."""
        if total > self.most and not self.is_open:
            return self.a.EMPTY
        return self._lists[min(total, self.most)]

    def number(self, total: int) -> int:
        """A number and what may follow it, behind numbers with a sum."""
        parts = [self.a.concat(self.digit(0), self.ended(total))]
        parts += [self.a.concat(self.digit(d), self.digits(total, d)) for d in range(1, 10)]
        return self.a.concat(self.numbers.space, self.a.union(parts))

    def digits(self, total: int, number: int) -> int:
        """What may follow the digits of a number."""
        if total + number >= self.most and self.is_open:
            digit = self.a.symbol(self.numbers._numbers.one_of(0, 9))
            return self.a.concat(self.a.star(digit), self.ended(self.most))
        if total + number > self.most:
            return self.a.EMPTY
        more = [
            self.a.concat(self.digit(d), self.digits(total, 10 * number + d)) for d in range(10)
        ]
        return self.a.union([self.ended(total + number), *more])

    def ended(self, total: int) -> int:
        """The end of a number, and what may follow it."""
        return self.a.concat_all([self.numbers.space, self.numbers.behind, self.lists(total)])

    def digit(self, d: int) -> int:
        return self.a.symbol(self.numbers.members[digit_charset(d)])
