"""Comparisons of numbers in a JSON text that need not be whole: no text is refused that passes, and
the measure is that of the program as it is written."""

import json
import operator
from fractions import Fraction
from itertools import product

import pytest

import fkdsl
from fkdsl.engine.constraints import json_decimals
from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.completion_bounds import completion_bounds, outline_of
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.json_decimals import decimal_bounds, with_decimals
from fkdsl.engine.constraints.json_languages import JsonItems, JsonNumbers
from fkdsl.engine.constraints.json_narrowing import idle_tests, narrowed
from fkdsl.engine.constraints.languages import Both, JsonText, Outlined
from fkdsl.engine.constraints.number_outlines import WITHIN, End
from fkdsl.engine.constraints.schema_outlines import schema_outline
from fkdsl.inference.samplers.smc import importance
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure

NUMBERS = [
    sign + digits
    for sign, digits in product(
        ("", "-"),
        ("0", "1", "2", "0.5", "0.25", "1.5", "1.50", "1.49", "1.4999999999999999999", "1.51",
         "1.50000000000000000001", "2.5", "2.4999999999999997", "2.4999999999999998", "10",
         "0.1", "0.10000000000000000001", "0.3", "0.30000000000000004", "17.25", "1e3", "15e-1",
         "0.0", "1234.5678"),
    )
]  # fmt: skip
BOUNDS = (0, 1, 1.5, 0.1, 0.3, -1.5, 5, 5.0, 0.30000000000000004, -2.5)


def schema(number):
    properties = {"a": number}
    bare = {"required": ["a"], "additionalProperties": False}
    return JsonText(json.dumps({"type": "object", "properties": properties, **bare}))


def followed(text, *tests):
    """The automaton of the outline."""
    ((_, outlined),) = narrowed([text, *tests])[0]
    return Automaton(Outlined(outline_of(outlined[0])))


def numbers(test):
    """The automaton of a number's outline with a bound."""
    ((_, low, high),) = decimal_bounds([((test,),)])
    outline = schema_outline(with_decimals({"type": "number"}, [((), low, high)]))
    return Automaton(Outlined(outline))


@pytest.mark.parametrize("compared", ["lt", "le", "gt", "ge", "eq"])
def test_an_outline_has_the_numbers_that_pass_and_no_others_without_an_exponent(compared):
    passes = getattr(operator, compared)
    for factor, bound in zip((1, 1, 1, 1, 2, 3, -1, -7, 2, 1), BOUNDS, strict=True):
        outline = numbers(JsonNumbers((((), factor),), compared, bound))
        for written in NUMBERS:
            expected = passes(json.loads(written) * factor, bound)
            found = outline.accepts(written)
            if "e" in written or expected:
                assert found, (written, factor, bound)
            else:
                apart = abs(Fraction(written) * factor - Fraction(bound)) > Fraction(1, 10**15)
                as_users_write = factor == 1 and len(written) < 8
                assert not (found and (apart or as_users_write)), (written, factor, bound)


def test_bounds_of_several_tests_and_of_the_schemas_own_are_joined():
    low, high = (JsonNumbers(((("a",), 1),), o, b) for o, b in (("ge", 0), ("lt", 1)))
    outline = followed(schema({"type": "number"}), low, high)
    assert [t for t in ("-0.1", "0", "0.99", "1", "1.0") if outline.accepts(f'{{"a":{t}}}')] == [
        "0", "0.99"]  # fmt: skip
    outline = followed(schema({"type": ["number", "null"], "minimum": 0.5}), low, high)
    texts = ("null", "0.4", "0.5", "0.75", "5e-1", "1")
    assert [t for t in texts if outline.accepts(f'{{"a":{t}}}')] == ["0.5", "0.75"]
    impossible = JsonNumbers(((("a",), 1),), "gt", 1.5)
    outline = followed(schema({"type": "number"}), impossible, high)
    assert not outline.accepts('{"a":1.2}')
    assert outline.accepts('{"a":12e1}')


