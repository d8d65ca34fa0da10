"""The pure library: properties, bounds and refusals; its examples are run with the docs."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.program.library import numbers, sequences, structured, text
from fkdsl.program.library.syllables import syllables_of
from fkdsl.program.signatures import TABLE, BuiltinError

short = st.text(max_size=12)


def test_every_function_of_the_design_is_there():
    names = (
        "len words last_word lines sentences letters syllables lower upper strip starts_with ends_with contains count "
        "matches find replace join split range min max sum abs log exp sqrt all any sorted zip enumerate str int float "
        "round valid_json parse_json parses edit_distance bernoulli categorical uniform uniform_int geometric poisson "
        "normal beta"
    )
    assert set(names.split()) <= set(TABLE)
    assert all(s.doc for s in TABLE.values())


@given(short)
def test_words_have_no_spaces_and_stand_in_the_text(s):
    for w in text.words(s):
        assert not re.search(r"\s", w)
        assert w in s
        assert any(map(str.isalnum, w))


@given(short, short, short)
def test_edit_distance_is_a_metric(a, b, c):
    d = text.edit_distance
    assert d(a, a) == 0
    assert d(a, b) == d(b, a)
    assert d(a, c) <= d(a, b) + d(b, c)
    assert (d(a, b) == 0) == (a == b)


@given(st.lists(st.text("abc", min_size=1), max_size=5))
def test_split_undoes_join(parts):
    assert text.split(text.join(tuple(parts), ","), ",") == (tuple(parts) if parts else ("",))


@given(
    st.text(st.characters(codec="ascii"), max_size=12),
    st.sampled_from([r"\w+", r"[ab]*", r".", r"(?s:.*)", r"\d{2,3}"]),
)
def test_matches_is_pythons_full_match(s, pattern):
    assert text.matches(s, pattern) == (re.fullmatch(pattern, s) is not None)


@given(st.lists(st.integers()))
def test_sorted_is_ordered_and_a_permutation(xs):
    found = sequences.sorted_(tuple(xs), False)
    assert list(found) == sorted(xs)
    assert sequences.sorted_(found, False) == found


def test_a_pattern_that_would_take_for_ever_is_stopped():
    with pytest.raises(BuiltinError, match="took longer"):
        text.matches("a" * 5000 + "b", r"(a|a|aa)+$")


@pytest.mark.parametrize(
    "call",
    [
        lambda: numbers.log(0.0),
        lambda: numbers.log(-1.0),
        lambda: numbers.sqrt(-1.0),
        lambda: numbers.exp(1e4),
        lambda: numbers.int_("x"),
        lambda: numbers.float_("nan"),
        lambda: numbers.round_(float("inf"), None),
        lambda: text.matches("a", "("),
        lambda: text.count("a", ""),
        lambda: text.replace("a" * 5_000_000, "a", "aaaa"),
        lambda: text.edit_distance("a" * 3_000, ""),
        lambda: sequences.range_(0, 10_000_000, 1),
        lambda: sequences.range_(1, 2, 0),
        lambda: sequences.min_(()),
        lambda: sequences.sum_(("a",)),
        lambda: structured.parse_json("{"),
        lambda: structured.valid_json("1", "/etc/passwd", folder=Path()),
        lambda: structured.valid_json("1", "../x.json", folder=Path()),
        lambda: structured.valid_json("1", '{"type": 3}', folder=Path()),
        lambda: structured.parses("1", "nowhere.lark", folder=Path()),
        lambda: structured.parses("1", "start: (", folder=Path()),
    ],
)
def test_what_has_no_result_is_refused_with_a_message(call):
    with pytest.raises(BuiltinError) as error:
        call()
    assert error.value.message


def test_json_and_grammars():
    schema = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
    assert structured.valid_json('{"n": 3}', schema, folder=Path())
    assert not structured.valid_json('{"n": "x"}', schema, folder=Path())
    assert not structured.valid_json("{", "", folder=Path())
    assert not structured.valid_json("NaN", "", folder=Path())
    grammar = 'start: "a" start "b" |\n'
    assert structured.parses("aabb", grammar, folder=Path())
    assert not structured.parses("aab", grammar, folder=Path())
    # Maximal munch would take "listen" and then miss "ed".
    assert structured.parses("listed", 'start: ("list" | "listen") "ed"\n', folder=Path())


@pytest.mark.parametrize(
    ("line", "n"),
    [
        ("An old silent pond", 5),
        ("A frog jumps into the pond", 7),
        ("Splash! Silence again.", 5),
        ("the light of a candle is transferred", 9),
        ("", 0),
    ],
)
def test_syllables_of_known_lines(line, n):
    assert text.syllables(line) == n


@given(st.text("abcdeiouy'-", max_size=10))
def test_a_word_with_a_letter_has_a_syllable(w):
    assert syllables_of(w) >= (1 if any(map(str.isalpha, w)) else 0)
