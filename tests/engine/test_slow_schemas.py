"""Schemas that llguidance would take long to read, in a call that no deadline ends: what is
followed of them holds every value that fits them."""

import json
import time

import pytest

from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.languages import JsonText
from fkdsl.engine.constraints.slow_schemas import MOST_JOINED, MOST_PATTERNS, joins


def closed(**keywords):
    return {"type": "object", "additionalProperties": False, **keywords}


NAMES = {f"k{i}": {"type": "integer"} for i in range(3_000)}
KEY_PATTERNS = {f"^k{i}[a-z]*$": {"type": "integer"} for i in range(400)}


@pytest.mark.parametrize(
    ("schema", "order", "left"),
    [
        (closed(properties=NAMES, required=list(NAMES)), True, "properties"),
        (closed(properties=dict(list(NAMES.items())[:400])), False, "properties"),
        (closed(patternProperties=KEY_PATTERNS), True, "patternProperties"),
        ({"allOf": [{"patternProperties": {k: v}} for k, v in KEY_PATTERNS.items()]}, True,
         "patternProperties"),
        (closed(properties={"k1": {"type": ["string", "integer"]}},
                allOf=[{"properties": {"k1": {"pattern": f"a{i}"}}} for i in range(40)]), True,
         "pattern"),
    ],
)  # fmt: skip
def test_what_takes_the_library_long_is_left_to_the_condition(schema, order, left):
    """One of these took 20 seconds, in a call that no deadline ends; with 3,000 patterns an hour
    was too short."""
    began = time.process_time()
    language = JsonText(json.dumps(schema), True, order)
    found = followed(language)
    assert found.mistake == ""
    assert left in found.left_out[0]
    assert accepts_text(language, '{"k1": 3}')
    assert not accepts_text(language, '{"k1": 3')
    assert time.process_time() - began < 5.0


def test_a_hundred_patterns_of_keys_are_followed_and_their_properties_kept_apart():
    patterns = dict(list(KEY_PATTERNS.items())[:MOST_PATTERNS])
    language = JsonText(json.dumps(closed(patternProperties=patterns)))
    assert followed(language).left_out == ()
    assert accepts_text(language, '{"k99ab": 3}')
    assert not accepts_text(language, '{"k99ab": "a"}')
    assert not accepts_text(language, '{"kab": 3}')


def test_patterns_are_counted_through_references_that_lead_back():
    tree = {"properties": {"l": {"$ref": "#/$defs/d0"}, "n": {"pattern": "a"}}}
    both = {"allOf": [{"$ref": "#/$defs/d0"}, {"$ref": "#/$defs/d0"}], "$defs": {"d0": tree}}
    assert joins(both) == 2
    chain = {f"d{i}": {"pattern": "a", "$ref": f"#/$defs/d{i + 1}"} for i in range(9)}
    assert joins({"$ref": "#/$defs/d0", "$defs": chain}) == 9


def test_as_many_patterns_as_can_be_joined_are_followed():
    patterns = [{"type": "string", "pattern": f"^a{{{i},}}b?$"} for i in range(MOST_JOINED)]
    language = JsonText(json.dumps({"allOf": patterns}))
    assert followed(language).left_out == ()
    assert accepts_text(language, json.dumps("a" * MOST_JOINED))
    assert not accepts_text(language, json.dumps("a" * (MOST_JOINED - 2)))