def test_numbers_in_lists_and_in_one_of_several_objects_are_bounded():
    more = JsonNumbers((((), 1),), "gt", 1.5)
    texts = schema({"type": "array", "items": {"type": "number"}})
    outline = followed(texts, JsonItems(("a",), True, Both((more, more))))
    assert outline.accepts('{"a":[1.6,22]}')
    assert not outline.accepts('{"a":[1.6,1.2]}')
    second = JsonNumbers(((("a", 1), 1),), "lt", 0.5)
    outline = followed(texts, second)
    assert outline.accepts('{"a":[7,0.25,9]}')
    assert not outline.accepts('{"a":[7,0.75]}')
    last = JsonNumbers(((("a", -1), 1),), "lt", 0.5)  # which item that is, is not known
    assert followed(texts, last).accepts('{"a":[7,0.75]}')
    either = {"anyOf": [{"properties": {"a": {"type": "number"}}}, {"properties": {"a": True}}]}
    bounds = [(("a",), None, End(Fraction(3, 2)))]
    number, anything = with_decimals(either, bounds)["anyOf"]
    assert number["properties"]["a"] == {"type": "number", WITHIN: [None, ["3/2", False]]}
    assert anything["properties"]["a"] is True


def test_a_key_of_a_strangers_schema_bounds_nothing():
    odd = schema({"type": "number", "x-within": [["3/2", True], None]})
    assert Automaton(Outlined(outline_of(odd))).accepts('{"a":1.2}')


def test_such_a_test_is_not_said_to_guide_nothing():
    more = JsonNumbers(((("a",), 1),), "gt", 1.5)
    assert idle_tests([schema({"type": "number"}), more]) == []
    other = JsonNumbers(((("b",), 1),), "gt", 1.5)
    assert idle_tests([schema({"type": "number"}), other, more]) == [1]


TABLE = """\
model m = table:
    "" -> "{\\"a\\":": 1.0
    ":" -> "1": 0.4, "-": 0.1, "2": 0.3, "0": 0.2
    "-" -> "1": 0.5, "0": 0.5
    "0" -> ".": 0.6, "}": 0.4
    "1" -> ".": 0.5, "}": 0.3, "e": 0.1, "5": 0.1
    "2" -> ".": 0.3, "}": 0.7
    "5" -> "}": 0.8, "5": 0.2
    "." -> "5": 0.7, "1": 0.3
    "e" -> "1": 1.0
    "}" -> EOS: 1.0

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=7)
    condition valid_json(s, schema=r'SCHEMA')
    v = parse_json(s)
    condition TEST
    return s
"""
TESTS = ["v.a > 1.5", "0 <= v.a and v.a < 1", "v.a * 2 < 3", "v.a + 0.25 >= 1.75", "-v.a > 0.5",
         "abs(v.a) < 1.25", "v.a == 1.5", "not v.a <= 1.1", "v.a / 2 < 0.75",
         "-3 <= v.a / -0.5"]  # fmt: skip
LISTS = """\
model m = table:
    "" -> "{\\"a\\":[": 1.0
    "[" -> "1": 0.5, "2": 0.5
    "1" -> ",": 0.3, ".5": 0.3, "]}": 0.4
    "2" -> ",": 0.3, "]}": 0.7
    ".5" -> ",": 0.4, "]}": 0.6
    "," -> "1": 0.5, "2": 0.5
    "]}" -> EOS: 1.0
"""
OF_LISTS = ["max(v.a) < 2", "min(v.a) >= 1.5", "1.5 == max(v.a)", "max(v.a) > 1.5",
            "all(x / 2 < 0.75 for x in v.a)", "2 > min(v.a)"]  # fmt: skip


def source(test):
    number, table = {"type": "number"}, TABLE
    if test in OF_LISTS:
        number = {"type": "array", "items": number, "minItems": 1}
        table = LISTS + TABLE[TABLE.index("\nprogram") :]
    return table.replace("SCHEMA", schema(number).schema).replace("TEST", test)


def guided(test):
    make_constraint.cache_clear()
    completion_bounds.cache_clear()
    model = fkdsl.parse(source(test))().feynman_kac()
    return expected_measure(model, lambda rng: importance(model, rng, particles=1))


def as_written(test):
    return exact_measure(fkdsl.parse(source(test)).without()().feynman_kac())


@pytest.mark.parametrize("test", [*TESTS, *OF_LISTS])
def test_the_measure_is_that_of_the_program_as_written(test):
    written = as_written(test)
    assert written
    assert_same_masses(guided(test), written)


def test_a_bound_that_leaves_out_what_is_rounded_to_it_is_caught(monkeypatch):
    written = as_written("v.a <= 1.5")
    assert_same_masses(guided("v.a <= 1.5"), written)
    monkeypatch.setattr(
        json_decimals, "where_rounded", lambda bound, *_: End(Fraction(bound), strict=True)
    )
    with pytest.raises(AssertionError):
        assert_same_masses(guided("v.a <= 1.5"), written)
    completion_bounds.cache_clear()
    make_constraint.cache_clear()
