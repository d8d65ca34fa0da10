"""Comparisons of numbers in a JSON text narrow its schema: what is refused was never allowed, and
the measure is that of the program as it is written."""

import json
import operator
from contextlib import suppress
from itertools import product
from unittest.mock import patch

import pytest

import fkdsl
from fkdsl.base.errors import PopulationDied, ProgramError
from fkdsl.engine.constraints import json_numbers
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.json_languages import JsonNumbers
from fkdsl.engine.constraints.json_narrowing import narrowed_schema
from fkdsl.inference.samplers.smc import importance
from fkdsl.proposals.text_masks import text_constraint
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 21},
          "b": {"type": "integer", "minimum": -9, "maximum": 9}},
          "required": ["a", "b"], "additionalProperties": False}  # fmt: skip
TABLE = """\
model m = table:
    "" -> "{\\"a\\":": 0.9, "1": 0.1
    ":" -> "1": 0.3, "2": 0.3, "-": 0.1, "5": 0.3
    "-" -> "1": 0.5, "2": 0.5
    "1" -> "1": 0.3, ",\\"b\\":": 0.4, "}": 0.3
    "2" -> "1": 0.2, ",\\"b\\":": 0.4, "}": 0.4
    "5" -> ",\\"b\\":": 0.5, "}": 0.4, "1": 0.1
    "}" -> EOS: 1.0

program p(c: int = 3) -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=8)
    condition valid_json(s, schema=r'SCHEMA')
    v = parse_json(s)
    condition TEST
    return s
"""
TESTS = ["v.a > 11", "v.a + v.b == 4", 'v["b"] < v.a and 2 * v.a - v.b <= 10 + c', "c - v.b > v.a",
         "v.a * v.b == 2", "v.a + 0.3 <= 2.3", "2.5 > v.a - v.b"]  # fmt: skip


@pytest.fixture(autouse=True)
def made_anew():
    """Constraints of a test are its own."""
    make_constraint.cache_clear()
    yield
    make_constraint.cache_clear()


def source(test):
    schema = json.dumps(SCHEMA, separators=(",", ":"))
    return TABLE.replace("SCHEMA", schema).replace("TEST", test)


def guided(test):
    """The measure by draws that look ahead."""
    make_constraint.cache_clear()
    model = fkdsl.parse(source(test))().feynman_kac()
    return expected_measure(model, lambda rng: importance(model, rng, particles=1))


def as_written(test):
    """The measure without the optimiser."""
    return exact_measure(fkdsl.parse(source(test)).without()().feynman_kac())


@pytest.mark.parametrize("test", TESTS)
def test_the_measure_is_that_of_the_program_as_written(test, monkeypatch):
    written = as_written(test)
    assert written
    for most in (256, 2):  # of as many numbers as there are, and of tens of them
        monkeypatch.setattr(json_numbers, "MOST_INTERVALS", most)
        assert_same_masses(guided(test), written)


def whole_numbers(schema):
    """Those within the bounds of a schema, beside which `-0` may stand."""
    bounds, *zero = schema.get("anyOf", [schema])
    assert not zero or bounds["minimum"] <= 0 <= bounds["maximum"]
    return range(bounds["minimum"], bounds["maximum"] + 1)


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("compared", ["lt", "le", "gt", "ge", "eq"])
def test_a_narrowed_schema_has_all_pairs_that_pass_and_with_single_numbers_no_others(
    first, compared
):
    properties = {
        k: SCHEMA["properties"][k] for k in sorted(SCHEMA["properties"], key=first.__ne__)
    }
    schema = {**SCHEMA, "properties": properties}
    for i, j, bound in product((1, -2), (1, 3, -1), (0, 7.5, -4)):
        terms = ((("a",), i), (("b",), j))
        passes = getattr(operator, compared)
        expected = {
            (a, b) for a, b in product(range(22), range(-9, 10)) if passes(i * a + j * b, bound)
        }
        for most in (256, 3):
            with patch.object(json_numbers, "MOST_INTERVALS", most):
                narrowed = narrowed_schema(schema, [JsonNumbers(terms, compared, bound)])
            found = set()
            for option in narrowed.get("anyOf", [narrowed]) if narrowed else ():
                found |= set(product(*(whole_numbers(option["properties"][k]) for k in "ab")))
            assert found == expected if most == 256 and expected else found >= expected


