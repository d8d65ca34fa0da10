"""Tests of texts, truth values and lists in a JSON text narrow its schema: the narrowed schema has
the texts of the old one that pass and no others, and the measure is that of the program as it is
written."""

import json
import math
import operator
from functools import cache
from itertools import product

import pytest

import fkdsl
from fkdsl.engine.constraints import json_values
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.json_languages import JsonField, JsonNumbers
from fkdsl.engine.constraints.json_narrowing import narrowed_schema
from fkdsl.engine.constraints.languages import Both, Either, JsonText
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure

PIECES = ["A", "x", "/", "\\/", "\\u0041", '\\"', "\\\\", "\\n", "\\u000a", "\\u007f", "é",
          "\\u00e9", "😀", "\\ud83d\\ude00", "\\ud83d", "\\u0000", "\u2028"]  # fmt: skip
"""Characters of a text as JSON may spell them; llguidance lets some of the spellings be."""
TEXTS = [*(f'"{a}"' for a in ["", *PIECES]), '"Ax"', '"xA"', '"x/"', '"\\"A"', '"😀x"', '"AAx"']
LISTS = ["[]", "[ ]", "[true]", "[true,true]", "[true , false]", "[true,true,true]"]
VALUES = ["true", "false", "null", "0", "-0", "1", *LISTS, *TEXTS]
SCHEMAS = [
    {"type": "boolean"},
    {"enum": [True, False, None, 0, 1, "A", "\n", "é", '"', "😀x", "xA"]},
    {"type": ["string", "null"], "enum": ["A", "Ax", None]},
    {"type": "string"},
    {"type": "string", "maxLength": 1},
    {"type": "string", "minLength": 1, "pattern": "^[^x]*$"},
    {"type": "string", "enum": ["A", "\n", "x/", '"A']},
    {"type": "array", "items": {"type": "boolean"}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    {"type": ["string", "null"]},
    {"type": "array", "uniqueItems": True, "items": {"type": "boolean"}},
]


def truth(value):
    if not isinstance(value, bool):
        raise TypeError
    return value


def shown(value):
    """What `str` makes of a value that is no list."""
    if isinstance(value, list):
        raise TypeError
    names = {None: "none", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else str(value)


def field(how, value, negated=False):
    return JsonField(("a",), how, value, negated)


@cache
def has_text(language, value):
    return accepts_text(language, f'{{"a":{value}}}')


def texts_of(schema):
    language = JsonText(json.dumps({**OBJECT, "properties": {"a": schema}}))
    return {value for value in VALUES if has_text(language, value)}


OBJECT = {"type": "object", "required": ["a"], "additionalProperties": False}
TESTS = {
    "true": (field("is", True), lambda v: truth(v)),
    "false": (field("is", True, True), lambda v: not truth(v)),
    "eq A": (field("eq", "A"), lambda v: v == "A"),
    "ne A": (field("eq", "A", True), lambda v: v != "A"),
    "eq true": (field("eq", True), lambda v: v == True),  # noqa: E712
    "eq newline": (field("eq", "\n"), lambda v: v == "\n"),
    "eq none": (field("eq", None), lambda v: v is None),
    "among": (field("in", ("A", "😀x", '"', 1)), lambda v: v in ("A", "😀x", '"', 1)),
    "not among": (field("in", ("A", "xA"), True), lambda v: v not in ("A", "xA")),
    "starts": (field("starts_with", "A"), lambda v: v.startswith("A")),
    "ends": (field("ends_with", "/"), lambda v: v.endswith("/")),
    "contains": (field("contains", "\n"), lambda v: "\n" in v),
    "has": (field("has", "😀"), lambda v: "😀" in v),
    "has a quote": (field("has", '"'), lambda v: '"' in v),
    "has a backslash": (field("has", "\\"), lambda v: "\\" in v),
    "in a text": (field("in", 'AxA"/\\é'), lambda v: v in 'AxA"/\\é'),
    "not in a text": (field("in", "Ax/", True), lambda v: v not in "Ax/"),
    "written in": (field("written in", "10 Ax/"), lambda v: shown(v) in "10 Ax/"),
    "written among": (
        field("written in", ("true", "1", "x/")),
        lambda v: shown(v) in ("true", "1", "x/"),
    ),
    "has not": (field("has", "x", True), lambda v: "x" not in v),
    "has true": (field("has", True), lambda v: True in v),
    **{
        f"length {name} {bound}": (
            field("length", (name, bound), negated),
            lambda v, name=name, bound=bound, no=negated: getattr(operator, name)(len(v), bound)
            != no,
        )
        for name, bound, negated in (
            ("eq", 2, False), ("lt", 2, False), ("le", 1, False), ("gt", 0, False),
            ("ge", 1.5, False), ("le", 1, True), ("ne", 0, False), ("eq", 7, True),
        )
    },
}  # fmt: skip


def passes(test, value):
    """None where the program would raise an error."""
    try:
        return test(json.loads(value))
    except (TypeError, AttributeError):
        return None


def check_narrowed(schema, test, says):
    """What a narrowed schema refuses does not pass. Whether what it has passes, too."""
    narrowed = narrowed_schema({**OBJECT, "properties": {"a": schema}}, [test])
    before = texts_of(schema)
    after = texts_of(narrowed["properties"]["a"]) if narrowed else set()
    assert {v for v in before if passes(says, v)} <= after <= before
    return all(passes(says, v) is not False for v in after)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_narrowed_schema_refuses_only_what_does_not_pass(schema):
    inexact = set()
    for name, (test, says) in TESTS.items():
        some = any(passes(says, v) for v in texts_of(schema))
        if not check_narrowed(schema, test, says) and some:
            inexact.add(name)
    assert not inexact


def test_tests_are_joined_by_and_and_by_or():
    a, b = field("eq", "A"), field("starts_with", "x")
    for schema in SCHEMAS:
        either = Either((a, Both((b, field("length", ("le", 1))))))
        says = lambda v: v == "A" or (v.startswith("x") and len(v) <= 1)  # noqa: E731
        assert check_narrowed(schema, either, says)
    lengths = [field("length", ("le", 4)), field("length", ("ge", 2))]
    narrowed = narrowed_schema({"properties": {"a": {"type": "string"}}}, [b, *lengths])
    expected = {"type": "string", "minLength": 2, "maxLength": 4, "pattern": r"^[\x78][\s\S]*$"}
    assert narrowed == {"properties": {"a": expected}, "required": ["a"]}


def test_what_is_not_certain_is_left():
    for own in ({"$ref": "#/x"}, {"type": "string", "anyOf": [{}]}, {}, True,
                {"$ref": "#/$defs/t", "type": "string"}, {"type": "object"}):  # fmt: skip
        schema = {"properties": {"a": own}, "$defs": {"t": {"type": "string"}}}
        for test, _ in TESTS.values():
            assert narrowed_schema(schema, [test]) == schema


# ------------------------------------------------------------------ programs

SCHEMA = {"type": "object",
          "properties": {"k": {"enum": ["ab", "b", "a"]}, "t": {"type": "string"},
                         "f": {"type": "boolean"},
                         "l": {"type": "array", "items": {"enum": [1]}}, "o": {"enum": ["a"]}},
          "required": ["k", "t", "f", "l"]}  # fmt: skip
TABLE = """\
model m = table:
    "" -> "{\\"k\\":\\"": 1.0
    "k\\":\\"" -> "a": 0.6, "b": 0.4
    "t\\":\\"" -> "a": 0.4, "b": 0.4, "\\",\\"f\\":": 0.2
    "a" -> "b": 0.4, "\\",\\"t\\":\\"": 0.3, "\\",\\"f\\":": 0.3
    "b" -> "\\",\\"t\\":\\"": 0.5, "\\",\\"f\\":": 0.5
    "f\\":" -> "true": 0.5, "false": 0.5
    "true" -> ",\\"l\\":[": 1.0
    "false" -> ",\\"l\\":[": 1.0
    "[" -> "1": 0.7, "]": 0.3
    "1" -> ",1": 0.5, "]": 0.5
    "]" -> "}": 0.8, ",\\"\\\\u006b\\":\\"b\\"}": 0.2
    "}" -> EOS: 1.0

program p(c: str = "a", n: int = 1) -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=11)
    condition valid_json(s, schema=r'SCHEMA')
    v = parse_json(s)
    condition TEST
    return s
"""
CONDITIONS = {
    'v.k == "a"': lambda v: v["k"] == "a",
    "v.k != c": lambda v: v["k"] != "a",
    'v.k in [c, "b"]': lambda v: v["k"] in ("a", "b"),
    'v["k"] not in ["a"]': lambda v: v["k"] != "a",
    "v.f": lambda v: v["f"],
    "not v.f": lambda v: not v["f"],
    "v.f != true and v.k == c": lambda v: not v["f"] and v["k"] == "a",
    "len(v.l) == n": lambda v: len(v["l"]) == 1,
    "2 > len(v.l)": lambda v: len(v["l"]) < 2,
    "len(v.t) <= 1": lambda v: len(v["t"]) <= 1,
    "starts_with(v.t, c)": lambda v: v["t"].startswith("a"),
    'ends_with(v.k, "b")': lambda v: v["k"].endswith("b"),
    '"b" in v.t': lambda v: "b" in v["t"],
    'contains("ab a", v.t)': lambda v: v["t"] in "ab a",
    "contains(c, v.t) and v.f": lambda v: v["t"] in "a" and v["f"],
    'str(v.k) in ["b", c]': lambda v: v["k"] in ("a", "b"),
    'contains("ab a", f"{v.t}") and f"{v.f}" in "untrue"': lambda v: v["t"] in "ab a" and v["f"],
    'v.t == "ab"': lambda v: v["t"] == "ab",
    'v.k == "a" or v.k == "b"': lambda v: v["k"] in ("a", "b"),
    "1 in v.l": lambda v: 1 in v["l"],
    'matches(v.t, "a+b?")': lambda v: v["t"] in ("a", "aa", "ab", "aab"),
    'v.t != "ab"': lambda v: v["t"] != "ab",
    "not contains(v.t, c)": lambda v: "a" not in v["t"],
    "len(words(v.t)) == n": lambda v: v["t"] != "",
    'upper(v.t) == "AB"': lambda v: v["t"] == "ab",
    'last_word(v.t) in ["a", ""]': lambda v: v["t"] in ("a", ""),
    "all(x == 1 for x in v.l) and len(v.l) < 2": lambda v: len(v["l"]) < 2,
    "any(x > 0 for x in v.l)": lambda v: v["l"] != [],
    'v.k != "a" or v.f': lambda v: v["k"] != "a" or v["f"],
    '(v.k == c and v.f) or (v.k == "b" and v.t == "b")': lambda v: (
        (v["k"] == "a" and v["f"]) or (v["k"] == v["t"] == "b")
    ),
    'v.f == (v.k == "a")': lambda v: v["f"] == (v["k"] == "a"),
    'v.f != (v.t == "")': lambda v: v["f"] != (v["t"] == ""),
    'v.k == "a" or v.k == "b" and v.f': lambda v: v["k"] == "a" or (v["k"] == "b" and v["f"]),
    "not (len(v.t) <= 1)": lambda v: len(v["t"]) > 1,
    "v.t == v.k": lambda v: v["t"] == v["k"],
    'not (v.k == "b" or v.f)': lambda v: not (v["k"] == "b" or v["f"]),
}
LEFT = [*CONDITIONS][-4:]
DEAD_ENDS = ['v.t != "ab"', 'last_word(v.t) in ["a", ""]']
FOLLOWED = [test for test in CONDITIONS if test not in (*LEFT, *DEAD_ENDS)]
"""Those that masks follow whole, and that lead this model to no dead end."""


@pytest.fixture(autouse=True)
def made_anew():
    """Constraints of a test are its own."""
    make_constraint.cache_clear()
    yield
    make_constraint.cache_clear()


def program(test, schema=SCHEMA):
    text = TABLE.replace("SCHEMA", json.dumps(schema, separators=(",", ":")))
    return fkdsl.parse(text.replace("TEST", test))


@cache
def written():
    """The measure of the program without the test, as it is written."""
    return exact_measure(program("true").without()().feynman_kac())


def expected(test):
    return {s: mass for s, mass in written().items() if CONDITIONS[test](json.loads(s))}


@pytest.mark.parametrize("test", CONDITIONS)
def test_the_measure_is_that_of_the_program_as_written(test):
    assert expected(test)
    assert_same_masses(exact_measure(program(test)().feynman_kac()), expected(test))


@pytest.mark.parametrize("test", FOLLOWED)
def test_no_particle_dies_of_a_test_that_masks_follow(test):
    closed = {**SCHEMA, "additionalProperties": False}
    particles = program(test, closed).run("importance", particles=16, seed=0).particles
    assert sum(p.log_weight > -math.inf for p in particles) == 16


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ("v.t != last_word(s)", "Not known before they are reached"),
        ('v.z == "x" and v.f', "a test of a value in a JSON text that its schema cannot say"),
        ('v.k != "a"', ""),
        ('v.t in ["a", "x"] and v.t != "x"', ""),
    ],
)
def test_explain_tells_a_test_that_narrows_no_schema(test, says):
    told = explain(program(test).ir())
    for line in ("Not known before", "that its schema cannot say"):
        assert (line in told) == (line in says)


