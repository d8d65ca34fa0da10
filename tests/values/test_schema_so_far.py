"""What a check of the beginning of a JSON text refuses, no text that begins so comes to fit."""

import json
from random import Random

import pytest

from fkdsl.values.library import schema_so_far
from fkdsl.values.library.schema_so_far import may_fit
from fkdsl.values.library.schemas import validator_of
from fkdsl.values.library.validation import validates

DRAFTS = ["2020-12", "draft-07", "draft-04", "draft-03"]
NAMES = "abc"


def random_schema(rng, draft, depth=2):
    """A schema of two keywords or so, with subschemas to some depth."""

    def inner():
        return random_schema(rng, draft, depth - 1)

    def some():
        return [inner() for _ in range(rng.randint(1, 2))]

    simple = [
        lambda: ("type", rng.choice(("object", "array", "integer", "string"))),
        lambda: ("enum", rng.choices((0, 1, True, "a", "b", [1]), k=3)),
        lambda: ("uniqueItems", True),
        lambda: ("maxItems", rng.randint(0, 2)),
        lambda: ("pattern", "^[ab]$"),
    ]
    nested = [
        lambda: ("properties", {n: inner() for n in rng.sample(NAMES, 2)}),
        lambda: ("patternProperties", {"^[ab]": inner()}),
        lambda: ("additionalProperties", inner()),
        lambda: ("items", inner() if draft == "2020-12" or rng.random() < 0.5 else some()),
        lambda: ("additionalItems", inner()),
        lambda: ("prefixItems", some()),
        lambda: ("allOf", some()),
        lambda: ("anyOf", some()),
        lambda: ("oneOf", some()),
        lambda: ("not", inner()),
        lambda: ("if", {"properties": {"a": inner()}, "required": ["a"]}),
        lambda: ("then", inner()),
        lambda: ("else", inner()),
        lambda: ("propertyNames", {"pattern": "^[ab]"}),
        lambda: ("contains", inner()),
        lambda: ("$ref", "#/definitions/d"),
    ]
    kinds = simple + nested * 2 if depth else simple
    return dict(rng.choice(kinds)() for _ in range(rng.randint(1, 3)))


def random_value(rng, depth=2):
    if depth and rng.random() < 0.7:
        if rng.random() < 0.5:
            return [random_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
        names = rng.sample(NAMES, rng.randint(0, 3))
        return {n: random_value(rng, depth - 1) for n in names}
    return rng.choice((0, 1, 1.0, True, None, "a", "b", "ab"))


def early(text, schema):
    """After how many characters a text is refused; None if it is not."""
    return next((k for k in range(len(text)) if not may_fit(text[:k], schema)), None)


@pytest.mark.parametrize("draft", DRAFTS)
def test_what_is_refused_of_a_beginning_fits_in_no_case(draft):
    rng, refused = Random(draft), 0
    base = "http://json-schema.org" if "draft" in draft else "https://json-schema.org/draft"
    for _ in range(200):
        schema = random_schema(rng, draft)
        schema["definitions"] = {"d": random_schema(rng, draft, 1)}
        schema["$schema"] = f"{base}/{draft}/schema#".replace("2020-12/schema#", "2020-12/schema")
        text = json.dumps(schema)
        validator = validator_of(text)
        if validator is None:
            continue
        for _ in range(4):
            value = random_value(rng)
            written = json.dumps(value)
            at = early(written, text)
            try:
                fits = validates(validator, value)
            except ValueError:
                continue  # a reference that leads back to itself
            if at is not None:
                refused += 1
                assert not fits, (text, written, at)
            elif fits:
                assert may_fit(written, text)
    assert refused > 12


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ('{"items": {"enum": ["a", "b", "c"]}, "uniqueItems": true}', '["a", "b", "a",'),
        ('{"properties": {"t": {"uniqueItems": true}}}', '{"t": [{"x": 1}, {"x": 1.0},'),
        ('{"items": {"not": {"required": ["x"]}}}', '[{"x": 1},'),
        ('{"additionalProperties": {"not": {"type": "string"}}}', '{"z": "a",'),
        ('{"propertyNames": {"not": {"const": "x"}}}', '{"a": 1, "x":'),
        ('{"anyOf": [{"properties": {"a": {"not": {"const": 1}}}}]}', '{"a": 1,'),
        (
            '{"if": {"properties": {"k": {"const": 1}}, "required": ["k"]}, '
            '"then": {"properties": {"v": {"not": {"const": 2}}}}}',
            '{"k": 1, "v": 2,',
        ),
        ('{"properties": {"r": {"dependentRequired": {"a": ["b"]}}}}', '{"r": {"a": 1},'),
    ],
)
def test_a_keyword_that_no_mask_follows_is_asked_as_soon_as_it_can_be(schema, text):
    assert not may_fit(text, schema)
    assert may_fit(text[:-1], schema) or text[-2] in ']}"'
    assert may_fit(text[: len(text) // 2], schema)


def test_a_schema_that_takes_long_is_asked_once(monkeypatch):
    part = {"$ref": "#/$defs/d0"}
    levels = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    schema = json.dumps({**part, "$defs": {**levels, "d40": {"uniqueItems": True}}})
    monkeypatch.setattr(schema_so_far, "SECONDS", 0.05)
    assert may_fit("[1, 2,", schema)
    assert schema in schema_so_far._slow
    assert may_fit("[1, 1,", schema)


def test_of_a_schema_that_proves_to_be_wrong_nothing_is_known():
    for wrong in ({"$dynamicRef": "#x"}, {"not": {"$dynamicRef": "#x"}}):
        assert may_fit('{"a": 1, "b"', json.dumps({"properties": {"a": wrong}}))
