"""Schemas that masks follow in part: the measure is that of the validator, with and without the
optimiser, exactly."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.ir.printed import explain
from fkdsl.testing import assert_unbiased
from fkdsl.testing.laws import assert_same_masses, exact_measure
from fkdsl.values.library.schemas import unsatisfiable

LISTS = """
model m = table:
    "" -> "[": 0.7, "[1": 0.2, "1": 0.1
    "[" -> "1": 0.4, "2": 0.3, "\\"a\\"": 0.2, "]": 0.1
    "1" -> ", ": 0.5, "]": 0.4, EOS: 0.1
    "2" -> ", ": 0.6, "]": 0.4
    "a\\"" -> ", ": 0.6, "]": 0.4
    ", " -> "1": 0.5, "2": 0.25, "\\"a\\"": 0.25
    "]" -> EOS: 1
"""
TRANSITIONS = [
    ("]", {"": 1.0}),
    (", ", {"1": 0.5, "2": 0.25, '"a"': 0.25}),
    ('a"', {", ": 0.6, "]": 0.4}),
    ("2", {", ": 0.6, "]": 0.4}),
    ("1", {", ": 0.5, "]": 0.4, "": 0.1}),
    ("[", {"1": 0.4, "2": 0.3, '"a"': 0.2, "]": 0.1}),
    ("", {"[": 0.7, "[1": 0.2, "1": 0.1}),
]
ITEMS = st.sampled_from(
    [
        {"type": "integer"},
        {"const": 1},
        {"enum": [1, "a"]},
        {"not": {"const": 1}},
        {"type": "string"},
    ]
)
DEMANDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["array", "integer"]),
        "items": ITEMS,
        "prefixItems": st.lists(ITEMS, min_size=1, max_size=2),
        "uniqueItems": st.just(True),
        "contains": ITEMS,
        "minContains": st.integers(0, 2),
        "maxContains": st.integers(1, 2),
        "minItems": st.integers(0, 3),
        "not": st.fixed_dictionaries({"contains": ITEMS}),
        "oneOf": st.lists(st.fixed_dictionaries({"items": ITEMS}), min_size=2, max_size=2),
        "if": st.fixed_dictionaries({"items": ITEMS}),
        "then": st.fixed_dictionaries({"maxItems": st.integers(1, 2)}),
    },
)


def program_of(schema, tokens=5, table=LISTS, rest=""):
    return fkdsl.parse(
        f'{table}\nprogram p() -> str:\n    lm = prompt("")\n'
        f"    s ~ text(lm, max_tokens={tokens})\n"
        f"    condition valid_json(s, schema=r'{json.dumps(schema)}'{rest})\n    return s\n"
    )


def brute_force(schema, tokens=5):
    """Every text of the table, and what the validator says of it."""
    masses = {}
    todo = [("", 1.0, 0)]
    while todo:
        text, p, n = todo.pop()
        row = (
            next(r for ending, r in TRANSITIONS if text.endswith(ending))
            if n < tokens
            else {"": 1.0}
        )
        for token, q in row.items():
            if token:
                todo.append((text + token, p * q, n + 1))
                continue
            try:
                good = jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))
            except ValueError:
                good = False
            if good:
                masses[text] = masses.get(text, 0.0) + p * q
    return masses


def named(measure):
    return {key[-1] if isinstance(key, tuple) else key: mass for key, mass in measure.items()}


def measure(program):
    try:
        return named(exact_measure(program.feynman_kac()))
    except fkdsl.PopulationDied:
        return {}


@settings(max_examples=10, deadline=None)
@given(DEMANDS)
def test_the_measure_is_the_validators_with_and_without_the_optimiser(schema):
    expected = brute_force(schema)
    if unsatisfiable(json.dumps(schema)):
        assert not expected
        return
    assert_same_masses(measure(program_of(schema)), expected)
    assert_same_masses(measure(program_of(schema).without()), expected)


def test_a_population_lives_where_items_must_differ():
    schema = {
        "type": "array",
        "items": {"enum": [1, 2, "a"]},
        "minItems": 3,
        "maxItems": 3,
        "uniqueItems": True,
    }
    result = program_of(schema, 7).run(particles=16, seed=1)
    assert all(len(set(map(str, json.loads(a.value)))) == 3 for a in result.posterior)


def test_explain_says_what_masks_follow_and_what_is_tried():
    program = program_of({"type": "array", "contains": {"const": 1}})
    assert (
        "by a weaker automaton or grammar; left to trials of the tokens that may end the text: "
        "`contains` at $" in (explain(program.ir()))
    )
    told = explain(program_of({"type": "array", "uniqueItems": True}).ir())
    assert "at every token of the text, as far as it is known by then" in told
    assert "by a weaker" not in explain(program_of({"type": "array", "uniqueItems": False}).ir())


def test_check_warns_of_the_keyword_that_no_mask_follows():
    (found,) = program_of({"type": "array", "contains": {"const": 1}}).warnings
    assert (found.code, found.label) == ("FK501", "no mask follows `contains` at $")
    assert not program_of({"type": "array", "minItems": 1}).warnings


ORDER = """
model m = table:
    "" -> "{\\"b\\": 1": 0.5, "{\\"a\\": 1": 0.5
    "{\\"b\\": 1" -> ", \\"a\\": 1}": 0.5, "}": 0.5
    "{\\"a\\": 1" -> ", \\"b\\": 1}": 0.5, "}": 0.5
    "}" -> EOS: 1
