"""Expectations taken apart, compared to rounding, and decided from intervals of their figures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.spans import Source
from fkdsl.language.check.intervals import bounds, decided
from fkdsl.language.compile import check_source
from fkdsl.language.expectations import expectations
from fkdsl.language.syntax.parser import parse_expression
from fkdsl.values.operators import agree, same_items


def expression(text):
    return parse_expression(Source("e", text), 0, len(text), [])


def test_a_figure_that_is_asked_for_twice_is_one():
    text = 'program p() -> str:\n    x ~ categorical(["a", "b"], [0.5, 0.5])\n    return x\n\n'
    text += 'test "t":\n    expect P(value == "a") > 0 and P(value == "a") < 1\n'
    text += '    expect E(len(value)) == P(value == "a")\n'
    checked = check_source(Source("t.fk", text))
    found = expectations(checked, checked.tests[0])
    assert [f.text for f in found.figures] == ['P(value == "a")', "E(len(value))"]
    assert [len(line.figures) for line in found.lines] == [1, 2]
    assert {"Z", "log_Z", "support"} <= set(found.lines[0].parameters)


def test_numbers_agree_to_rounding_and_other_values_exactly():
    assert agree(1.0, 1.0 + 1e-10)
    assert not agree(1.0, 1.0 + 1e-8)
    assert not agree(10**20, 10**20 + 1)
    assert agree(True, True)
    assert agree("a", "a")
    assert not agree("a", "b")
    assert not agree((1.0,), (1.0, 2.0))
    assert same_items((0.1 + 0.2, "a", "a"), ("a", 0.3, "a"))
    assert not same_items(("a", "a", "b"), ("a", "b", "b"))
    assert not same_items((), ("a",))


KNOWN = {"Z": (0.2, 0.4), "P": (0.5, 0.7), "one": (1.0, 1.0), "free": (-math.inf, math.inf)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Z < 0.5", True), ("Z < 0.3", None), ("Z > 0.5", False), ("Z == 0.5", False),
        ("Z == 0.3", None),
        ("one == 1", True),
        ("Z != 0.5", True), ("0.1 < Z < P", True), ("0.1 < P < Z", False), ("not Z > 0.5", True),
        ("P - Z > 0", True),
        ("P - Z > 0.2", None), ("abs(Z - P) < 0.6", True), ("Z / P < 1", True),
        ("1 / (Z - 0.3) > 0", None),
        ("log(Z) < 0 and exp(P) > 1", True), ("Z > 1 or P > 0.6", None), ("Z > 1 or P > 0.4", True),
        ("free > 0", None),
        ("Z > 1 and free > 0", False), ("f(Z) > 0", None), ("-Z < 0", True),
        ("Z * P <= 0.28000001", True),
    ],
)  # fmt: skip
def test_what_intervals_decide(text, found):
    assert decided(expression(text), KNOWN) is found


@given(
    st.recursive(
        st.sampled_from(["x", "y", "0.5", "-2", "3"]),
        lambda inner: (
            st.tuples(st.sampled_from("+-*/"), inner, inner).map(
                lambda t: f"({t[1]} {t[0]} {t[2]})"
            )
            | inner.map(lambda t: f"abs({t})")
        ),
        max_leaves=6,
    ),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_an_expression_lies_in_its_interval(text, a, b):
    """At any point of the figures' intervals, by Python's own arithmetic."""
    known = {"x": (-1.0, 2.0), "y": (0.25, 0.5)}
    low, high = bounds(expression(text), known)
    with np.errstate(all="ignore"):
        value = eval(
            text, {"x": np.float64(-1 + 3 * a), "y": np.float64(0.25 + 0.25 * b), "abs": abs}
        )
    if math.isfinite(value):
        assert (
            low - 1e-9 <= value <= high + 1e-9
            or math.isclose(value, low)
            or math.isclose(value, high)
        )
