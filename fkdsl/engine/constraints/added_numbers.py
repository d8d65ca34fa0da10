"""Lists of texts, three of which write numbers that add up, as expressions: `int(words(s)[0]) +
int(words(s)[1]) == int(words(s)[2])`.

The first two are read digit by digit, each number on a way of its own, so that when the third one
comes it is known which numbers it may be: one, for an equation. The first two are told apart from 0
to 99, written without a sign and without a zero in front; of lists with others it is known that
they write numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fkdsl.engine.constraints.charsets import Charset, charset
from fkdsl.engine.constraints.expressions import Algebra
from fkdsl.engine.constraints.language_charsets import SPACE, digit_charset
from fkdsl.engine.constraints.languages import Added
from fkdsl.engine.constraints.order_expressions import Ranges, WholeNumbers

ANY_NUMBER: Ranges = ((None, None),)


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
    """The expressions of such lists. item: any text of a list; separator: what stands behind it."""

    def __init__(
        self,
        algebra: Algebra,
        members: Mapping[Charset, frozenset[int]],
        item: int,
        separator: int,
    ) -> None:
        self.a, self.members, self.item = algebra, members, item
        self.behind = algebra.symbol({separator})
        self.any_items = algebra.star(algebra.concat(item, self.behind))
        self._numbers = WholeNumbers(algebra, members)
        self.space = algebra.star(algebra.symbol(members[charset(SPACE)]))
        self._last: dict[Ranges, int] = {}

    def lists(self, items: Added) -> int:
        """Those of which the condition holds, and those whose sum is not known."""
        a, (first, second, last) = self.a, items.places

        def of_two(x: int, y: int) -> int:
            less = items.factors[0] * x + items.factors[1] * y
            third = quotients(items.ranges, less, items.factors[2])
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