@pytest.mark.parametrize(
    ("test", "warned"), [("v.t != last_word(s)", 1), ("v.t != v.k", 0), ('v.t != "x"', 0)]
)
def test_check_warns_of_what_no_schema_says_at_the_end_of_a_long_text(test, warned):
    text = TABLE.replace("SCHEMA", json.dumps(SCHEMA)).replace("max_tokens=11", "max_tokens=90")
    found = fkdsl.parse(text.replace("TEST", test))().warnings
    assert [d.code for d in found] == ["FK501"] * warned


def test_a_test_that_no_value_passes_is_a_mistake():
    for test in ('v.k == "x"', 'v.k == "x" or len(v.k) > 2', "v.f and not v.f", 'v.o[0] == "b"'):
        with pytest.raises(fkdsl.ProgramError, match="FK502"):
            program(test)().ir()
    program('v.k == "x" or v.f')().ir()


def test_a_name_that_comes_twice_in_two_spellings_is_no_valid_json():
    """The second one would be the value, and a mask would have narrowed the first."""
    assert written()
    assert not any("u006b" in s for s in written())
    assert_same_masses(exact_measure(program("true")().feynman_kac()), written())


def test_a_value_that_is_dropped_though_it_passes_is_caught(monkeypatch):
    right = json_values.passes
    monkeypatch.setattr(json_values, "passes", lambda f, v: right(f, v) if v != "b" else False)
    test = 'v.k in [c, "b"]'
    with pytest.raises(AssertionError):
        assert_same_masses(exact_measure(program(test)().feynman_kac()), expected(test))


