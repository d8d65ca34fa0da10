"""Built-ins for the optimiser: the languages of the texts whose counts add up to some number, that
write one, that stand before another text, or of which some tests out of a list hold.

>>> ranges("lt", 2.5), ranges("ge", -1), ranges("in", (4, 1))
(((None, 2),), ((-1, None),), ((1, 1), (4, 4)))
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fkdsl.engine.constraints import languages as of
from fkdsl.engine.constraints.added_numbers import quotients
from fkdsl.engine.constraints.json_languages import JsonNumbers
from fkdsl.engine.constraints.language_parts import without_mistakes
from fkdsl.engine.constraints.languages import ALL_TEXTS, NO_TEXTS
from fkdsl.engine.constraints.python_numbers import decimals_within, with_rest
from fkdsl.values.library.item_languages import By
from fkdsl.values.library.languages import MOST_INDEX, A, plain_text
from fkdsl.values.signatures import BuiltinError, pure
from fkdsl.values.types import ANY
from fkdsl.values.values import show

Ranges = tuple[tuple[int | None, int | None], ...]
"""Ranges of whole numbers, both ends included; None for no end."""
Terms = tuple[tuple[of.Count, int], ...]
"""Counts, and by how much each is more than what it stands for."""
MOST_TESTS = 6
"""Most tests of a list of which it is followed how many hold."""
LARGEST = 100_000
"""Larger numbers are not counted up to."""
MOST_DIVISOR = 100
"""The largest divisor of a number that is followed."""
LARGEST_FLOAT = 1e15
"""Numbers are not compared with larger ones digit by digit."""
JOINTS = "'\u2019-"
"""Signs that may stand within a word."""
FLIPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}
OF_PARTS = "what it says of the parts that it looks at"
A_FRACTION = "a sum that is not whole"
ROUNDED, LARGEST_ADDED = 1e-12, 1e15
"""By what share of its parts a sum of fractions is rounded at most, and numbers up to which a sum
with them is followed."""


def ranges(operator: str, bound: Any) -> Ranges:
    """The whole numbers n with `n operator bound`."""
    if operator == "in":
        values = bound if isinstance(bound, tuple) else ()
        return tuple((n, n) for n in sorted({int(v) for v in values if _is_whole(v)}))
    if not isinstance(bound, int | float) or math.isnan(bound):
        if operator == "eq" or isinstance(bound, float):
            return ()
        raise BuiltinError(f"{show(bound)} is no number", "compare with a number")
    if math.isinf(bound):
        return ((None, None),) if operator in (("le", "lt") if bound > 0 else ("ge", "gt")) else ()
    least, most = {
        "le": (None, math.floor(bound)),
        "lt": (None, math.ceil(bound) - 1),
        "ge": (math.ceil(bound), None),
        "gt": (math.floor(bound) + 1, None),
        "eq": (math.ceil(bound), math.floor(bound)),
    }[operator]
    return () if least is not None and most is not None and least > most else ((least, most),)


def _is_among(n: int, among: Ranges) -> bool:
    return any((a is None or a <= n) and (b is None or n <= b) for a, b in among)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value == int(value)


@pure(".term", [A, A, A], ANY)
def term(factor: Any, by: By, part: of.Language) -> Terms:
    """How many items of a text are in a part, times a factor."""
    return ((of.Count(by, part, _whole(factor)), 0),)


@pure(".occurrences", [A, A], ANY)
def occurrences(factor: Any, part: Any) -> Terms:
    """How often a part stands in a text, without overlaps, times a factor: one less than the parts
    between."""
    part, factor = plain_text(part), _whole(factor)
    if not part:
        raise BuiltinError('count of ""', "name what to count")
    return ((of.Count(("parts", part), ALL_TEXTS, factor), factor),)


def _whole(factor: Any) -> int:
    """A factor as a whole number; 0 stands for one that is not, which `sum_among` knows."""
    return int(factor) if _is_whole(factor) and abs(factor) <= LARGEST else 0


@pure(".sum_among", [A, A, A, A, A], ANY)
def sum_among(terms: Any, first: Any, divisor: Any, operator: str, bound: Any) -> of.Language:
    """The texts whose terms and `first` add up to a number of which a comparison with a bound is
    true, or, unless the divisor is 0, the rest of the division by it. terms: lists of terms, and of
    such lists."""
    flat = tuple(_flat(terms))
    if not _is_whole(first) or any(count.factor == 0 for count, _ in flat):
        return of.Larger(ALL_TEXTS, A_FRACTION)
    numbers = ranges(operator, bound)
    if divisor and not (isinstance(divisor, int) and 0 < divisor <= MOST_INDEX):
        return of.Larger(ALL_TEXTS, f"a division by {show(divisor)}")
    if any(n is not None and abs(n) > LARGEST for both in numbers for n in both):
        return of.Larger(ALL_TEXTS, f"a number beyond {LARGEST:,}")
    excess = sum(more for _, more in flat)
    counts = tuple(count for count, _ in flat)
    return of.Counted(counts, int(first) - excess, numbers, int(divisor))


def _flat(terms: Any) -> Iterable[tuple[of.Count, int]]:
    for inner in terms:
        if isinstance(inner, tuple) and inner and isinstance(inner[0], of.Count):
            yield inner
        else:
            yield from _flat(inner)


@pure(".whole_number", [A, A], ANY)
def whole_number(operator: str, bound: Any) -> of.Language:
    """The texts that write a whole number of which a comparison with a bound is true. Of other
    texts `int` raises an error."""
    no_number = of.Complement(of.WholeNumber(((None, None),)))
    return of.MayFail(of.WholeNumber(ranges(operator, bound)), no_number)


@pure(".number_in_sum", [A, A, A, A], ANY)
def number_in_sum(factor: Any, first: Any, operator: str, bound: Any) -> of.Language:
    """The texts that write a whole number n of which a comparison of factor * n + first with a
    bound is true. Of other texts `int` raises an error."""
    if not _is_whole(first) or not _whole(factor):
        return of.Larger(ALL_TEXTS, A_FRACTION)
    no_number = of.Complement(of.WholeNumber(((None, None),)))
    numbers = quotients(ranges(operator, bound), int(first), int(factor))
    return of.MayFail(of.WholeNumber(numbers), no_number)


@pure(".added_numbers", [A, A, A, A, A, A], ANY)
def added_numbers(
    by: By, places: Any, factors: Any, first: Any, operator: str, bound: Any
) -> of.Language:
    """The texts whose items at three places write numbers, each times its factor, that add up with
    `first` to a number of which a comparison with a bound is true, and some more."""
    if not _is_whole(first):
        return of.Larger(ALL_TEXTS, A_FRACTION)
    among = quotients(ranges(operator, bound), int(first), 1)
    added = of.Larger(of.Listed(by, of.Added(places, factors, among)), "")
    number = of.WholeNumber(((None, None),))
    numbers = of.Both(tuple(of.item_at(by, place, number) for place in places))
    return of.MayFail(added, of.Complement(without_mistakes(numbers)))


@pure(".summed_numbers", [A, A, A], ANY)
def summed_numbers(by: By, operator: str, bound: Any) -> of.Language:
    """The texts whose items all write whole numbers, of the sum of which a comparison with a bound
    is true, and some more. Of other texts `int` raises an error."""
    numbers = of.Listed(by, of.Times(of.One(of.WholeNumber(((None, None),))), 0, -1))
    sums = of.Larger(of.Listed(by, of.Summed(ranges(operator, bound))), "")
    return of.MayFail(sums, of.Complement(numbers))


@pure(".rest_of_number", [A, A, A, A, A], ANY)
def rest_of_number(factor: Any, first: Any, divisor: Any, operator: str, bound: Any) -> of.Language:
    """The texts that write a whole number n of which a comparison of (factor * n + first) % divisor
    with a bound is true. Of other texts `int` raises an error."""
    if not _is_whole(first) or not _whole(factor):
        return of.Larger(ALL_TEXTS, A_FRACTION)
    if not (isinstance(divisor, int) and 0 < divisor <= MOST_DIVISOR):
        return of.Larger(ALL_TEXTS, f"a division by {show(divisor)}")
    among = ranges(operator, bound)
    rests = frozenset(
        n for n in range(divisor) if _is_among((int(factor) * n + int(first)) % divisor, among)
    )
    no_number = of.Complement(of.WholeNumber(((None, None),)))
    return of.MayFail(with_rest(divisor, rests), no_number)


@pure(".float_number", [A, A], ANY)
def float_number(operator: str, bound: Any) -> of.Language:
    """Texts that write a number of which a comparison with a bound is true, and some more: those
    with an exponent. Of texts that write none `float` raises an error."""
    if operator == "in":
        values = bound if isinstance(bound, tuple) else ()
        parts = tuple(
            float_number("eq", value) for value in values if isinstance(value, int | float)
        )
        return of.Either(parts)
    if not isinstance(bound, int | float) or not abs(bound) < LARGEST_FLOAT:
        return of.Larger(ALL_TEXTS, f"a comparison with {show(bound)}")
    value = float(bound)
    if isinstance(bound, int) and bound != value:
        return of.Larger(ALL_TEXTS, f"a comparison with {show(bound)}")
    least = value if operator in ("ge", "gt", "eq") else None
    most = value if operator in ("le", "lt", "eq") else None
    within = of.Larger(decimals_within(least, most, operator in ("lt", "gt")), "")
    return of.MayFail(within, of.Complement(decimals_within(None, None)))


@pure(".first_of", [A, A, A], ANY)
def first_of(a: Any, b: Any, operator: str) -> of.Language:
    """The texts of which a comparison of find(s, a) with find(s, b) is true."""
    a, b = plain_text(a), plain_text(b)
    if not a or not b:
        return of.Larger(ALL_TEXTS, 'find of ""')
    if len(a) > len(b):  # of the longer one, where the shorter one is is known from what is before
        return first_of(b, a, FLIPPED[operator])
    has_a, has_b = of.Contains(a), of.Contains(b)

    def begun(n: int) -> of.Language:
        """The texts before whose first b, with n characters of it, an a stands."""
        part = of.Framed("", b[:n], has_a)
        return of.Listed(("parts", b), of.Row((of.One(part), of.ANY_ITEMS)))

    both = of.Both((has_a, has_b))
    before = of.Both((has_b, of.Either((of.Complement(has_a), begun(len(a) - 1)))))
    neither = of.Both((of.Complement(has_a), of.Complement(has_b)))
    at_once = of.Both((both, begun(len(a)), of.Complement(begun(len(a) - 1))))
    same = of.Either((neither, at_once))
    match operator:
        case "lt":
            return before
        case "le":
            return of.Either((before, same))
        case "eq":
            return same
        case "ge":
            return of.Complement(before)
    return of.Complement(of.Either((before, same)))


@pure(".joined_words", [A], ANY)
def joined_words(between: Any) -> of.Language:
    """The texts that are their own words with a text between them."""
    between = plain_text(between)
    if not between or any(c.isalnum() or c in JOINTS for c in between):
        return of.Larger(ALL_TEXTS, f"words with {show(between)} between them")
    return of.Matches(f"(?:{of.WORD}(?:{re.escape(between)}{of.WORD})*)?")


@pure(".json_numbers", [A, A, A, A, A, A, A], ANY)
def json_numbers(
    paths: Any,
    factors: Any,
    operator: str,
    added: Any,
    times: Any,
    is_side: bool,
    products: Any,
) -> of.Language:
    """The JSON texts of which a comparison with 0 is true of a sum: of numbers in them, each times
    a factor, and of what is added, each times a factor. is_side: whether what is added is by itself
    one side of the program's comparison. A fraction that is brought over from the other side is
    rounded otherwise than the program's own sum: `2.3 - 0.3` is less than 2. So then texts are in
    the language, too, of which the comparison is nearly true."""
    is_whole = all(isinstance(v, int) and not isinstance(v, bool) for v in added)
    is_fraction = is_side and all(isinstance(v, float) and math.isfinite(v) for v in added)
    terms = tuple(zip(paths, factors, strict=True))
    if is_whole or is_fraction:
        bound = -sum(v * factor for v, factor in zip(added, times, strict=True))
        return JsonNumbers(terms, operator, bound, products)
    if not all(isinstance(v, int | float) and abs(v) < LARGEST_ADDED for v in added):
        return of.Larger(ALL_TEXTS, A_FRACTION)
    parts = [float(v * factor) for v, factor in zip(added, times, strict=True)]
    bound, nearly = -math.fsum(parts), ROUNDED * (1.0 + math.fsum(map(abs, parts)))
    below = JsonNumbers(terms, "le", bound + nearly, products)
    above = JsonNumbers(terms, "ge", bound - nearly, products)
    if operator == "eq":
        return of.Both((below, above))
    return below if operator in ("lt", "le") else above


@pure(".ordered", [A, A], ANY)
def ordered(operator: str, text: Any) -> of.Language:
    """The texts before another one, or after it."""
    return of.Ordered(operator, plain_text(text))


@pure(".framed", [A, A, A], ANY)
def framed(before: Any, behind: Any, part: of.Language) -> of.Language:
    """The texts that are in the part with a text before and one behind them."""
    return of.Framed(plain_text(before), plain_text(behind), part)


@pure(".after", [A, A], ANY)
def after(before: Any, part: of.JsonText | of.GrammarText) -> of.Language:
    """The texts that are in a schema's or grammar's language with a text before them."""
    return replace(part, before=part.before + plain_text(before))


@pure(".replaced", [A, A, A], ANY)
def replaced(old: Any, new: Any, part: of.Language) -> of.Language:
    """The texts that are in the part once each `old` is replaced."""
    old, new = plain_text(old), plain_text(new)
    if not old:
        raise BuiltinError('replace of ""', "name what to replace")
    return of.Replaced(old, new, part)


@pure(".found", [A, A, A], ANY)
def found(part: Any, operator: str, bound: Any) -> of.Language:
    """The texts in which a part first stands at a place, -1 for none, of which a comparison with a
    bound is true."""
    part = plain_text(part)

    def within(most: int) -> of.Language:
        """The part stands at a place from 0 to `most`."""
        cut = of.Contains(part) if most >= 0 else NO_TEXTS
        return of.Sliced(0, most + len(part), cut) if most >= 0 else NO_TEXTS

    parts: list[of.Language] = []
    for least, most in ranges(operator, bound):
        if (least is None or least <= -1) and (most is None or most >= -1):
            parts.append(of.Complement(of.Contains(part)))
        first = max(least or 0, 0)
        if max(first, most or 0) > MOST_INDEX:
            return of.Larger(ALL_TEXTS, f"a place beyond {MOST_INDEX}")
        if most is None or most >= first:
            whole = of.Contains(part) if most is None else within(most)
            parts.append(of.Both((whole, of.Complement(within(first - 1)))))
    return of.Either(tuple(parts))


@pure(".as_many_hold", [A, A, A], ANY)
def as_many_hold(tests: tuple[of.Language, ...], operator: str, bound: Any) -> of.Language:
    """The texts that are in so many of some languages."""
    if len(tests) > MOST_TESTS:
        return of.Larger(ALL_TEXTS, f"how many of over {MOST_TESTS} tests hold")
    numbers = ranges(operator, bound)

    def holding(k: int, so_far: int) -> of.Language:
        """Of the texts of which so many of the first k tests hold, those that count."""
        if k == len(tests):
            return ALL_TEXTS if _is_among(so_far, numbers) else NO_TEXTS
        with_it, without = holding(k + 1, so_far + 1), holding(k + 1, so_far)
        if with_it == without:
            return with_it
        other = of.Complement(tests[k])
        return of.Either((of.Both((tests[k], with_it)), of.Both((other, without))))

    return holding(0, 0)


@pure(".one_of", [A], ANY)
def one_of(parts: tuple[of.Language, ...]) -> of.Language:
    """The texts that are in at least one of many parts, which are alike."""
    return of.Undivided(of.Either(parts))


@pure(".beginnings", [A], ANY)
def beginnings(part: of.Language) -> of.Language:
    """The texts with which a text of the part begins."""
    return of.Beginnings(part)


@pure(".no_such_value", [A], ANY)
def no_such_value(part: of.Language) -> of.Language:
    """The texts that are not in the part, with those for which the program raises an error."""
    return of.Complement(without_mistakes(part))


@pure(".readable", [A], ANY)
def readable(part: of.Language) -> of.Language:
    """The texts of a part, of which no more is known. Of others the program raises an error."""
    known = without_mistakes(part)
    return of.MayFail(of.Larger(known, OF_PARTS), of.Complement(known))


@pure(".items_in", [A, A], ANY)
def items_in(by: By, parts: tuple[of.Language, ...]) -> of.Language:
    """The texts with as many items as there are parts, each in its part."""
    return of.Listed(by, of.Row(tuple(of.One(part) for part in parts)))


@pure(".agrees", [A, A], ANY)
def agrees(items: tuple[Any, ...], value: Any) -> bool:
    """Whether a list can grow to a value: it begins with these items.

    >>> agrees((1, 2), (1, 2, 3)), agrees((2,), (1, 2))
    (True, False)
    """
    return isinstance(value, tuple) and items == value[: len(items)]
