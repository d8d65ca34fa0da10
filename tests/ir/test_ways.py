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
