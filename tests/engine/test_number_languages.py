"""Languages of texts that write a number, stand in an order, or have some sum of counts: for every
short text what Python says."""

import itertools
import math
import operator

import pytest

from fkdsl.engine.constraints import added_numbers, counters
from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.languages import (
    ALL_TEXTS,
    Added,
    Contains,
    Count,
    Counted,
    Framed,
    Larger,
    Length,
    Listed,
    Ordered,
    Replaced,
    Texts,
    WholeNumber,
)
from fkdsl.engine.constraints.python_numbers import decimals_within, with_rest
from fkdsl.values.library.number_languages import summed_numbers
from fkdsl.values.library.text import words
from tests.engine.test_item_languages import assert_same


def written(s):
    try:
        return int(s.strip())
    except ValueError:
        return None


@pytest.mark.parametrize(("least", "most"), [(1, 12), (-13, 7), (98, 1002), (None, -2), (3, None)])
def test_whole_numbers_are_those_that_python_reads(least, most):
    def holds(s):
        n = written(s)
        return n is not None and (least is None or least <= n) and (most is None or n <= most)

    assert_same(WholeNumber(((least, most),)), holds, "0129_- \u0663", 4)


def test_every_digit_of_unicode_counts():
    digits = [c for c in map(chr, range(0x110000)) if c.isdecimal()]
    automaton = Automaton(WholeNumber(((3, 5),)))
    assert len(digits) > 600
    assert all(automaton.accepts(c) == (3 <= int(c) <= 5) for c in digits)


@pytest.mark.parametrize("operator", ["lt", "le", "gt", "ge"])
def test_texts_are_ordered_by_code_points(operator):
    compare = {"lt": str.__lt__, "le": str.__le__, "gt": str.__gt__, "ge": str.__ge__}[operator]
    assert_same(Ordered(operator, "bab"), lambda s: compare(s, "bab"), "abc")
    assert_same(Ordered(operator, ""), lambda s: compare(s, ""), "a\0", 2)


def test_a_text_in_a_frame_or_with_parts_replaced():
    assert_same(Framed("ab", "b", Contains("bb")), lambda s: "bb" in f"ab{s}b", "ab")
    assert_same(Framed("", "", Length(2, 3)), lambda s: 2 <= len(s) <= 3, "ab")
    assert_same(Replaced("aa", "b", Contains("bb")), lambda s: "bb" in s.replace("aa", "b"), "abc")
    assert_same(Replaced("a", "", Texts(("bb",))), lambda s: s.replace("a", "") == "bb", "abc")
    assert_same(
        Replaced("aba", "ab", Contains("aba")), lambda s: "aba" in s.replace("aba", "ab"), "ab", 8
    )


def a_count(part, factor=1):
    """How often a part stands in a text, and 1."""
    return Count(("parts", part), ALL_TEXTS, factor)


