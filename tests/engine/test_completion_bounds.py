"""The fewest tokens that complete a text of a schema or grammar, against every way in which a text
may go on, and against texts that the library accepts."""

import json
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints import completion_bounds as bounds_module
from fkdsl.engine.constraints.completion_bounds import (
    CompletionBounds,
    completion_bounds,
    outline_of,
)
from fkdsl.engine.constraints.grammars import GrammarMasks, accepts_text, mistake
from fkdsl.engine.constraints.languages import GrammarText, JsonText
from fkdsl.engine.constraints.matchers import BYTE_VOCABULARY
from fkdsl.models.vocabulary import Vocabulary
from tests.engine.drawn_texts import completions, walk

accepted = lru_cache(maxsize=200_000)(accepts_text)
UNTILS = ["", "", "\n", "ab", ("\n", "b"), '"', "é"]
GRAMMARS = [
    'start: "a" "b"*',
    'start: "a" start "b" | "é"?',
    'start: "a" start "a" | "b" start "b" | ","',
    'start: X Y\nX: /a+/\nY: "ab"',
    'start: "a\\n" "\\nb"',
    'start: WORD ("," WORD)+\nWORD: /[a-b☃]{2,}/\n%ignore " "',
    "start: /(?<!b)a+(?=,|$)/ rest?\nrest: /,b/",
    'start: start "a" | start "," start | "b"',
    'start: one | two\none: "a" two\ntwo: "b" one | "ab"',
    'start: "a" x | "b"\nx: "a" x',
    'start: x "b"\nx: x "a" | y\ny: x "," | "a"',
]
SCHEMAS = [
    None,
    {"type": "array", "items": {"enum": [1, 12]}, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": False},
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {}},
        "required": ["a"],
        "additionalProperties": False,
    },
    {"type": "object", "properties": {"a": {}}, "required": ["b"]},
    {"type": "string", "minLength": 2},
    {"type": "string", "pattern": "a+b$"},
    {"anyOf": [{"type": "number", "minimum": 10}, {"type": "null"}]},
    {"type": "integer", "minimum": 10, "maximum": 212},
    {"enum": ["é", 'a"', [1, 2], {"a": 1}, 1.0]},
    {"allOf": [{"required": ["a"]}, {"properties": {"b": {}, "a": {"type": "integer"}}}]},
    {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}},
]
TEXT_TOKENS = [b"a", b"b", b"ab", b"aa", b"ba", b"\n", b"a\n", b",", b",b", b" ", b"b,", b"aab"]
JSON_TOKENS = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"1", b"12", b"2", b" ", b'"a"', b'{"a":']
JSON_TOKENS += [b"[1", b"1]", b",1", b"1}", b"true", b"null", b"]]", b"\\", b"\n", b'":1}', b'"}']
PIECES = [
    "é".encode(),
    b"\xc3",
    b"\xa9",
    b"\xe2\x98",
    b"\x83",
    b"\xa9\n",
    b"a\xc3",
    b'\xa9"',
    b"\xff",
]


def schema_text(schema):
    return JsonText("" if schema is None else json.dumps(schema))


LANGUAGES = [(GrammarText(g), TEXT_TOKENS) for g in GRAMMARS] + [
    (schema_text(s), JSON_TOKENS) for s in SCHEMAS
]


@st.composite
def cases(draw, pieces=True):
    """A language and a vocabulary with some of its letters, pieces of characters, an end."""
    language, letters = draw(st.sampled_from(LANGUAGES))
    tokens = draw(st.lists(st.sampled_from(letters), min_size=3, max_size=4, unique=True))
    tokens += draw(st.lists(st.sampled_from(PIECES), max_size=2)) if pieces else []
    return language, Vocabulary((*tokens, b""), frozenset({len(tokens)}))


def refused_and_completed(masks, ids, until, left):
    """The tokens that a mask refuses though a text of the language follows."""
    texts = (
        (x, completions(masks.vocabulary, (*ids, x), until, left))
        for x in range(masks.vocabulary.size)
    )
    refused = ~masks.mask(ids, left)
    return [x for x, ends in texts if refused[x] and any(accepted(masks.language, s) for s in ends)]


@settings(max_examples=15)
@given(st.data(), cases(), st.sampled_from(UNTILS))
def test_no_token_is_refused_that_can_be_completed_in_the_tokens_left(data, case, until):
    language, vocabulary = case
    masks = GrammarMasks(language, until, vocabulary)
    for ids in walk(data, masks, until):
        for left in (1, 2):
            assert not refused_and_completed(masks, ids, until, left), (ids, left)


