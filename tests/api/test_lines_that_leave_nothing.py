"""A population that dies by several conditions together: the report names them, and no others."""

import pytest

import fkdsl
from fkdsl.base.errors import PopulationDied

MODEL = (
    "model m = table:\n"
    '    "" -> "{": 0.2, "\\"": 0.2, "a": 0.1, ":": 0.1, "1": 0.1, "}": 0.1, " ": 0.1, EOS: 0.1\n\n'
)
SCHEMA = '{"properties": {"aaa": {"type": "integer"}}, "required": ["aaa"], "type": "object"}'
PROGRAM = (
    'program p(most: int = 7) -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=14)\n'
    f"    condition valid_json(s, schema='{SCHEMA}')\n"
    '    condition not contains(s, "::")\n'
    "    condition len(s) <= most\n    return s\n"
)
"""The shortest text of the schema has nine characters."""


def test_the_lines_that_together_leave_no_token_are_named_and_no_others() -> None:
    program = fkdsl.parse(MODEL + PROGRAM)
    with pytest.raises(PopulationDied) as died:
        program.run(method="smc", particles=8, seed=1)
    said = died.value.report
    assert "these lines together leave no token:" in said
    together = said.split("leave no token:\n")[1]
    assert "line 7: condition valid_json" in together
    assert "line 9: condition len(s) <= most" in together
    assert "line 8" not in together
    assert "loosen one of these lines" in said
    together = died.value.details["together"]
    assert [line["line"] for line in together["lines"]] == [7, 9]


def test_a_line_that_leaves_nothing_alone_is_no_set_of_lines() -> None:
    text = MODEL + PROGRAM.replace("len(s) <= most", 'matches(s, "a{20}")')
    with pytest.raises(PopulationDied) as died:
        fkdsl.parse(text).run(method="smc", particles=8, seed=1)
    assert "together leave no token" not in died.value.report
