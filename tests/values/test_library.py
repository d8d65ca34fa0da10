"""The pure library: properties, bounds and refusals; its examples are run with the docs."""

import re
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.languages import GrammarText, JsonText, Matches
from fkdsl.values import distributions
from fkdsl.values.library import numbers, sequences, structured, text
from fkdsl.values.library.syllables import syllables_of
from fkdsl.values.library.text import Begun, all_words
from fkdsl.values.signatures import TABLE, BuiltinError

short = st.text(max_size=12)


def test_every_function_of_the_design_is_there():
    names = (
        "len words last_word lines sentences letters syllables lower upper strip starts_with "
        "ends_with contains count matches find replace join split range min max sum abs log "
        "exp sqrt all any sorted zip enumerate str int float round valid_json parse_json "
        "parses edit_distance bernoulli categorical uniform uniform_int geometric poisson "
        "normal beta"
    )
    assert distributions.bernoulli is TABLE["bernoulli"].call  # importing it registers them
    assert set(names.split()) <= set(TABLE)
    assert all(s.doc for s in TABLE.values())


@given(short)
def test_words_have_no_spaces_and_stand_in_the_text(s):
    for w in text.words(s):
        assert not re.search(r"\s", w)
        assert w in s
        assert regex.search(r"[^\W_]", w)  # Python may have an older Unicode


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
    with pytest.raises(BuiltinError, match="more than 1 s of CPU time"):
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
    # A terminal is read as far as it goes: "liste" is on the way to "listen", and there is no way
    # back.
    assert not structured.parses("listed", 'start: ("list" | "listen") "ed"\n', folder=Path())
    assert structured.parses("listened", 'start: ("list" | "listen") "ed"\n', folder=Path())
    # Lark's lexer pairs "a" and "aa" as it likes; a terminal takes all it can.
    assert not structured.parses("aa", 'start: A "a"\nA: /a+/\n', folder=Path())


def test_properties_stand_in_the_schema_s_order_without_space_about_the_value():
    schema = (
        '{"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["b"]}'
    )
    for s in ['{"a": 1, "b": 2}', '{"b":2}', '{ "b" : 2,\n"c": 3}']:
        assert structured.valid_json(s, schema, folder=Path())
    for s in ['{"b": 2, "a": 1}', '{"c": 3, "b": 2}', '{"a": 1}', ' {"b": 2}', '{"b": 2}\n']:
        assert not structured.valid_json(s, schema, folder=Path())
    # A keyword that llguidance cannot follow changes nothing about the order.
    beside = schema[:-1] + ', "not": {"type": "string"}}'
    assert structured.valid_json('{"a": 1, "b": 2}', beside, folder=Path())
    assert not structured.valid_json('{"b": 2, "a": 1}', beside, folder=Path())
    assert structured.valid_json('{"b": 2, "a": 1}', beside, order=False, folder=Path())


def test_a_text_with_bytes_that_are_no_text_is_of_no_pattern_schema_or_grammar():
    for s, is_one in [("caf\u00e9", True), ("caf\ufffd", False)]:
        assert text.matches(s, "(?s).*") == is_one
        assert structured.valid_json(f'"{s}"', "", folder=Path()) == is_one
        assert (
            structured.valid_json(f'"{s}"', '{"not": {"type": "object"}}', folder=Path()) == is_one
        )
        assert structured.parses(s, "start: /.+/", folder=Path()) == is_one
    assert not structured.valid_json('"\ud800"', "", folder=Path())


@given(
    st.text("ab1\ufffd\n\u00e9", max_size=6),
    st.sampled_from([r"\w+", r"(?s:.*)", r"[^a]*\d?", r".+", r"(a|b1)*"]),
)
def test_matches_is_what_the_automaton_of_a_constraint_accepts(s, pattern):
    assert text.matches(s, pattern) == automaton(Matches(pattern), "").accepts(s)


SCHEMA = '{"type": "array", "items": {"enum": [1, "a", null]}, "maxItems": 2}'
GRAMMAR = 'start: A "b" | start "," start\nA: /a+b?/\n'


@given(
    st.text('[]1"a, nul\ufffd', max_size=8)
    | st.sampled_from(['[1, "a"]', "[null,1]", "[]", '["a"]', "[1,1,1]"])
)
def test_valid_json_is_what_a_constraint_accepts(s):
    assert structured.valid_json(s, SCHEMA, folder=Path()) == (
        "\ufffd" not in s and accepts_text(JsonText(SCHEMA), s)
    )


@given(st.text("ab,\ufffd", max_size=6))
def test_parses_is_no_more_than_a_constraint_accepts(s):
    if structured.parses(s, GRAMMAR, folder=Path()):
        assert accepts_text(GrammarText(GRAMMAR), s)


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


PIECES = st.lists(
    st.sampled_from(
        ["a", "B2", "'", "-", " ", "_", "\u2019", "é", ".", "foo", "-bar", "\u0301", "x's", "²"]
    ),
    max_size=14,
)


@settings(max_examples=300)
@given(st.lists(st.tuples(PIECES, st.integers(0, 12)), max_size=6), st.integers(0, 3))
def test_words_of_texts_that_begin_alike_are_those_of_each_alone(texts, long):
    """Each text goes on from some beginning of the one before."""
    begun, s = Begun(), ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fkdsl.values.library.text.UNSETTLED", long)
        for pieces, kept in texts:
            s = s[: len(s) - kept] + "".join(pieces)
            assert begun.words(s) == all_words(s)


def test_what_is_known_of_a_text_spares_reading_it_again():
    begun, read = Begun(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "fkdsl.values.library.text.all_words", lambda s: read.append(len(s)) or all_words(s)
        )
        for i in range(100):
            begun.words("well " * 20 + "a " * i)
    assert max(read[1:]) < 60
