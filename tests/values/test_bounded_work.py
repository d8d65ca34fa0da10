"""What a stranger's pattern, schema or grammar may take: an answer in bounded work, or an error
that says so, and at a deadline neither. The library's own validator judges where it can."""

import json
import threading
import time
from contextlib import contextmanager

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.engine.constraints.languages import JsonText
from fkdsl.values.library import parsing, patterns, schemas, validation
from fkdsl.values.library.parsing import build_parser, parses_whole
from fkdsl.values.library.patterns import compiled_pattern, timed_match
from fkdsl.values.library.schemas import derives, fits_schema
from fkdsl.values.library.validation import build_validator, validates
from fkdsl.values.signatures import BuiltinError

SLOW = r"^(?:(?:a|aa)+b?)+$"
"""Exponential for a backtracking matcher on a text of many a's that it does not match."""
BAD = "a" * 40 + "c"
AMBIGUOUS = 'start: start start start | start start | "a"'


@contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.fixture
def short(monkeypatch):
    """Bounds of a quarter of a second."""
    monkeypatch.setattr(patterns, "MATCH_SECONDS", 0.25)
    monkeypatch.setattr(validation, "VALIDATION_SECONDS", 0.25)
    monkeypatch.setattr(parsing, "PARSE_SECONDS", 0.25)


