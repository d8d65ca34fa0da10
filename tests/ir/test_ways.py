"""The ways behind a text, where there are many."""

import pytest

import fkdsl
from fkdsl.ir.effects import within

ENDLESS = """
program p() -> str:
    lm = prompt("", model="tiny")
    s ~ text(lm, max_tokens=4)
    while {test}:
        t ~ lm
        condition starts_with(s, "a")
    return s
"""


@pytest.mark.parametrize("test", ['contains(s, "x")', 'any(w == s for w in ["a", "b"])'])
def test_a_loop_whose_test_nothing_changes_is_followed_once(test):
    """Each round would nest what the next one asks: 90 seconds for 200 rounds."""
    functions = fkdsl.parse(ENDLESS.format(test=test)).ir().functions.values()
    assert sum(1 for f in functions for _ in within(f.body)) < 1000


GROWING = """
program p() -> str:
    lm = prompt("", model="tiny")
    s ~ text(lm, max_tokens=4)
    n = {first}
    while {test}:
        condition s != "x"
        n = n + {more}
    return s
"""


@pytest.mark.parametrize(
    ("first", "more"),
    [("0", "1"), ("len(s)", "n"), ("s", "n")],
)
def test_a_loop_whose_values_grow_is_left_in_time(first, more):
    text = GROWING.format(first=first, more=more, test="n < s" if first == "s" else "len(s) > n")
    functions = fkdsl.parse(text).ir().functions.values()
    assert sum(1 for f in functions for _ in within(f.body)) < 50_000
