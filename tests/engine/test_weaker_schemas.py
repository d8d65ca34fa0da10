"""Schemas that llguidance cannot follow whole: what is followed of them holds every value that fits
them."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.engine.constraints.followed import LLGUIDANCE_OPTIONS, followed
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.languages import JsonText
from fkdsl.engine.constraints.matchers import BYTE_VOCABULARY, json_grammar, new_matcher
from fkdsl.engine.constraints.relaxed_schemas import relaxed
from fkdsl.engine.constraints.weaker_schemas import Weaker

KEYS = ("a", "b", "c")
SCALARS = st.sampled_from([0, 1, 2, 3, "a", "ab", "b", "a b", "", True, False, None])
VALUES = st.recursive(
    SCALARS,
    lambda v: st.one_of(
        st.lists(v, max_size=3), st.dictionaries(st.sampled_from(KEYS), v, max_size=3)
    ),
)
PATTERNS = [
    "^a",
    "b$",
    "^(?!b)",
    r"\bb\b",
    r"^(.)\1",
    "^a(?=b)",
    "^(?>a|ab)$",
    "a|^b",
    "^\\cA",
    "[^]",
]


def schema_dicts(inner, draft7):
    """Objects of several keywords each; an object's properties are all named, so that their order
    is known."""
    demands = {
        "type": st.sampled_from(
            ["string", "integer", "array", "object", ["null", "boolean"], ["array", "object"]]
        ),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": SCALARS,
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "minimum": st.integers(0, 2),
        "pattern": st.sampled_from(PATTERNS),
        "format": st.sampled_from(["password", "byte", "uri-template"]),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "uniqueItems": st.booleans(),
        "contains": inner,
        "minContains": st.integers(0, 2),
        "maxContains": st.integers(0, 2),
        "properties": st.tuples(inner, inner, inner).map(lambda p: dict(zip(KEYS, p, strict=True))),
        "additionalProperties": inner,
        "patternProperties": st.dictionaries(
            st.sampled_from(PATTERNS[:4]), inner, min_size=1, max_size=2
        ),
        "propertyNames": inner,
        "minProperties": st.integers(0, 2),
        "maxProperties": st.integers(0, 2),
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "anyOf": st.lists(inner, min_size=1, max_size=2),
        "oneOf": st.lists(inner, min_size=1, max_size=2),
    }
    if draft7:
        demands |= {
            "items": st.one_of(inner, st.lists(inner, min_size=1, max_size=2)),
            "additionalItems": inner,
        }
        demands |= {"dependencies": st.dictionaries(st.sampled_from(KEYS), inner, max_size=1)}
    else:
        demands |= {
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "dependentRequired": st.just({"a": ["b"]}),
            "dependentSchemas": st.dictionaries(st.sampled_from(KEYS), inner, max_size=1),
            "unevaluatedProperties": inner,
            "unevaluatedItems": inner,
        }
    named = st.sets(st.sampled_from(sorted(demands)), min_size=1, max_size=4)
    return named.flatmap(lambda keys: st.fixed_dictionaries({k: demands[k] for k in sorted(keys)}))


@st.composite
def schemas(draw):
    draft7 = draw(st.booleans())
    inner = st.recursive(st.booleans(), lambda s: schema_dicts(s, draft7), max_leaves=4)
    schema = dict(draw(schema_dicts(inner, draft7)))
    if draft7:
        schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    return schema


def ordered(value):
    return json.dumps(value, sort_keys=True)


def fits(schema, value):
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return kind(
        json.loads(json.dumps(schema).replace("[^]", "[\\\\s\\\\S]").replace("\\\\cA", "\\\\x01"))
    ).is_valid(value)


@settings(max_examples=100, deadline=None)
@given(schemas(), st.lists(VALUES, min_size=1, max_size=12), st.booleans())
def test_what_fits_a_schema_fits_what_is_followed_of_it(schema, values, order):
    language = JsonText(json.dumps(schema), order=order)
    if followed(language).mistake:
        assert followed(language).mistake.startswith("Unsatisfiable")
        assert not any(fits(schema, v) for v in values)
        return
    for value in values:
        if fits(schema, value):
            assert accepts_text(language, ordered(value)), (value, followed(language))


DRAFT7 = "http://json-schema.org/draft-07/schema#"
ANY = {"type": "array", "items": {"enum": [1, 2]}}
BOUND = "a lower bound on properties"
KINDS = [
    # schema, a text that fits it, a text that what is followed refuses, what is left to the
    # condition
    (
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        "[1, 2]",
        '["a"]',
        "uniqueItems",
    ),
    ({**ANY, "contains": {"const": 2}}, "[1, 2]", "[]", "contains"),
    (
        {**ANY, "contains": {"const": 2}, "minContains": 2, "maxContains": 2},
        "[2, 2, 1]",
        "[2]",
        "contains",
    ),
    (
        {**ANY, "contains": {"const": 2}, "minContains": 0, "maxContains": 1},
        "[]",
        "[3]",
        "contains",
    ),
    ({"type": "string", "maxLength": 3, "not": {"const": "abc"}}, '"abd"', '"abcd"', "not"),
    ({"enum": ["a", "b", 1], "if": {"type": "string"}, "then": {"const": "b"}}, '"b"', '"c"', "if"),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, '{"c": 1}', "[]", "dependentRequired"),
    ({"type": "object", "propertyNames": {"pattern": "^(?!x)"}}, '{"a": 1}', "[]", "propertyNames"),
    ({"oneOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, "3", "4", "oneOf"),
    ({"type": "string", "pattern": "^(?!ab)[a-c]{2}$"}, '"ba"', '"a"', "pattern"),
    ({"type": "string", "pattern": r"\bsea\b"}, '"the sea"', '"the ocean"', "pattern"),
    ({"type": "string", "pattern": r"^(.)-\1$"}, '"a-a"', '"a-"', "pattern"),
    (
        {"properties": {"a": {"const": 1}}, "unevaluatedProperties": False},
        '{"a": 1}',
        '{"a": 2}',
        "unevaluated",
    ),
    (
        {"patternProperties": {"^(?!x)": {"const": 1}}, "additionalProperties": False},
        '{"a": 1}',
        "{",
        "pattern",
    ),
    (
        {
            "$ref": "#/$defs/l",
            "$defs": {"l": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}},
        },
        "[1]",
        '["a"]',
        "uniqueItems",
    ),
    (
        {
            "$schema": DRAFT7,
            "items": [{"const": 1}],
            "additionalItems": {"const": 2},
            "uniqueItems": True,
        },
        "[1, 2]",
        "[2]",
        "uniqueItems",
    ),
    ({"$schema": DRAFT7, "contains": {"const": 2}, "minContains": 2}, "[2]", "[]", "contains"),
    (
        {
            "$schema": DRAFT7,
            "$ref": "#/definitions/s",
            "maxLength": 1,
            "definitions": {"s": {"type": "string", "not": {}}},
        },
        None,
        "1",
        "not",
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "minimum": 1,
            "exclusiveMinimum": True,
            "not": {},
        },
        None,
        "1",
        "not",
    ),
    (
        {"type": "array", "items": {"enum": [1, 2, 3, 4, 5]}, "uniqueItems": True},
        "[1, 2, 5, 4, 3]",
        "[1, 2, 5, 4, 3, 1]",
        "uniqueItems",
    ),
    (
        {"type": "array", "items": {"enum": [1, 2]}, "prefixItems": [{}], "uniqueItems": True},
        '["x", 1, 2]',
        '["x", 1, 2, 1]',
        "uniqueItems",
    ),
    ({"items": {"enum": [1, 2]}, "uniqueItems": True}, '"x"', "[1, 2, 1]", "uniqueItems"),
    ({"properties": {"a": {"type": "integer"}}, "required": ["b"], "minProperties": 2},
     '{"a": 1, "b": 1}', '{"a": 1, "c": 1}', BOUND),
    ({"properties": {"a": {"type": "integer"}, "b": {}}, "additionalProperties": False,
      "minProperties": 2}, '{"a": 1, "b": 1}', '{"c": 1}', BOUND),
    ({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"minProperties": 2}], "not": {}},
     None, '{"a": "x", "b": 1}', BOUND),
]  # fmt: skip


def test_a_lower_bound_that_is_counted_right_is_followed():
    everything = {"type": "object", "minProperties": 2, "not": {"required": ["x"]}}
    found = followed(JsonText(json.dumps(everything)))
    assert found.left_out == ("`not` at $",)
    assert not accepts_text(JsonText(json.dumps(everything)), '{"a": 1}')


@pytest.mark.parametrize(("schema", "text", "refused", "left"), KINDS)
def test_one_keyword_leaves_the_rest_of_a_schema_followed(schema, text, refused, left):
    language = JsonText(json.dumps(schema))
    found = followed(language)
    assert not found.mistake
    assert any(left in part for part in found.left_out)
    assert text is None or (fits(schema, json.loads(text)) and accepts_text(language, text))
    assert not accepts_text(language, refused)


DISTINCT = [
    # a schema, the lists that fit it
    ({**ANY, "uniqueItems": True}, ["[]", "[1]", "[2]", "[1, 2]", "[2, 1]"]),
    ({**ANY, "uniqueItems": True, "minItems": 2}, ["[1, 2]", "[2, 1]"]),
    ({**ANY, "uniqueItems": True, "maxItems": 1}, ["[]", "[1]", "[2]"]),
    ({"type": "array", "items": {"const": "a"}, "uniqueItems": True}, ["[]", '["a"]']),
    ({"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2},
     ["[true, false]", "[false, true]"]),
    ({"type": "array", "items": {"enum": [1, True, None, 1]}, "uniqueItems": True, "minItems": 3},
     ["[1, true, null]", "[1, null, true]", "[true, 1, null]", "[true, null, 1]", "[null, 1, true]",
      "[null, true, 1]"]),
    ({"type": "object", "properties": {"a": {**ANY, "uniqueItems": True, "minItems": 2}},
      "required": ["a"], "additionalProperties": False}, ['{"a": [1, 2]}', '{"a": [2, 1]}']),
]  # fmt: skip
OTHERS = ["[1, 1]", "[2, 2, 1]", "[3]", "[true]", "[null]", '["a", "a"]', '{"a": [1, 1]}', "1"]


@pytest.mark.parametrize(("schema", "texts"), DISTINCT)
def test_lists_of_different_items_from_a_few_values_are_followed_to_the_last(schema, texts):
    language = JsonText(json.dumps(schema))
    assert followed(language).left_out == ()
    every = {text for _, more in DISTINCT for text in more} | set(OTHERS)
    assert {text for text in every if accepts_text(language, text)} == set(texts)
    assert {text for text in every if fits(schema, json.loads(text))} == set(texts)


def test_many_such_lists_are_written_out_up_to_a_bound_and_then_bounded():
    few = {"type": "array", "items": {"enum": ["r", "g", "b", "p"]}, "uniqueItems": True}
    schema = {"properties": {f"p{i}": few for i in range(30)}, "additionalProperties": False}
    found = followed(JsonText(json.dumps(schema)))
    assert len(found.left_out) == 20
    assert not found.mistake


def test_a_list_that_needs_more_different_items_than_there_are_cannot_be():
    few = {**ANY, "uniqueItems": True, "minItems": 3}
    assert followed(JsonText(json.dumps(few))).mistake.startswith("Unsatisfiable")


def test_a_format_that_nobody_knows_is_a_hint_and_nothing_is_left():
    language = JsonText(
        '{"type": "object", "properties": {"code": {"type": "string", "format": "password"}}}'
    )
    assert followed(language).left_out == ()
    assert accepts_text(language, '{"code": "x"}')


def test_formats_are_asserted_unless_they_are_switched_off():
    schema = '{"type": "string", "format": "date"}'
    assert not accepts_text(JsonText(schema), '"x"')
    assert accepts_text(JsonText(schema, format=False), '"x"')
    assert accepts_text(JsonText(schema), '"2024-01-31"')


def test_properties_come_in_any_order_where_that_is_asked():
    schema = json.dumps(
        {
            "properties": {"a": {"type": "integer"}, "b.c": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        }
    )
    swapped = '{"b.c": "x", "a": 1}'
    assert not accepts_text(JsonText(schema), swapped)
    assert accepts_text(JsonText(schema, order=False), swapped)
    for refused in ('{"b.c": 1, "a": 1}', '{"bxc": "x", "a": 1}', "{}"):
        assert not accepts_text(JsonText(schema, order=False), refused)


def holds(schema, text, kind=Weaker):
    """Whether a weaker schema holds a text, asked of the library alone."""
    matcher = new_matcher(
        json_grammar({**kind(schema).value, **LLGUIDANCE_OPTIONS}), BYTE_VOCABULARY
    )
    return bool(matcher.consume_tokens(list(text.encode())) and matcher.is_accepting())


class _ForgetsWhatLeans(Weaker):
    """Leaves a pattern of keys out, and its keys to `additionalProperties`."""

    def properties(self, s, resolver, where, out):
        super().properties(s, resolver, where, out)
        if "additionalProperties" in s:
            out["additionalProperties"] = s["additionalProperties"]


class _ForgetsThePrefix(Weaker):
    def items(self, s, resolver, where, out):
        super().items(s, resolver, where, out)
        out.pop("prefixItems", None)


class _CountsInDraft7(Weaker):
    def unfollowed_keywords(self, s, where, out):
        super().unfollowed_keywords(s, where, out)
        if "minContains" in s:
            out["minItems"] = s["minContains"]


class _LooksBesideAReference(Weaker):
    def schema(self, s, resolver, where):
        found = super().schema(s, resolver, where)
        return {**found, "maxLength": s["maxLength"]} if "maxLength" in s else found


@pytest.mark.parametrize(
    ("planted", "schema", "text"),
    [
        (_ForgetsWhatLeans, KINDS[13][0], '{"a": 1}'),
        (_ForgetsThePrefix, KINDS[15][0], "[1, 2]"),
        (_CountsInDraft7, KINDS[16][0], "[2]"),
        (
            _LooksBesideAReference,
            {**KINDS[17][0], "definitions": {"s": {"type": "string"}}},
            '"abc"',
        ),
    ],
)
def test_a_planted_wrong_direction_is_caught(planted, schema, text):
    assert fits(schema, json.loads(text))
    assert holds(schema, text)
    assert not holds(schema, text, planted)


def test_what_fails_for_reasons_of_the_librarys_own_is_found_by_halves():
    parts = {f"p{i}": {"type": "null"} for i in range(50)}
    parts["p17"] = {
        "type": "object",
        "properties": {"x": {"bad": 1, "type": "string"}, "y": {"type": "null"}},
    }
    found, left = relaxed({"properties": parts, "required": ["p1"]}, lambda s: "bad" not in str(s))
    parts["p17"]["properties"]["x"].pop("bad")
    assert found == {"properties": parts, "required": ["p1"]}
    assert left == ["$.properties.p17.properties.x.bad"]
