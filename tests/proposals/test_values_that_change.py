"""Conditions on values that change between a draw and the condition: guided draws look at what they
will be."""

import math

import pytest

import fkdsl
from fkdsl.ir import nodes as ir
from fkdsl.testing import assert_same_measure

TABLE = 'model m = table:\n    "" -> "a": 0.5, "b": 0.3, EOS: 0.2\n\n'
TAKEN = TABLE + "program main() -> str:\n    lm = prompt('')\n"
NUMBER = (
    TAKEN
    + "    n = 0\n    t ~ lm\n    n += 1\n    condition t == 'a' or n == 1\n    return lm.text\n"
)
STRICT = (
    TAKEN
    + "    n = 0\n    t ~ lm\n    n += 1\n    condition t != 'zz' and n > 0\n    return lm.text\n"
)
TEXT = TAKEN + (
    "    s = ''\n    t ~ lm\n    s += 'x'\n    condition t == 'a' or s == 'x'\n    return lm.text\n"
)
LIST = TAKEN + (
    "    xs = [0]\n    t ~ lm\n    xs += [1]\n    condition t == 'a' or len(xs) == 2\n"
    "    return lm.text\n"
)
LOOP = (
    TABLE + "def step(lm: context, n: int) -> int:\n    t ~ lm\n    n += 1\n"
    "    condition t != EOS and (t == 'a' or n < 3)\n    return n\n\n"
    "program main() -> str:\n    lm = prompt('')\n    n = 0\n"
    "    for i in range(3):\n        n ~ step(lm, n)\n    return lm.text\n"
)
AFTER_TEXT = TAKEN + (
    "    n = 0\n    s ~ text(lm, max_tokens=1)\n    n += 1\n"
    "    condition s == 'a' or n == 1\n    return s\n"
)
LATER_TEXT = TAKEN + (
    "    s ~ text(lm, max_tokens=1)\n    k ~ uniform_int(1, 2)\n    n = k\n"
    "    condition s == 'a' or n == 2\n    return s\n"
)
EXTENDED = TAKEN + (
    "    s ~ text(lm, max_tokens=1)\n    s += '!'\n    condition s != 'a' and s != 'b!'\n"
    "    return s\n"
)
CASES = [
    (NUMBER, {"a": 0.5, "b": 0.3, "": 0.2}),
    (STRICT, {"a": 0.5, "b": 0.3, "": 0.2}),
    (TEXT, {"a": 0.5, "b": 0.3, "": 0.2}),
    (LIST, {"a": 0.5, "b": 0.3, "": 0.2}),
    (LOOP, {"aaa": 0.125, "aba": 0.075, "baa": 0.075, "bba": 0.045}),
    (AFTER_TEXT, {"a": 0.5, "b": 0.3, "": 0.2}),
    (LATER_TEXT, {"a": 0.5, "b": 0.15, "": 0.1}),
    (EXTENDED, {"a!": 0.5, "!": 0.2}),
]


@pytest.mark.parametrize("off", [(), ("fuse",), ("automata", "early")])
@pytest.mark.parametrize(("text", "masses"), CASES)
def test_a_guided_draw_looks_at_values_as_the_condition_will_find_them(text, masses, off):
    program = fkdsl.parse(text)
    result = (program.without(*off) if off else program).exact()
    assert {
        a.value: pytest.approx(a.probability * math.exp(result.log_z), abs=1e-12)
        for a in result.posterior
    } == masses


DRAWN = TABLE + (
    "program main() -> str:\n    lm = prompt('')\n    keys = ['a', 'bb', 'ba']\n"
    "    i ~ uniform_int(0, 2)\n    k ~ categorical(keys, [0.5, 0.2, 0.3])\n"
    "    s ~ text(lm, max_tokens=3)\n    condition {}\n    return f'{{k}}{{i}}{{s}}'\n"
)


@pytest.mark.parametrize(
    "test",
    ["starts_with(s, k)", "contains(s, keys[i])", "len(s) >= i and s != k", "matches(s, k + 'a*')"],
)
def test_texts_are_guided_by_what_was_drawn_before_them(test):
    program = fkdsl.parse(DRAWN.format(test))
    assert_same_measure(program().feynman_kac(), program.without()().feynman_kac(), 1e-12)
    plans = [
        i.plan.completion
        for f in program.ir().functions.values()
        for i in f.body
        if isinstance(i, ir.Draw) and i.plan is not None
    ]
    assert len([plan for plan in plans if plan is not None]) == 1