EXACT = [(GrammarText(GRAMMARS[i]), TEXT_TOKENS) for i in (0, 4, 5)] + [
    (schema_text(SCHEMAS[i]), JSON_TOKENS) for i in (0, 1, 2, 3, 4, 5, 11)
]


@pytest.mark.parametrize(("language", "letters"), EXACT, ids=str)
@settings(max_examples=3)
@given(st.data())
def test_masks_are_exact_where_the_outline_is(language, letters, data):
    tokens = data.draw(st.lists(st.sampled_from(letters), min_size=3, max_size=4, unique=True))
    vocabulary = Vocabulary((*tokens, b""), frozenset({len(tokens)}))
    masks = GrammarMasks(language, "", vocabulary)
    for ids in walk(data, masks, ""):
        if masks.matcher(ids) is None:
            return
        for left in (1, 2):
            mask = masks.mask(ids, left)
            for x in range(len(tokens)):
                texts = completions(vocabulary, (*ids, x), "", left)
                assert mask[x] == any(accepted(language, s) for s in texts), (ids, x, left)


@pytest.mark.parametrize("until", ["", "\n"])
def test_a_budget_that_is_off_by_one_is_caught(until, monkeypatch):
    """The enumeration above sees a bound that is one token too high, and one that is too low."""
    language = schema_text(SCHEMAS[1])
    vocabulary = Vocabulary((b"[", b"1", b",", b"]", b"\n"), frozenset())
    masks = GrammarMasks(language, until, vocabulary)
    assert not refused_and_completed(masks, (0, 1), until, 2)
    assert masks.mask((0, 1), 2).tolist() == [False, False, True, False, False]
    assert not masks.mask((0, 1), 1).any()
    honest = CompletionBounds.mask
    monkeypatch.setattr(CompletionBounds, "mask", lambda self, ids, n: honest(self, ids, n - 1))
    assert refused_and_completed(masks, (0, 1), until, 2) == [2]


CHARACTERS = Vocabulary(
    (*(chr(c).encode() for c in range(32, 127)), "é".encode(), b"\n"), frozenset()
)
MERGED = Vocabulary(
    CHARACTERS.tokens
    + tuple(t.encode() for t in ['"}', "}}", "]}", '", "', '{"', '":', "12", "\\n"]),
    frozenset(),
)
CLOSING = ['"', "}", "]", ",", '"}', "]}", "}}", '":']


def values(inner):
    """Schemas of lists and objects, of `inner` ones."""
    names = st.sampled_from(["a", "b", "é", 'q"'])
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(names, inner, max_size=3)},
        optional={
            "required": st.lists(st.sampled_from(["a", "b", "z"]), unique=True),
            "additionalProperties": st.just(True) | inner,
            "patternProperties": st.dictionaries(st.just("^p"), inner),
            "minProperties": st.integers(0, 3),
        },
    )
    lists = st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minItems": st.integers(0, 3),
            "maxItems": st.integers(3, 4),
        },
    )
    joined = st.sampled_from(["anyOf", "oneOf", "allOf"])
    several = st.lists(inner, min_size=1, max_size=2)
    return objects | lists | st.dictionaries(joined, several, min_size=1, max_size=1)


LEAVES = st.sampled_from(
    [
        *({"type": kind} for kind in ("string", "integer", "number", "null", "boolean")),
        {"type": "integer", "minimum": -3, "exclusiveMaximum": 200},
        {"type": "integer", "exclusiveMinimum": 99.5},
        {"type": "string", "minLength": 3},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": '^[^a-z]|["b]{2}'},
        {"enum": ['a"', "é\n", -1, 2.5, None, [1, "a"], {"a": []}]},
        {"const": {"b": [], "a": "x"}},
        {"type": ["string", "object"]},
        {},
        True,
        {"$ref": "#/$defs/r"},
    ]
)
NODE = {"type": "object", "properties": {"n": {"$ref": "#/$defs/r"}, "v": {}}, "required": ["v"]}


