"""Masks of schemas and grammars against every way in which a text may go on; accepted texts,
against json and lark."""

import json

import jsonschema
import lark
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.grammars import GrammarMasks, accepts_text, mistake
from fkdsl.engine.constraints.languages import GrammarText, JsonText
from fkdsl.models.vocabulary import Vocabulary
from tests.engine.drawn_texts import completions, walk

UNTILS = ["", "", "\n", "\n\n", "é", "ab", ("\n", "b"), ("ab", "é", "\n\n")]
NESTED = [("b", "aba"), ("1", "x1,"), ("a", "[a]")]
PIECES = [
    "é".encode(),
    b"\xc3",
    b"\xa9",
    b"\xe2\x98",
    b"\x83",
    b"\xa9\n",
    b"\xa9\n\n",
    b"a\xc3",
    b'"\xc3',
    b"\xff",
    b"a",
]
JSON_TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"1",
    b"2",
    b"-",
    b".5",
    b" ",
    b'"a"',
    b'"a":',
    b"[1",
    b"1]",
    b"1,",
]
JSON_TOKENS += [
    b"1}",
    b"true",
    b"\\",
    b"n",
    b"\n",
    b"\n\n",
    b"1\n",
    b"}\n\n",
    b"]\n",
    b'"\n',
    b'\xa9"',
]
TEXT_TOKENS = [
    b"a",
    b"b",
    b"ab",
    b"aa",
    b"\n",
    b"a\n",
    b"\nb",
    b"b\n\n",
    b",",
    b" ",
    b"a,",
    b"\n\n",
]
SCHEMAS = [
    None,
    {"type": "integer"},
    {"enum": ["é", "a", 1]},
    {"type": "array", "items": {"enum": [1, 2]}},
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    {"type": "string", "maxLength": 2},
    {"type": "string", "pattern": "^a+b?$"},
    {"anyOf": [{"type": "number", "minimum": 1.5}, {"type": "null"}]},
]
GRAMMARS = [
    'start: "a" "b"*',
    'start: A+\nA: "a" | "é"',
    'start: (X "\\n")*\nX: /[ab]+/',
    "start: /[^b]+/",
    'start: "a" start "b" | "é"?',
    'start: X Y\nX: /a+/\nY: "ab"',
    'start: "a\\n" "\\nb"',
    'start: WORD ("," WORD)*\nWORD: /[a-b☃]+/\n%ignore " "',
]


def schema_text(schema):
    return JsonText("" if schema is None else json.dumps(schema))


LANGUAGES = [(schema_text(s), JSON_TOKENS) for s in SCHEMAS] + [
    (GrammarText(g), TEXT_TOKENS) for g in GRAMMARS
]


@st.composite
def cases(draw):
    """A language and a vocabulary with some of its letters, pieces of characters, perhaps a token
    twice, an end."""
    language, letters = draw(st.sampled_from(LANGUAGES))
    tokens = draw(st.lists(st.sampled_from(letters), min_size=2, max_size=4, unique=True))
    tokens += draw(st.lists(st.sampled_from(PIECES), max_size=2))
    tokens += draw(st.sampled_from([[], [], [b""], tokens[:1]]))
    return language, Vocabulary((*tokens, b""), frozenset({len(tokens)}))


@settings(max_examples=40)
@given(st.data(), cases(), st.sampled_from(UNTILS + NESTED))
def test_no_token_is_refused_that_can_be_completed(data, case, until):
    language, vocabulary = case
    masks = GrammarMasks(language, until, vocabulary)
    for ids in walk(data, masks, until):
        for left, more, budget in [(None, 1, False), (None, 2, True), (0, 0, True)]:
            mask = masks.mask(ids, left)
            for x in np.flatnonzero(~mask).tolist():
                texts = completions(vocabulary, (*ids, x), until, more, budget)
                assert not any(accepts_text(language, s) for s in texts), (ids, x, left)


@settings(max_examples=60)
@given(st.data(), cases(), st.sampled_from(["", "\n"]))
def test_along_allowed_tokens_ends_and_last_tokens_are_exact(data, case, until):
    language, vocabulary = case
    masks = GrammarMasks(language, until, vocabulary)
    for ids in walk(data, masks, until):
        if masks.matcher(ids) is None or vocabulary.raw(ids).decode(
            "utf-8", "ignore"
        ).encode() != vocabulary.raw(ids):
            return
        mask = masks.mask(ids, 0)
        for x in range(vocabulary.size):
            texts = completions(vocabulary, (*ids, x), until, 0)
            if x in vocabulary.ends or vocabulary.tokens[x].isascii():
                assert mask[x] == any(accepts_text(language, s) for s in texts), (ids, x)


@given(st.data(), cases(), st.sampled_from(UNTILS))
def test_masks_prepared_together_are_those_made_one_by_one(data, case, until):
    language, vocabulary = case
    alone = GrammarMasks(language, until, vocabulary)
    texts = [*walk(data, alone, until), *walk(data, alone, until)]
    together = GrammarMasks(language, until, vocabulary)
    together.prepare(texts)
    together.prepare([*texts, ()])
    for ids in texts:
        for left in (None, 0, 3):
            expected = GrammarMasks(language, until, vocabulary).mask(ids, left)
            assert (together.mask(ids, left) == expected).all()
            assert (alone.mask(ids, left) == expected).all()


