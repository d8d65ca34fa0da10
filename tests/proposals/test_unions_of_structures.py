"""Schemas and grammars in an `or` guide the text, each by a mask of its own, and the measure is
that of the program as it is written."""

import re

import pytest

import fkdsl
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure

PROGRAM = r"""
model m = table:
    "" -> "1": 0.3, "2": 0.1, "\"a\"": 0.2, "\"": 0.1, "x": 0.15, "[": 0.05, "]": 0.05, EOS: 0.05

program p() -> str:
    lm = prompt("", model=m)
    s ~ text(lm, max_tokens=3)
    condition CONDITION
    return s
"""
NUMBER = r'valid_json(s, "{\"type\": \"integer\"}")'
LETTER = r'valid_json(s, "{\"enum\": [\"a\"]}")'
LIST = r'valid_json(s, "{\"type\": \"array\", \"uniqueItems\": true}")'
GRAMMAR = r'parses(s, "start: \"x\" \"1\"*\n")'


@pytest.mark.parametrize(
    ("condition", "guides"),
    [
        (f"{NUMBER} or {LETTER}", True),
        (f"{NUMBER} or {GRAMMAR}", True),
        (f'{GRAMMAR} or s == "22"', True),
        (f"({NUMBER} or {GRAMMAR}) and len(s) > 1", True),
        (f'({NUMBER} and len(s) < 3) or ({GRAMMAR} and not contains(s, "11"))', True),
        (f"({LIST} or {GRAMMAR}) and ({NUMBER} or {LIST})", True),
        (f"not ({NUMBER} or {GRAMMAR})", False),
        (f"{NUMBER} or not {GRAMMAR}", False),
    ],
)
def test_an_or_of_structures_guides_and_keeps_the_measure(condition, guides):
    program = fkdsl.parse(PROGRAM.replace("CONDITION", condition))
    assert_same_masses(*(exact_measure(p.feynman_kac()) for p in (program, program.without())))
    means = r"line 8  by an? (weaker )?automaton or (a )?grammar"
    assert (re.search(means, explain(program.ir())) is not None) == guides
