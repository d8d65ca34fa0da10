"""One key for values: equal if and only if no program can tell two values apart, wherever values
are compared."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.api import parse
from fkdsl.api.outcomes import TestSettings
from fkdsl.api.test_blocks import run_test
from fkdsl.base.value_keys import state_key, value_key
from fkdsl.inference.result import Answer, merged_answers, total_variation
from fkdsl.machine.value_json import read_value, same, write_value
from fkdsl.values.distributions import Discrete, Uniform
from fkdsl.values.values import ContextRef, Record, Token

SCALARS = (0, 1, False, True, 0.0, -0.0, 1.0, math.nan, math.inf, "", "1", "true", None)
TOKENS = (
    Token(1, "a", False),
    Token(2, "a", False),
    Token(1, "b", False),
    Token(3, "", True),
    Token(4, "", True),
)
VALUES = st.recursive(
    st.sampled_from(SCALARS + TOKENS),
    lambda inner: (
        st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2).map(Record)
        | inner.map(lambda v: Discrete((v,), (1.0,)))
    ),
    max_leaves=3,
)


def alike(a, b, token_ids):
    """The same question without keys, by going through both values side by side."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Token):
        return (
            a.end == b.end
            and (a.end or a.text == b.text)
            and (not token_ids or (a.id, a.text) == (b.id, b.text))
        )
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    if isinstance(a, Record):
        return list(a) == list(b) and all(alike(a[k], b[k], token_ids) for k in a)
    if isinstance(a, Discrete):
        return alike(a.values, b.values, token_ids)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(alike(x, y, token_ids) for x, y in zip(a, b, strict=True))
    return a == b


@given(VALUES, VALUES)
def test_keys_are_equal_if_and_only_if_the_values_are_alike(a, b):
    for key, token_ids in ((value_key, False), (state_key, True)):
        assert (key(a) == key(b)) == alike(a, b, token_ids)
        assert key(a) == key(a)
        assert key(a) != key(b) or hash(key(a)) == hash(key(b))


def test_every_two_scalars_have_keys_of_their_own_alone_and_inside():
    for wrap in (
        lambda v: v,
        lambda v: (v,),
        lambda v: Record({"a": v}),
        lambda v: Discrete((v,), (1.0,)),
    ):
        assert len({value_key(wrap(v)) for v in SCALARS}) == len(SCALARS)
    shapes = [
        (),
        ((),),
        Record({}),
        (Record({}),),
        "",
        ("",),
        (1, 2),
        ((1, 2),),
        ((1,), 2),
        (("a", 1),),
    ]
    shapes += [Record({"a": 1}), Record({"a": (1,)}), (Record({"a": 1}),)]
    assert len(set(map(value_key, shapes))) == len(shapes)
    assert value_key(Uniform(0.0, 1.0)) != value_key(Uniform(-0.0, 1.0))
    assert value_key(ContextRef(1)) != value_key(ContextRef(2)) != value_key(2)


@given(VALUES)
def test_a_value_read_from_a_trace_has_the_key_that_it_had(v):
    again = read_value(write_value(v))
    assert state_key(again) == state_key(v)
    assert same(again, v)


def test_the_lists_dicts_and_numbers_of_python_have_the_keys_of_the_values_that_they_say():
    assert value_key([1, (2.0, {"a": [True]})]) == value_key((1, (2.0, Record({"a": (True,)}))))
    assert value_key(np.float64(-0.0)) == value_key(-0.0)
    assert value_key(np.bool_(True)) == value_key(True)
    assert value_key(np.int64(1)) == value_key(1)


def test_answers_and_their_probabilities_are_by_key():
    answers = merged_answers(
        [(True, 0.25), (1, 0.25), (1.0, 0.25), (math.nan, 0.125), (math.nan, 0.125)]
    )
    assert [(str(a.value), a.probability) for a in answers] == [
        ("True", 0.25), ("1", 0.25), ("1.0", 0.25), ("nan", 0.25)
    ]  # fmt: skip
    assert (
        total_variation([Answer(Record({"a": 1}), 1.0)], [Answer(Record({"a": True}), 1.0)]) == 1.0
    )