def test_what_schemas_cannot_be_narrowed_by_is_left():
    less = [JsonNumbers(((("a",), 1), (("b",), -1)), "lt", 0)]
    same = [
        {"properties": {"a": {"type": "integer"}, "b": {"type": "number"}}},
        {"properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}}},
        {"anyOf": [SCHEMA]},
        {**SCHEMA, "$id": "x"},
        True,
    ]
    for schema in same:
        assert narrowed_schema(schema, less) == schema
    fraction = {"properties": {"a": {"type": "number"}}}
    assert narrowed_schema(fraction, [JsonNumbers(((("a",), 2),), "gt", 5)]) == fraction
    product = [JsonNumbers(((("a",), 1), (("b",), 1)), "eq", 0, ((("a",), ("b",), 1),))]
    assert narrowed_schema(SCHEMA, product) == SCHEMA  # each is in the product
    referring = {"type": "integer", "allOf": [{"$ref": "#/$defs/n"}]}
    schema = {"properties": {"a": referring}, "$defs": {"n": {"maximum": 9}}}
    assert narrowed_schema(schema, [JsonNumbers(((("a",), 1),), "lt", 5)]) == schema


OWN_BOUNDS = [{}, {"minimum": -2, "maximum": 2}, {"minimum": -2, "maximum": 0}, {"minimum": 0},
              {"maximum": 2}, {"enum": [0, 1]}, {"multipleOf": 3}]  # fmt: skip


@pytest.mark.parametrize("bounds", OWN_BOUNDS, ids=str)
@pytest.mark.parametrize("test", ["v.a < 1 and v.b <= v.a and v.b >= 0 - c"])
def test_minus_zero_is_a_number_beside_a_comparison_where_the_schema_lets_it_be(bounds, test):
    """llguidance lets it be one within some bounds, and not within others that have 0."""
    number = {"type": "integer", **bounds}
    schema = {"type": "object", "properties": {"a": number, "b": number},
              "required": ["a", "b"], "additionalProperties": False}  # fmt: skip
    lines = ['"" -> "{\\"a\\":": 1', '":" -> "-": 0.5, "0": 0.3, "1": 0.2',
             '"-" -> "0": 0.7, "1": 0.3', '"0" -> ",\\"b\\":": 0.5, "}": 0.5',
             '"1" -> ",\\"b\\":": 0.5, "}": 0.5', '"}" -> EOS: 1']  # fmt: skip
    table = "model m = table:\n    " + "\n    ".join(lines) + "\n\n"
    text = table + TABLE.split("\n\n")[1].replace("TEST", test)
    program = fkdsl.parse(text.replace("SCHEMA", json.dumps(schema, separators=(",", ":"))))
    written = exact_measure(program.without()().feynman_kac())
    assert_same_masses(exact_measure(program().feynman_kac()), written)
    assert any('"a":-0' in state for state in written) == (
        bounds in OWN_BOUNDS[:3] + OWN_BOUNDS[6:]
    )


def test_a_number_with_an_exponent_is_compared_too():
    """llguidance lets no number with bounds have one."""
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    lines = ['"" -> "{\\"a\\":": 1.0', '":" -> "1": 0.5, "5": 0.5', '"1" -> "e1": 0.5, "}": 0.5',
             '"5" -> "}": 1.0', '"e1" -> "}": 1.0', '"}" -> EOS: 1.0']  # fmt: skip
    table = "model m = table:\n    " + "\n    ".join(lines) + "\n\n"
    text = table + source("v.a > 4").split("\n\n")[1]
    text = text.replace(json.dumps(SCHEMA, separators=(",", ":")), json.dumps(schema))
    program = fkdsl.parse(text)
    written = exact_measure(program.without()().feynman_kac())
    assert len(written) == 2
    assert_same_masses(exact_measure(program().feynman_kac()), written)


def test_a_comparison_without_a_schema_is_left_to_the_end():
    text = source("v.a > 11")
    valid = next(line for line in text.splitlines() if "valid_json" in line)
    for with_schema in (True, False):
        program = fkdsl.parse(text if with_schema else text.replace(valid, ""))
        plans = [
            i.plan for f in program().ir().functions.values() for i in f.body if hasattr(i, "plan")
        ]
        assert any(p is not None and p.completion is not None for p in plans) == with_schema


@pytest.mark.parametrize("test", ["v.a == c", "v.a == d or v.a < 5"])
def test_a_comparison_with_what_is_no_number_leaves_the_schema_its_masks(test):
    """The language is of what is compared; where it fails, nothing guides the text."""
    text = source(test).replace("c: int = 3", 'c: str = "x", d: str = "x"')
    made = []

    def counted(*args):
        made.append(text_constraint(*args))
        return made[-1]

    patched = patch("fkdsl.proposals.open_draw.text_constraint", counted)
    with patched, suppress(PopulationDied):  # no number is equal to a text
        fkdsl.parse(text).run("smc", particles=8, seed=1)
    assert made
    assert None not in made


def test_a_number_that_is_compared_with_a_text_is_none():
    with pytest.raises(ProgramError, match="no text satisfies these 2 conditions"):
        fkdsl.parse(source('v.a == "x"'))().ir()


def test_a_bound_that_is_off_by_one_is_caught(monkeypatch):
    right = json_numbers._left

    def wrong(comparison, known, last):
        least, most = right(comparison, known, last)
        return least, None if most is None else most - 1

    monkeypatch.setattr(json_numbers, "_left", wrong)
    found, written = guided(TESTS[2]), as_written(TESTS[2])
    with pytest.raises(AssertionError):
        assert_same_masses(found, written)


@pytest.mark.parametrize("largest", [10**17, 10**300])
def test_bounds_that_no_float_holds_are_left_to_the_condition(largest):
    """An `anyOf` of bounds with 300 digits ended the process, in llguidance."""
    number = {"type": "integer", "minimum": -largest, "maximum": largest}
    schema = {"type": "object", "properties": {"a": number, "b": number}}
    pair = JsonNumbers(((("a",), 1), (("b",), -1)), "lt", 0)
    single = JsonNumbers(((("a",), 1),), "gt", largest // 10**16 + 10**16)
    assert narrowed_schema(schema, [pair]) == schema
    assert narrowed_schema(schema, [single, pair]) == schema