def whole_numbers(tests, schema):
    """The texts {"a":n,"b":m}, or {"a":n}, that a schema with some tests has."""
    names = sorted(schema["properties"])
    narrowed = narrowed_schema(schema, tests)
    if narrowed is False:
        return set()
    language = JsonText(json.dumps(narrowed))
    texts = product(range(-9, 40), repeat=len(names))
    written = [json.dumps(dict(zip(names, t, strict=True)), separators=(",", ":")) for t in texts]
    return {text for text in written if accepts_text(language, text)}


WHOLE = {"type": "integer", "minimum": -8, "maximum": 39}
SOURCE = "from 07 to 23, -5 of 312"


def test_whole_numbers_that_stand_in_a_text_are_listed():
    schema = {**OBJECT, "properties": {"a": WHOLE}}
    within = {n for n in range(-8, 40) if str(n) in SOURCE}
    assert within == {-5, 0, 1, 2, 3, 5, 7, 12, 23, 31}
    found = whole_numbers([field("written in", SOURCE)], schema)
    assert found == {f'{{"a":{n}}}' for n in within}
    assert whole_numbers([field("written in", SOURCE, True)], schema) == {
        f'{{"a":{n}}}' for n in set(range(-8, 40)) - within
    }


@pytest.mark.parametrize("listed", [SOURCE, tuple(map(str, range(1, 40, 2)))])
def test_of_two_whole_numbers_that_stand_in_a_text_the_comparison_holds(listed):
    schema = {**OBJECT, "properties": {"a": WHOLE, "b": WHOLE}, "required": ["a", "b"]}
    tests = [JsonField((name,), "written in", listed) for name in "ab"]
    less = JsonNumbers(((("a",), 1), (("b",), -1)), "lt", 0)
    within = [n for n in range(-8, 40) if str(n) in listed]
    expected = {f'{{"a":{n},"b":{m}}}' for n in within for m in within if n < m}
    assert whole_numbers([*tests, less], schema) == expected