def test_a_test_block_counts_twins_apart_and_its_methods_agree():
    program = parse(with_text(RETURNED, TWINS[5]) + TEST_BLOCK)
    (test,) = program.checked.tests
    ran = run_test(program, test, TestSettings(runs=20))
    assert (ran.outcome, ran.by) == ("passed", "exact")
    assert len(ran.methods) > 1


TWINS = [
    "1 | true",
    "1 | 1.0",
    "0 | false",
    "0.0 | -0.0",
    "[1] | [true]",
    '{"a": 1} | {"a": true}',
    '{"a": 1} | {"a": 1.0}',
    '{"a": [0.0]} | {"a": [-0.0]}',
    '{"a": {"b": 0}} | {"a": {"b": false}}',
    '{"a": 1, "b": 2} | {"b": 2, "a": 1}',
]
"""Pairs of values that Python's == takes for one, and that a program can tell apart (by `str`)."""
RETURNED = """
program p() -> record:
    x ~ bernoulli(0.25)
    v = parse_json(r'A')
    w = parse_json(r'B')
    return {"v": v} if x else {"v": w}
"""
GONE_ON = """
program p() -> str:
    x ~ bernoulli(0.25)
    v = parse_json(r'A')
    if not x:
        v = parse_json(r'B')
    x = false
    again ~ bernoulli(0.5)
    return str(v) if again else str([v])
"""
HELD = """
program p() -> str:
    x ~ bernoulli(0.25)
    d = categorical(parse_json(r'[A]'), [1.0])
    if not x:
        d = categorical(parse_json(r'[B]'), [1.0])
    x = false
    again ~ bernoulli(0.5)
    v ~ d
    return str(v) if again else str([v])
"""


TEST_BLOCK = """
test "both are there":
    expect P(str(value) == '{"v": {"a": true}}') == 0.75
    expect len(support) == 2
"""


def with_text(program, pair):
    a, b = pair.split(" | ")
    return program.replace("A", a).replace("B", b)


def with_twins(program, pair):
    return parse(with_text(program, pair))


@pytest.mark.parametrize("pair", TWINS)
def test_exact_keeps_twins_apart(pair):
    masses = [0.75, 0.25]
    assert [a.probability for a in with_twins(RETURNED, pair).exact().posterior] == pytest.approx(
        masses
    )
    for program in (GONE_ON, HELD):
        found = sorted(a.probability for a in with_twins(program, pair).exact().posterior)
        assert found == pytest.approx([0.125, 0.125, 0.375, 0.375])


@pytest.mark.parametrize("method", ["smc", "steer", "importance", "beam"])
@pytest.mark.parametrize("program", [RETURNED, GONE_ON, HELD])
def test_every_method_keeps_twins_apart(method, program):
    options = {"width": 8} if method == "beam" else {"particles": 32}
    for pair in TWINS[::3]:
        found = with_twins(program, pair).run(method=method, seed=1, **options).posterior
        assert len(found) == (2 if program is RETURNED else 4)


TWO_MODELS = """
model a = table:
    "" -> "x": 0.5, "y": 0.5
model b = table:
    "" -> "y": 0.5, "z": 0.5

program p() -> str:
    which ~ bernoulli(0.5)
    left = prompt("", model=a)
    right = prompt("", model=b)
    t ~ left
    if which:
        t = EOS
        u ~ right
        t = u
    which = false
    left = prompt("", model=a)
    right = prompt("", model=b)
    u = EOS
    coin ~ bernoulli(0.5)
    return str(t) + str(coin)
"""


def test_tokens_of_two_models_with_one_id_and_two_texts_are_two():
    found = {a.value: a.probability for a in parse(TWO_MODELS).exact().posterior}
    once = {"x": 0.25, "y": 0.25 + 0.25, "z": 0.25}
    assert found == pytest.approx(
        {text + coin: p / 2 for text, p in once.items() for coin in ("true", "false")}
    )