LONG_WORDS = Count("words", Length(2, -1))
SUMS = {
    "as many a as b": (
        Counted((a_count("a"), a_count("b", -1)), 0, ((0, 0),)),
        lambda s: s.count("a") == s.count("b"),
    ),
    "twice as many": (
        Counted((a_count("a"), a_count("b", -2)), 1, ((0, 0),)),
        lambda s: s.count("a") == 2 * s.count("b"),
    ),
    "two or three together": (
        Counted((a_count("a"), a_count("ab")), -2, ((2, 3),)),
        lambda s: 2 <= s.count("a") + s.count("ab") <= 3,
    ),
    "none or many": (
        Counted((a_count("a"),), -1, ((None, 0), (3, None))),
        lambda s: s.count("a") == 0 or s.count("a") >= 3,
    ),
    "an odd number of long words": (
        Counted((LONG_WORDS,), 0, ((1, 1),), 2),
        lambda s: sum(len(w) >= 2 for w in s.split()) % 2 == 1,
    ),
    "at most one below nought": (
        Counted((a_count("a", -1),), 1, ((-1, None),)),
        lambda s: -s.count("a") >= -1,
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_counts_are_pythons(name):
    assert_same(*SUMS[name], "ab ", 6)


def test_far_from_what_matters_nothing_is_known(monkeypatch):
    """A text is refused only if it cannot come back; where that is not known, none is."""
    monkeypatch.setattr(counters, "FAR", 2)
    language, holds = SUMS["as many a as b"]
    automaton = Automaton(language)
    assert not automaton.accepts("aab")
    assert automaton.accepts("aaabbb")
    assert automaton.accepts("aaaab")
    with pytest.raises(AssertionError):
        assert_same(language, holds, "ab", 6)
    complement = counters.Counter((), 0, ((None, None),), widest=False)
    assert complement.accepts(complement.start)


def test_a_sum_that_saturates_too_early_is_caught(monkeypatch):
    right = counters.Counter._kept
    monkeypatch.setattr(counters.Counter, "_kept", lambda self, n: right(self, min(n, 1)))
    with pytest.raises(AssertionError):
        assert_same(*SUMS["two or three together"], "ab ", 6)


def read(s):
    """The number that `float` of the program gives."""
    try:
        value = float(s.strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@pytest.mark.parametrize(
    ("divisor", "rests"), [(2, {0}), (7, {1, 4}), (12, {11}), (1, {0}), (3, ())]
)
def test_rests_are_those_of_python(divisor, rests):
    language = with_rest(divisor, frozenset(rests))

    def holds(s):
        n = written(s)
        return n is not None and n % divisor in rests

    assert_same(language, holds, "0129_- \u0663", 4)
    assert_same(language, holds, "+1 ", 3)


BOUNDS = [(None, 2.5, True), (None, 2.5, False), (-1.2, 2, False), (0, None, True),
          (0.02, 0.2, True),
          (None, 0, True), (1.2, 1.2, False), (20.1, None, False)]  # fmt: skip


@pytest.mark.parametrize(("least", "most", "strict"), BOUNDS)
def test_decimals_are_those_that_python_reads_but_for_exponents(least, most, strict):
    def holds(s):
        value = read(s)
        if value is None or "e" in s.lower():
            return value is not None
        if strict:
            return (least is None or value > least) and (most is None or value < most)
        return (least is None or value >= least) and (most is None or value <= most)

    language = decimals_within(least, most, strict)
    assert_same(language, holds, "012.-_", 5)
    assert_same(language, holds, "+2. e\u0662", 4)
    assert_same(language, holds, "infnaE1", 3)


def test_a_decimal_that_is_rounded_to_a_bound_is_not_refused():
    just_above, just_below = "2." + "5" + "0" * 20 + "1", "2.4" + "9" * 20
    assert read(just_above) == read(just_below) == 2.5
    for least, most in ((None, 2.5), (2.5, None), (2.5, 2.5)):
        automaton = Automaton(decimals_within(least, most))
        assert automaton.accepts(just_above)
        assert automaton.accepts(just_below)
    strictly = Automaton(decimals_within(None, 2.5, strict=True))
    assert strictly.accepts("2.4999999")
    assert not strictly.accepts("2.500")


@pytest.mark.parametrize("by", ["words", ("parts", " ")])
def test_of_three_numbers_all_are_numbers_and_small_ones_add_up(by):
    """Of other texts `int` raises an error, which would end the run."""
    automaton = Automaton(Larger(Listed(by, Added((0, 1, 2), (1, 1, -1), ((0, 0),))), ""))
    small = {str(n) for n in range(100)}
    for text in map("".join, itertools.product("12 -x", repeat=5)):
        items = words(text) if by == "words" else text.split(" ")
        numbers = [written(item) for item in items[:3]]
        known = len(numbers) == 3 and None not in numbers
        if known and {item.strip() for item in items[:2]} <= small:
            known = numbers[0] + numbers[1] == numbers[2]
        assert automaton.accepts(text) == known, text


SUMS_OF_ALL = [
    ("eq", 12),
    ("lt", 12),
    ("ge", 15),
    ("in", (3, 11)),
    ("eq", 0),
    ("eq", -3),
    ("gt", 40),
]


def check_summed(by, operator_, bound):
    """Lists of plain numbers are told apart by their sum; of others it is known that they are."""
    automaton = Automaton(summed_numbers(by, operator_, bound))
    compare = getattr(operator, operator_, lambda a, b: a in b)
    for text in itertools.chain(
        *(map("".join, itertools.product("019 -", repeat=n)) for n in range(6))
    ):
        items = words(text) if by == "words" else text.split(" ")
        numbers = [written(item) for item in items]
        known = None not in numbers
        plain = all(
            item.strip() == str(n) and n >= 0
            for item, n in zip(items, numbers, strict=True)
            if known
        )
        if known and (plain or compare(sum(numbers), bound)):
            known = compare(sum(numbers), bound)
        assert automaton.accepts(text) == known, text


@pytest.mark.parametrize("by", ["words", ("parts", " ")])
@pytest.mark.parametrize(("operator_", "bound"), SUMS_OF_ALL)
def test_numbers_that_all_add_up(by, operator_, bound):
    check_summed(by, operator_, bound)


def test_a_sum_that_forgets_a_digit_is_caught(monkeypatch):
    right = added_numbers._Sums.ended
    monkeypatch.setattr(added_numbers._Sums, "ended", lambda self, total: right(self, total % 10))
    with pytest.raises(AssertionError):
        check_summed("words", "eq", 12)
