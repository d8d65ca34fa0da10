"""A `multipleOf` whose automaton would take minutes is left to the condition."""

import json

import pytest

from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.languages import JsonText


@pytest.mark.parametrize("step", [99_999_989, 99_999_989.5])
def test_multiples_of_a_number_with_many_remainders_are_left_to_the_condition(step):
    """llguidance makes an automaton with a state for each remainder, which took minutes."""
    wide = {"type": "integer", "minimum": 0, "maximum": 10**14}
    found = followed(JsonText(json.dumps({"allOf": [{**wide, "multipleOf": step}]})))
    assert found.schema == {"allOf": [wide]}
    assert found.left_out == ("`multipleOf` at $.allOf[0]",)


def test_multiples_of_numbers_with_few_remainders_are_followed():
    for step in (10_000_000, 0.01, 7, 1024):
        kept = {"type": "number", "minimum": 0, "maximum": 10**9, "multipleOf": step}
        assert followed(JsonText(json.dumps(kept))).schema == kept