def doubled(keyword, levels=28):
    """A schema of so many levels, each of which names the next twice."""
    defs = {f"a{i}": {keyword: [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(levels)}
    return {"$defs": {**defs, f"a{levels}": {"type": "integer"}}, "$ref": "#/$defs/a0"}


SLOW_CALLS = {
    "matches": lambda: timed_match(compiled_pattern(SLOW).fullmatch, BAD),
    "pattern": lambda: validates(build_validator({"pattern": SLOW}), BAD),
    "patternProperties": lambda: validates(
        build_validator({"patternProperties": {SLOW: False}}), {BAD: 1}
    ),
    "additionalProperties": lambda: validates(
        build_validator({"patternProperties": {SLOW: {}}, "additionalProperties": False}), {BAD: 1}
    ),
    "unevaluatedProperties": lambda: validates(
        build_validator(
            {"allOf": [{"patternProperties": {SLOW: {}}}], "unevaluatedProperties": False}
        ),
        {BAD: 1},
    ),
    "a draft of 2019": lambda: validates(
        build_validator(
            {
                "$schema": "https://json-schema.org/draft/2019-09/schema",
                "patternProperties": {SLOW: {}},
                "unevaluatedProperties": False,
            }
        ),
        {BAD: 1},
    ),
    "a terminal": lambda: parses_whole(build_parser("start: A\nA: /(?:(?:a|aa)+b?)+d/"), BAD),
    "a grammar": lambda: parses_whole(build_parser(AMBIGUOUS), "a" * 400),
}


@pytest.mark.parametrize("call", SLOW_CALLS.values(), ids=SLOW_CALLS)
def test_work_without_end_is_an_error_with_its_bound(short, call):
    with within(8.0), pytest.raises(BuiltinError, match="CPU time") as raised:
        call()
    assert raised.value.code == "FK414"
    assert raised.value.help


@pytest.mark.parametrize("call", SLOW_CALLS.values(), ids=SLOW_CALLS)
def test_a_deadline_ends_it_sooner(call):
    with within(3.0), pytest.raises(DeadlinePassed), until(Deadline(0.15)):
        call()


def test_a_deadline_ends_a_text_that_llguidance_follows():
    deep = 'start: start start start | start start | "a"\n'
    with within(4.0), pytest.raises(DeadlinePassed), until(Deadline(0.3)):
        schemas._allowed(schemas.GrammarText(deep), "a" * 380)


def test_a_deadline_is_seen_in_other_threads_too():
    ended = []

    def run():
        try:
            with until(Deadline(0.15)):
                SLOW_CALLS["pattern"]()
        except DeadlinePassed:
            ended.append(True)

    other = threading.Thread(target=run)
    with within(4.0):
        other.start()
        other.join(10)
    assert ended == [True]


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_a_reference_is_followed_once_for_each_value(keyword):
    with within(5.0):
        validator = build_validator(doubled(keyword))
        assert validates(validator, 1) == (keyword != "oneOf")
        assert not validates(validator, "1")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {
            "$defs": {"a": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/a"}]}},
            "$ref": "#/$defs/a",
        },
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_reference_that_leads_back_to_itself_is_a_mistake_of_the_schema(schema):
    with pytest.raises(ValueError, match="leads back to itself"):
        validates(build_validator(schema), "x")


def test_unique_items_compares_as_json_and_not_each_with_each():
    many = [{"a": i, "b": [i, True]} for i in range(20_000)]
    validator = build_validator({"uniqueItems": True})
    with within(10.0):
        assert validates(validator, many)
    assert not validates(validator, [*many, {"b": [7.0, True], "a": 7}])
    assert validates(validator, [0, False, "0", [0], {"0": 0}, None])
    assert validates(build_validator({"uniqueItems": False}), [1, 1])


def test_what_is_fast_is_not_refused_on_a_busy_machine(short):
    """Other threads use CPU time too, of which a pattern's bound must not be made up."""
    stop = []

    def busy():
        while not stop:
            sum(range(1000))

    others = [threading.Thread(target=busy) for _ in range(3)]
    for other in others:
        other.start()
    try:
        for _ in range(3):
            assert timed_match(compiled_pattern(r"(?:a|b)*d").fullmatch, "ab" * 20_000) is None
            assert validates(
                build_validator({"properties": {f"p{i}": {} for i in range(300)}}), {"p1": 1}
            )
    finally:
        stop.append(True)
        for other in others:
            other.join()


def test_a_schema_of_many_properties_is_read():
    names = [f"p{i}" for i in range(1000)]
    text = json.dumps(
        {
            "type": "object",
            "properties": {n: {"type": "integer"} for n in names},
            "required": names[:9],
        }
    )
    assert schemas.schema_mistake(text) == ""


LEAVES = st.sampled_from(
    [
        {"type": "integer"},
        {"type": "string"},
        {"minimum": 2},
        {"pattern": "a+b?$"},
        {"enum": ["a", 1, True]},
        True,
        False,
    ]
)
NAMES = st.sampled_from(["a", "b", "ab", "c1"])


def wider(inner):
    some = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        st.dictionaries(NAMES, inner, max_size=2).map(lambda d: {"properties": d}),
        st.tuples(
            st.dictionaries(st.sampled_from(["^a", "[0-9]", "b$"]), inner, min_size=1, max_size=2),
            inner,
        ).map(lambda p: {"patternProperties": p[0], "additionalProperties": p[1]}),
        st.tuples(some, inner).map(lambda p: {"allOf": p[0], "unevaluatedProperties": p[1]}),
        st.tuples(some, inner).map(lambda p: {"anyOf": p[0], "unevaluatedProperties": p[1]}),
        st.tuples(inner, inner, inner).map(lambda p: {"if": p[0], "then": p[1], "else": p[2]}),
        some.map(lambda p: {"oneOf": [*p, {"$ref": "#/$defs/shared"}]}),
        inner.map(lambda p: {"items": p, "uniqueItems": True}),
        st.just({"$ref": "#/$defs/shared"}),
    )


SCHEMAS = st.recursive(LEAVES, wider, max_leaves=6)
VALUES = st.recursive(
    st.sampled_from([1, 1.0, 2, True, "a", "ab", "xb", None]),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(schema=SCHEMAS, shared=LEAVES, value=VALUES)
def test_verdicts_are_those_of_the_library(schema, shared, value):
    whole = {"$defs": {"shared": shared}, "allOf": [schema]}
    assert validates(build_validator(whole), value) == jsonschema.Draft202012Validator(
        whole
    ).is_valid(value)


@settings(max_examples=60, deadline=None)
@given(text=st.text("ab ", max_size=6))
def test_a_grammar_derives_what_the_library_derives(text):
    import lark

    grammar = 'start: (A | B)+\nA: "a"i\nB: /b+(?=a|$)/\n%ignore " "'
    try:
        lark.Lark(grammar, parser="earley", lexer="dynamic").parse(text)
        expected = True
    except lark.exceptions.LarkError:
        expected = False
    assert parses_whole(build_parser(grammar), text) == expected


@pytest.mark.parametrize(
    ("grammar", "text"),
    [('start: A* " "?\nA: "a"\n%ignore " "', "a "), ('start: "a"*\n%ignore "a"\n', "aa")],
)
def test_a_text_is_derived_also_where_the_library_cannot_choose_a_derivation(grammar, text):
    """Some releases raise RuntimeError where a text is ignored, or a terminal."""
    assert parses_whole(build_parser(grammar), text)
    assert not parses_whole(build_parser(grammar), text + "b")


@pytest.mark.parametrize(
    ("step", "multiples", "others"),
    [
        (0.01, (19.99, 0.3, 1, 1e300, -4.35), (1.005, 0.001)),
        (0.1, (0.3, 0.7, 1.1), (0.25,)),
        (3, (9, 9.0, 0, 10**40 * 3), (10, 9.5, 10**40)),
        (1e-300, (1, 2e-300), (1.5e-300,)),
    ],
)
def test_multiples_are_those_of_the_decimals_that_are_written(step, multiples, others):
    validator = build_validator({"multipleOf": step})
    assert all(validates(validator, x) for x in (*multiples, "x", True))
    assert not any(validates(validator, x) for x in others)


PROGRAM = """
program main(n: int = 40) -> bool:
    s ~ categorical(["\\"" + "a" * n + "\\"", "\\"" + "a" * n + "b\\""], [0.5, 0.5])
    return valid_json(s, schema='{"type": "string", "pattern": "PATTERN"}')

infer exact()
"""


def test_a_program_with_a_slow_schema_gets_its_line_and_the_pattern(monkeypatch):
    monkeypatch.setattr(patterns, "MATCH_SECONDS", 0.25)
    program = fkdsl.parse(PROGRAM.replace("PATTERN", "^((a|aa)+c?)+$"))
    with within(8.0), pytest.raises(fkdsl.ProgramError) as raised:
        program.run()
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.code == "FK414"
    assert diagnostic.span.line == 4
    assert "(a|aa)+c?" in diagnostic.message


def test_a_pattern_that_only_looks_slow_has_its_answer():
    result = fkdsl.parse(PROGRAM.replace("PATTERN", "^(a+)+$")).run()
    assert result.probability(True) == result.probability(False) == 0.5


def test_texts_that_are_fitted_or_derived_are_as_before():
    assert fits_schema('"aab"', "aab", JsonText('{"pattern": "^a+b$"}'))
    assert not fits_schema('"aac"', "aac", JsonText('{"pattern": "^a+b$"}'))
    assert derives('start: "a"+', "aaa")
    assert not derives('start: "a"+', "b")


def test_a_grammar_of_exponentially_many_derivations_is_decided():
    """Lark's tree took 2^25 steps in a walk that matches no terminal, and so past any deadline."""
    rules = "".join(f"t{i}: t{i + 1} t{i + 1}\n" for i in range(25))
    parser = build_parser(f'start: t0\n{rules}t25: "a"?\n')
    began = time.process_time()
    assert parses_whole(parser, "aaa")
    assert not parses_whole(parser, "ab")
    assert time.process_time() - began < 5.0
