"""What is known of a beginning of a JSON text stays, however the text goes on."""

import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.values.library import json_so_far as so_far
from fkdsl.values.library.json_so_far import NOT_KNOWN, items_known, known, may_equal
from fkdsl.values.library.structured import from_json

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-300, 300)
    | st.floats(-100, 100, allow_subnormal=False)
    | st.text('ab"\\\n\u00e9\U0001f600 {[,', max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
NUMBERS = [
    ("38", 38, True),
    ("38.0", 38, False),
    ("3.8e1", 38, False),
    ("380e-1", 38, False),
    ("0.38E+2", 38, False),
    ("37.99999999999999999999", 38, False),
    ("-0", 0, True),
    ("-0.0", 0, False),
    ("0.3", 0.3, False),
    ("0.29999999999999999", 0.3, False),
    ("0.30000000000000001", 0.3, False),
    ("1e-300", 1e-300, False),
    ("0.99999999999999999999", 1, False),
    ("-12", -12, True),
    ("-1.25", -1.25, False),
    ("1" + "0" * 30, 10**30, True),
    ("12345678901234567890", 12345678901234567890, True),
]


def written(value, rng):
    """The JSON text of a value, with white space and escapes of all kinds."""
    space = "".join(rng.choices(" \n", k=rng.choice((0, 0, 1, 2))))
    if isinstance(value, dict):
        members = (f"{space}{written(k, rng)}:{written(v, rng)}" for k, v in value.items())
        return f"{space}{{{','.join(members)}{space}}}"
    if isinstance(value, list):
        return f"{space}[{','.join(written(v, rng) for v in value)}{space}]"
    return space + json.dumps(value, ensure_ascii=rng.random() < 0.5) + space


def paths(value, path=()):
    yield path, value
    if isinstance(value, dict | list):
        steps = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in steps:
            yield from paths(inner, (*path, step))


@given(VALUES, st.integers(0, 2**30))
def test_what_is_known_is_what_the_whole_text_has(value, seed):
    text = written(value, Random(seed))
    for k in range(len(text) + 1):
        for path, inner in paths(value):
            whole, now = from_json(inner), known(text[:k], path)
            assert now is NOT_KNOWN or now == whole, (text[:k], path)
            items = items_known(text[:k], path)
            assert items == (whole[: len(items)] if isinstance(whole, tuple) else ())
            assert may_equal(text[:k], path, whole), (text[:k], path)
    if isinstance(value, dict | list):
        assert known(text, ()) == from_json(value)


@pytest.mark.parametrize(("text", "value", "whole"), NUMBERS)
def test_no_way_to_write_a_number_is_refused(text, value, whole):
    assert json.loads(text) == value
    for k in range(len(text) + 1):
        assert may_equal(f'{{"n": {text[:k]}', ("n",), value)
        assert not whole or may_equal(f'{{"n": {text[:k]}', ("n",), value, whole=True)


@pytest.mark.parametrize(
    ("text", "value", "whole"),
    [
        ("4", 38, False),
        ("39", 38, False),
        ("37", 38, True),
        ("380", 38, True),
        ("-", 38, False),
        ("0", 38, True),
        ("1", 1.5, True),
        ("0.4", 0.3, False),
        ('"Anna', "Ann", False),
        ('"\\u0042', "Ann", False),
        ("t", False, False),
        ('["a", "c", ', ("a", "b"), False),
    ],
)
def test_what_cannot_come_to_equal_a_value_is_seen(text, value, whole):
    assert not may_equal(f'[{{"x": {text}', (0, "x"), value, whole=whole)


def test_numbers_beyond_floats_say_nothing():
    for value in (math.inf, -math.inf, math.nan, 1.7976931348623157e308, 10**5000, -(10**400)):
        for whole in (False, True):
            assert may_equal('{"n": 1', ("n",), value, whole)


def test_half_an_escape_or_character_says_nothing():
    for text in ('"\\', '"\\u00', '"\\ud83d', '"caf\ufffd', '"'):
        assert may_equal(text, (), "\U0001f600" if "ud8" in text else "caf\u00e9" * ("c" in text))
    assert may_equal('"\\ud83d\\ude00', (), "\U0001f600!")


@pytest.mark.parametrize("text", ["", " ", "nul", "[1,,", '{"a" 1', "{1: 2", "[NaN, 1", "\u00b2"])
def test_of_what_is_no_json_nothing_more_is_known(text):
    for path in ((), (0,), ("a",), (1,)):
        assert known(text, path) is NOT_KNOWN or text == "[1,,"
        assert may_equal(text, path, 5)


def test_long_and_deep_texts_are_not_looked_into():
    assert known("[1, " + " " * so_far.LONGEST, (0,)) is NOT_KNOWN
    assert known("[" * 5_000 + "1,", (0,) * 5_000) is NOT_KNOWN
