"""White space between the values of a JSON text is bounded, in the condition and in its masks."""

import json

import pytest

import fkdsl
from fkdsl.engine.constraints.languages import SPACES
from fkdsl.testing.laws import assert_same_masses, exact_measure

TABLE = """
model m = table:
    "" -> "[": 1
    "[" -> " ": 0.5, "1": 0.3, "  ": 0.2
    " " -> " ": 0.5, "1": 0.3, "]": 0.2
    "1" -> "]": 0.6, " ": 0.4
    "]" -> EOS: 1
"""
ANY, LIST = "", ', schema=\'{"type": "array"}\''


def program_of(options, tokens=5):
    return fkdsl.parse(
        f'{TABLE}\nprogram p() -> str:\n    lm = prompt("")\n'
        f"    s ~ text(lm, max_tokens={tokens})\n"
        f"    condition valid_json(s{options})\n    return s\n"
    )


def says(text, options):
    program = fkdsl.parse(
        f"program p() -> bool:\n    return valid_json({json.dumps(text)}{options})\n"
    )
    return program.exact().posterior[0].value


@pytest.mark.parametrize("schema", [ANY, LIST])
def test_a_text_with_more_white_space_in_a_row_is_not_valid(schema):
    for spaces in (0, 1, 3):
        for n in range(5):
            text = f"[{' ' * n}1{' ' * n}]"
            assert says(text, f"{schema}, spaces={spaces}") == (n <= spaces)
            assert says(f'["{" " * n}"]', f"{schema}, spaces={spaces}")
    for n, valid in ((SPACES, True), (SPACES + 1, False)):
        assert says(f"[{' ' * n}1]", schema) == valid


def test_indented_records_are_valid():
    record = {"name": "Ada", "of": [{"year": 1815, "in": ["London", "Oxford"]}]}
    for indent in (None, 1, 2, 4):
        assert says(json.dumps(record, indent=indent), "")


@pytest.mark.parametrize("spaces", [0, 1, 2])
@pytest.mark.parametrize("schema", [ANY, LIST, f"{LIST}, order=false"])
def test_the_measure_is_that_without_the_optimiser(schema, spaces):
    program = program_of(f"{schema}, spaces={spaces}")
    expected = exact_measure(program.without().feynman_kac())
    assert_same_masses(exact_measure(program.feynman_kac()), expected)
    texts = {key[-1] if isinstance(key, tuple) else key for key in expected}
    assert all(" " * (spaces + 1) not in text for text in texts)
    assert any(" " * spaces in text for text in texts)


@pytest.mark.parametrize("spaces", [-1, 100_000])
def test_a_bound_that_is_none_is_an_error(spaces):
    with pytest.raises(fkdsl.ProgramError, match="bound on white space"):
        program_of(f", spaces={spaces}").run(particles=2)