"""
A_AND_B = {
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


@pytest.mark.parametrize(
    ("rest", "mass"), [("", 0.25), (", order=true", 0.25), (", order=false", 0.5)]
)
def test_properties_may_come_in_any_order_on_request(rest, mass):
    program = program_of(A_AND_B, 3, ORDER, rest)
    for p in (program, program.without()):
        assert sum(exact_measure(p.feynman_kac()).values()) == pytest.approx(mass, abs=1e-12)


DATES = """
model m = table:
    "" -> "\\"2024-01-31\\"": 0.25, "\\"x\\"": 0.75
    "\\"" -> EOS: 1
"""


@pytest.mark.parametrize(("rest", "mass"), [("", 0.25), (", format=false", 1.0)])
def test_formats_are_asserted_unless_that_is_switched_off(rest, mass):
    program = program_of({"type": "string", "format": "date"}, 2, DATES, rest)
    for p in (program, program.without()):
        assert sum(exact_measure(p.feynman_kac()).values()) == pytest.approx(mass, abs=1e-12)


@pytest.mark.parametrize("depth", [1, 50, 99, 100, 101, 250, 2_000])
def test_json_nested_deep_is_valid_to_a_hundred_levels_and_no_mistake_beyond(depth):
    text = "[" * depth + "]" * depth
    schema = '{"type": "array", "items": {"$ref": "#"}}'
    program = fkdsl.parse(
        f"program p() -> bool:\n    return valid_json('{text}', schema='{schema}')\n"
    )
    (answer,) = program.run().posterior
    assert answer.value is (depth <= 100)


def test_a_schema_that_refers_to_itself_without_end_is_said_to():
    with pytest.raises(fkdsl.ProgramError, match="itself"):
        fkdsl.parse('program p() -> bool:\n    return valid_json("1", schema=\'{"$ref": "#"}\')\n')


@pytest.mark.parametrize("name", ["s.json", "g.lark"])
def test_a_byte_order_mark_and_crlf_are_no_part_of_a_file(tmp_path, name):
    (tmp_path / "s.json").write_bytes(b'\xef\xbb\xbf{"type":\r\n "array"}')
    (tmp_path / "g.lark").write_bytes(b'\xef\xbb\xbfstart: x\r\nx: "[" "]"\r\n')
    test = (
        'valid_json("[]", schema="s.json")'
        if name == "s.json"
        else 'parses("[]", grammar="g.lark")'
    )
    (tmp_path / "p.fk").write_bytes(
        f"\xef\xbb\xbfprogram p() -> bool:\r\n    return {test}\r\n".encode("latin-1")
    )
    (answer,) = fkdsl.load(tmp_path / "p.fk").run().posterior
    assert answer.value is True


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\p{L}+$", "é", "1"),
        (r"^\P{L}$", "1", "é"),
        (r"^[\p{Lu}_]$", "É", "é"),
        (r"^\u{1f600}$", "\U0001f600", "a"),
        (r"^(?<y>\d)\k<y>$", "11", "12"),
        (r"^[^]$", "{", ""),
        (r"^a\/b$", "a/b", "ab"),
        ("a$", "ba", "ab"),
    ],
)
def test_patterns_of_schemas_are_those_of_ecma_262(pattern, good, bad):
    schema = json.dumps({"type": "string", "pattern": pattern})
    for text, expected in ((good, True), (bad, False)):
        quoted = json.dumps(json.dumps(text, ensure_ascii=False), ensure_ascii=False)
        source = f"program p() -> bool:\n    return valid_json({quoted}, schema=r'{schema}')\n"
        (answer,) = fkdsl.parse(source).run().posterior
        assert answer.value is expected


OR = """
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=5)
    condition valid_json(s, schema=r'{"type": "array", "items": {"const": 1}}') or s == "2]"
    return s
"""


def test_a_schema_inside_or_is_followed_and_keeps_the_measure():
    table = LISTS.replace('"1": 0.1\n', '"1": 0.05, "2": 0.05\n')
    program = fkdsl.parse(f"{table}{OR}")
    whole = measure(program.without())
    assert "2]" in whole
    assert len(whole) > 3
    assert_same_masses(measure(program), whole)
    assert not program.warnings
    assert "left to trials" not in explain(program.ir())
    assert_unbiased(program, "importance")