def an_accepted_text(data, masks):
    """The tokens of a text that the library accepts, () where a walk comes by none."""
    ids, vocabulary, ended = (), masks.vocabulary, ()
    random = data.draw(st.randoms(use_true_random=False))
    for k in range(30):
        allowed = np.flatnonzero(masks.mask(ids, None)).tolist()
        closing = [x for x in allowed if vocabulary.tokens[x].decode() in CLOSING]
        if not allowed:
            break
        ids = (*ids, random.choice(closing if closing and 10 * random.random() < k else allowed))
        matcher = masks.matcher(ids)
        if matcher is None:  # a stop has ended the text
            break
        ended = ids if matcher.is_accepting() else ended
    return ended


@settings(max_examples=10)
@given(
    st.data(),
    st.recursive(LEAVES, values, max_leaves=4),
    st.sampled_from([CHARACTERS, MERGED]),
    st.sampled_from(["", "\n"]),
    st.booleans(),
)
def test_no_prefix_of_an_accepted_text_is_refused_its_own_tokens(
    data, schema, vocabulary, until, order
):
    whole = {**schema, "$defs": {"r": NODE}} if isinstance(schema, dict) else schema
    language = JsonText(json.dumps(whole), order=order)
    bounds = completion_bounds((language,), until, vocabulary)
    if mistake(language) or bounds is None:
        return
    ids = an_accepted_text(data, GrammarMasks(language, until, vocabulary))
    if until and until in vocabulary.text(ids):
        return
    for k, token in enumerate(ids):
        mask = bounds.mask(ids[:k], len(ids) - k - 1)
        assert mask is None or mask[token], (vocabulary.text(ids), k)


def test_what_is_open_is_closed_in_time_however_deep_it_is():
    masks = GrammarMasks(JsonText(""), "", BYTE_VOCABULARY)
    opened = tuple(b'[[{"a": [[[[[[["')
    mask = masks.mask(opened, 11)
    assert mask[[ord('"'), ord("x")]].all()
    assert np.flatnonzero(masks.mask(opened, 10)).tolist() == [ord('"')]
    assert not masks.mask(opened, 9).any()


def test_the_tokens_that_close_several_things_at_once_count_as_one():
    vocabulary = Vocabulary((b"[", b"]", b"]]", b"1", b"]]]"), frozenset())
    masks = GrammarMasks(JsonText(""), "", vocabulary)
    assert masks.mask((0, 0, 0), 1).tolist() == [False, True, True, True, True]
    assert masks.mask((0, 0, 0), 0).tolist() == [False, False, False, False, True]


def test_a_character_is_begun_behind_a_whole_text_only_where_the_budget_ends_in_it():
    vocabulary = Vocabulary((b"1", b"\xe2", b"\x98", b"\x83", b""), frozenset({4}))
    masks = GrammarMasks(JsonText('{"const": 1}'), "", vocabulary)
    assert [masks.mask((0,), n)[1] for n in (0, 1, 2, 3)] == [True, True, False, False]
    for ids in ((0,), (0, 1)):
        for left in range(4):
            assert not refused_and_completed(masks, ids, "", left)


HOSTILE = {
    "left recursion through others": 'start: x "b"\nx: y "a" | "a"\ny: x | "c"',
    "nothing derived": 'start: "a" | "b" x\nx: "c" x',
    "ambiguous": "start: x+\nx: /a+b?a*/ | /[ab]{1,30}/ x",
    "huge": "start: " + " | ".join(f"r{i}" for i in range(300)) + "\n"
    + "".join(f'r{i}: "{"ab" * 40}{i}" r{i + 1}?\n' for i in range(300)) + 'r300: "c"',
    "long terminals": "start: /(a|b){900}/ /(ab?){2,500}/",
    "many optional parts": "start: " + " ".join(f'"{c}"? ' for c in "abcdefgh"),
}  # fmt: skip


@pytest.mark.parametrize("grammar", HOSTILE.values(), ids=HOSTILE)
def test_hostile_grammars_are_bounded_and_refuse_nothing_that_may_live(grammar):
    language = GrammarText(grammar)
    vocabulary = Vocabulary((b"a", b"b", b"ab", b"c", b"0", b""), frozenset({5}))
    masks = GrammarMasks(language, "", vocabulary)
    assert not refused_and_completed(masks, (0,), "", 2)


def test_a_schema_too_large_to_be_outlined_is_looked_ahead_in_as_before():
    wide = {"enum": [f"value {i}" for i in range(6_000)]}
    language = JsonText(json.dumps(wide))
    assert outline_of(language) is None
    assert bounds_module.completion_bounds((language,), "", CHARACTERS) is None
