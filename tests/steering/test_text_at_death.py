"""What is told of a particle that died is its text, without the truth values drawn on the way."""

import pytest

import fkdsl
from fkdsl.base.errors import PopulationDied

PROGRAM = """\
model m = table:
    ""   -> " a": 1
    " a" -> "b": 0.5, " c": 0.5

program p() -> str:
    lm = prompt("")
    w ~ word(lm)
    v ~ word(lm)
    condition w == "never" or v == "never"
    return w
"""


def test_the_text_of_a_dead_particle_has_no_truth_values():
    for program in (fkdsl.parse(PROGRAM), fkdsl.parse(PROGRAM).without()):
        with pytest.raises(PopulationDied) as died:
            program.run(particles=4, seed=1)
        assert "true" not in str(died.value.report)
        assert "false" not in str(died.value.report)


def test_a_long_line_that_killed_is_quoted_in_part():
    """A schema in the program made reports of thousands of characters."""
    never = " or ".join(f'w == "{i}"' for i in range(100))
    program = fkdsl.parse(PROGRAM.replace('w == "never"', never))
    with pytest.raises(PopulationDied) as died:
        program.run(particles=4, seed=1, blame=True)
    assert all(len(fact) < 160 for fact in died.value.facts)
    assert any(fact.endswith("...") for fact in died.value.facts)
