"""Sets of characters are those of the `regex` library, and a partition tells them apart."""

from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.engine.constraints.charsets import (
    ALL_CHARACTERS,
    Partition,
    characters_of,
    charset,
    letter_charset,
    single,
    without_point,
)

PATTERNS = [
    *[
        "a",
        "[a-f]",
        "[^a-f]",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        ".",
        "(?s).",
        r"[^\W\d_]",
        r"[\w\s-]",
        "[é☃]",
    ],
    *[
        "(?i)k",
        "(?i)[k-s]",
        "(?i)[^k-s]",
        "(?i)ß",
        "(?i)i",
        r"(?a)\w",
        r"(?a)\W",
        "(?ia)k",
        "(?i)é",
        r"\U0001f600",
        r"\n",
    ],
]
EDGES = [
    0,
    9,
    10,
    13,
    0x1C,
    0x85,
    0x7F,
    0x80,
    0x131,
    0x17F,
    0x212A,
    0xD7FF,
    0xE000,
    0xFFFD,
    0xFFFF,
    0x10000,
    0x10FFFF,
]
POINTS = st.one_of(st.sampled_from(EDGES), st.integers(0, 0xD7FF), st.integers(0xE000, 0x10FFFF))


def holds(runs, point):
    return any(first <= point < last for first, last in runs)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_charset_holds_what_regex_matches(pattern):
    runs, one = charset(pattern), regex.compile(pattern)
    edges = (
        {p + d for run in runs for p in run for d in (-1, 0, 1)} | set(range(0x250)) | set(EDGES)
    )
    for point in sorted(edges):
        if 0 <= point < 0x110000 and not 0xD800 <= point < 0xE000:
            assert holds(runs, point) == (one.fullmatch(chr(point)) is not None), hex(point)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_runs_ascend_apart_from_each_other_and_hold_no_surrogate(pattern):
    runs = charset(pattern)
    assert all(first < last for first, last in runs)
    assert all(a[1] < b[0] or (a[1], b[0]) == (0xD800, 0xE000) for a, b in pairwise(runs))
    assert not any(holds(runs, p) for p in (0xD800, 0xDBFF, 0xDFFF))


@given(st.sampled_from(PATTERNS), POINTS)
def test_without_takes_away_one_point(pattern, point):
    runs = charset(pattern)
    less = without_point(runs, point)
    for p in {point - 1, point, point + 1, *EDGES}:
        assert holds(less, p) == (holds(runs, p) and p != point)


@given(st.lists(st.sampled_from(PATTERNS), max_size=4), st.lists(POINTS, min_size=1, max_size=20))
def test_a_partition_tells_its_sets_apart_and_no_more(patterns, points):
    sets = [charset(p) for p in patterns]
    partition = Partition(sets)
    classes = partition.classes_of("".join(map(chr, points)))
    for runs in sets:
        assert [c in partition.members[runs] for c in classes] == [holds(runs, p) for p in points]
    signatures = [tuple(holds(runs, p) for runs in sets) for p in points]
    assert (
        len(set(zip(classes, signatures, strict=True))) == len(set(classes)) == len(set(signatures))
    )


@given(st.lists(st.sampled_from(PATTERNS), max_size=4), POINTS, st.integers(0, 300))
def test_classes_between_are_those_of_the_characters_between(patterns, first, length):
    partition = Partition([charset(p) for p in patterns])
    last = min(first + length, 0x10FFFF)
    found = partition.classes_between(first, last)
    classes = {partition.classes_of(chr(p))[0] for p in range(first, last + 1)}
    assert found == sorted(classes)


def test_surrogates_are_a_class_that_is_in_no_set():
    partition = Partition([ALL_CHARACTERS, single("a")])
    assert partition.classes_of("\ud800")[0] not in partition.members[ALL_CHARACTERS]


@given(st.text())
def test_the_characters_of_a_text_are_a_set_of_single_ones(text):
    points = sorted({ord(c) for c in text})
    assert [p for a, b in characters_of(text) for p in range(a, b)] == points
    assert all(b < c for (_, b), (c, _) in pairwise(characters_of(text)))


def test_letters_are_what_python_calls_letters():
    inside = {p for a, b in letter_charset() for p in range(a, b)}
    assert inside == {p for p in range(0x110000) if chr(p).isalpha()}
