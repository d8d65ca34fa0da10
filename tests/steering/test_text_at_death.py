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