ASCII = Vocabulary(
    tuple(
        c.encode() for c in [*'abxy01.-+,:"{}[] \n\\eé', "true", "null", '"a"', '"a": ', "\\u00e9"]
    ),
    frozenset(),
)


def accepted(data, language):
    """Texts that a walk along the masks comes by and that are accepted."""
    masks, ids = GrammarMasks(language, "", ASCII), ()
    for _ in range(12):
        allowed = np.flatnonzero(masks.mask(ids, None)).tolist()
        if not allowed:
            return
        ids = (*ids, data.draw(st.sampled_from(allowed)))
        if accepts_text(language, ASCII.text(ids)):
            yield ASCII.text(ids)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@settings(max_examples=15)
@given(data=st.data())
def test_accepted_json_fits_its_schema(schema, data):
    for text in accepted(data, schema_text(schema)):
        assert jsonschema.Draft202012Validator(schema or {}).is_valid(json.loads(text)), text


@pytest.mark.parametrize("grammar", GRAMMARS)
@settings(max_examples=15)
@given(data=st.data())
def test_lark_derives_what_is_accepted(grammar, data):
    parser = lark.Lark(grammar, parser="earley", lexer="dynamic")
    for text in accepted(data, GrammarText(grammar)):
        parser.parse(text)


def test_no_text_of_broken_bytes_is_accepted():
    assert accepts_text(JsonText(""), '"é"')
    assert not accepts_text(JsonText(""), '"\ufffd"')
    assert not accepts_text(JsonText(""), '"\ud800"')


def test_part_of_a_token_may_end_a_text_though_no_token_says_it():
    vocabulary = Vocabulary((b'"', b"\xc3", b'\xa9"\n', b"1\n"), frozenset())
    masks = GrammarMasks(JsonText(""), "\n", vocabulary)
    assert masks.mask((), None).tolist() == [True, False, False, True]
    assert masks.mask((0, 1), None).tolist() == [False, False, True, False]
    assert masks.mask((0, 1), 0).tolist() == [False, False, True, False]


def test_an_unfinished_character_may_end_a_text_that_is_complete():
    vocabulary = Vocabulary((b"a", b"\xc3", b"\xa9", b'"\xe2', b""), frozenset({4}))
    masks = GrammarMasks(GrammarText('start: "a" | "aé"'), "", vocabulary)
    assert masks.mask((0,), 0).tolist() == [False, True, False, False, True]
    assert masks.mask((0, 1), 0).tolist() == [False, False, True, False, False]
    assert masks.mask((), 0).tolist() == [True, False, False, False, False]


def test_a_character_begun_behind_a_complete_text_stays_unfinished():
    tokens = (b"1", b"", b"\xe2", b"\x82", b"\xac", b"\n", b"")
    masks = GrammarMasks(JsonText('{"const": 1}'), "\n", Vocabulary(tokens, frozenset({6})))
    assert masks.mask((0,), 5).tolist() == [False, True, True, False, False, True, True]
    assert masks.mask((0, 2), 4).tolist() == [False, True, False, True, True, False, False]
    assert masks.mask((0, 2, 1, 3), 2).tolist() == [False, True] + [False] * 5
    assert masks.mask((2,), 4).all()  # nothing is known behind what was refused


def test_until_of_broken_bytes_masks_nothing():
    vocabulary = Vocabulary((b"1", b"\xff"), frozenset())
    assert GrammarMasks(JsonText(""), "\ufffd", vocabulary).mask((0,), 0).all()


def test_tokens_without_text_leave_the_matcher_that_there_was():
    vocabulary = Vocabulary((b"1", b"", b""), frozenset({2}))
    masks = GrammarMasks(JsonText(""), "", vocabulary)
    masks.prepare([(), (1,), (1, 1), (0,), (0, 1)])
    assert masks.mask((1, 1), None).tolist() == [True, True, False]
    assert masks.mask((0, 1), None).tolist() == [True, True, True]


def test_matchers_of_long_texts_need_no_deep_stack():
    vocabulary = Vocabulary((b"[", b"1,", b"1]"), frozenset())
    assert GrammarMasks(JsonText(""), "", vocabulary).mask((0, *[1] * 3_000), 0).tolist() == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    "schema", ["{", '{"$ref": "#/nowhere"}', '{"type": "string", "minLength": 2, "maxLength": 1}']
)
def test_what_cannot_be_followed_has_a_reason_and_accepts_nothing(schema):
    assert mistake(JsonText(schema))
    assert mistake(GrammarText("start: nowhere"))


def test_tokens_too_long_for_the_library_are_followed_as_others_are():
    number, text = b"[" + b"1" * 1_500 + b"]", b"x" * 1_500
    vocabulary = Vocabulary((number, b"[1]", text, b"[", number[1:]), frozenset())
    masks = GrammarMasks(JsonText(""), "", vocabulary)
    assert masks.mask((), None).tolist() == [True, True, False, True, False]
    assert masks.mask((3,), None).tolist() == [True, True, False, True, True]
    assert masks.mask((3,), 0).tolist() == [False, False, False, False, True]
    assert masks.matcher((3, 4)).is_accepting()