def test_many_whole_numbers_are_listed_in_an_enum():
    odd = tuple(map(str, range(1, 200, 2)))
    narrowed = narrowed_schema(
        {"properties": {"a": {"type": "integer"}}}, [field("written in", odd)]
    )
    assert narrowed["properties"]["a"]["enum"] == list(range(1, 200, 2))


def test_a_text_of_a_pattern_that_stands_in_a_long_text_is_one_of_a_list():
    """Where a list would be too long, a pattern follows the parts from each place on."""
    own = {"type": "string", "pattern": "^[A-Z][a-z]+$"}
    source = "written by Ada and Bob, " * 40
    narrowed = narrowed_schema({"properties": {"a": own}}, [field("in", source)])
    assert narrowed["properties"]["a"]["enum"] == ["Ad", "Ada", "Bo", "Bob"]
    free = narrowed_schema({"properties": {"a": {"type": "string"}}}, [field("in", source[:300])])
    language = JsonText(json.dumps({**free, "additionalProperties": False}))
    for part in ("", "Ada and Bob, ", source[5:60], "n", "by Ad", source[:300]):
        assert accepts_text(language, json.dumps({"a": part}))
    odd = (
        "".join(map(chr, range(1, 127))) + "é\u2028\u3000😀" + "".join(map(chr, range(126, 0, -1)))
    )
    free = narrowed_schema({"properties": {"a": {"type": "string"}}}, [field("in", odd)])
    written = JsonText(json.dumps({**free, "additionalProperties": False}))
    assert accepts_text(written, json.dumps({"a": odd[5:36]}, ensure_ascii=False))
    assert accepts_text(written, json.dumps({"a": odd[100:150]}, ensure_ascii=False))
    assert not accepts_text(written, json.dumps({"a": "ba c"}))
    for other in ("Ada or Bob", "q", "Bob  ", "Ada and Ada"):
        assert not accepts_text(language, json.dumps({"a": other}))


def test_a_length_may_be_written_with_a_point():
    own = {"type": "string", "minLength": 2.0, "maxLength": 3.0}
    narrowed = narrowed_schema({"properties": {"a": own}}, [field("in", "xyzzy")])
    assert narrowed["properties"]["a"]["enum"] == ["xy", "xyz", "yz", "yzz", "zz", "zzy", "zy"]
