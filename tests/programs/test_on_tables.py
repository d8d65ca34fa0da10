"""Every program of programs/ on a small table model, exactly, against figures worked out by hand."""

import math
from pathlib import Path

import pytest

import fkdsl
from fkdsl.models.table import TableModel

GOLDEN = {
    # One token of at most three letters: " sea" or the end.
    "short_words": (
        {"": {" sea": 0.5, " ocean": 0.3, None: 0.2}},
        {"max_letters": 3, "max_tokens": 1},
        0.7,
        {"sea": 0.5 / 0.7, "": 0.2 / 0.7},
    ),
    # Two tokens, neither with an e: half of the mass each time.
    "forbidden_letter": (
        {"": {"a": 0.2, "be": 0.5, "c": 0.3}},
        {"max_tokens": 2},
        0.25,
        {"aa": 0.04 / 0.25, "ac": 0.06 / 0.25, "ca": 0.06 / 0.25, "cc": 0.09 / 0.25},
    ),
    # Gaps of one token each, any of four; the pieces weigh 0.2, 0.1 and 0.1.
    "infilling": (
        {"": {" day": 0.6, " he": 0.2, " to another": 0.1, "!": 0.1}},
        {"longest": 1},
        0.002,
        {"Well, you see, every day he day to another day!": 0.6**3},
    ),
    # The squares of one law.
    "prompt_intersection": (
        {"": {" x": 0.5, " y": 0.3, None: 0.2}},
        {"max_tokens": 1},
        0.38,
        {"x": 0.25 / 0.38, "y": 0.09 / 0.38, "": 0.04 / 0.38},
    ),
    # One or two tokens that are no ".", then " house" and "."; the hope on the way is taken back.
    "last_word": (
        {"": {" house": 0.5, " barn": 0.3, ".": 0.2}},
        {"least": 1, "most": 2},
        0.5 * 0.2 * (0.8 + 0.64) / 2,
        {"In Vermont, in the winter, barn house.": 0.5 * 0.3 * 0.1 / 0.072},
    ),
    # Two colours in a row that differ.
    "rainbow": (
        {"": {" red": 0.5, " orange": 0.3, " yellow": 0.2}},
        {"n": 2},
        1 - 0.25 - 0.09 - 0.04,
        {("red", "orange"): 0.15 / 0.62, ("yellow", "orange"): 0.06 / 0.62},
    ),
    # Seventeen words of one syllable, none of them the end.
    "haiku": (
        {"": {" sea": 0.9, None: 0.1}},
        {},
        0.9**17,
        {"sea sea sea sea sea /\nsea sea sea sea sea sea sea /\nsea sea sea sea sea": 1.0},
    ),
    # The judge's Yes, renormalised against its No, weighs each reply.
    "judge": (
        {
            "": {" Fine.": 0.6, " No.": 0.4},
            "Reply: Fine.\n": {"Yes": 0.72, "No": 0.08, "Hm": 0.2},
            "Reply: No.\n": {"Yes": 0.1, "No": 0.4, "Hm": 0.5},
        },
        {"max_tokens": 1},
        0.6 * 0.9 + 0.4 * 0.2,
        {"Fine.": 0.54 / 0.62, "No.": 0.08 / 0.62},
    ),
    # The labels' probabilities, renormalised among themselves.
    "choice": (
        {"": {" positive": 0.5, " negative": 0.3, " neutral": 0.1, " well": 0.1}},
        {},
        1.0,
        {"positive": 5 / 9, "negative": 3 / 9, "neutral": 1 / 9},
    ),
    # Knocks make the door likely, KNOCKS are unknown to the table.
    "number": (
        {"": {" at the door": 0.1, " x": 0.9}, " knock": {" at the door": 0.3, " x": 0.7}},
        {},
        (1 - 0.6**7) * (0.7 * 0.3 + 0.3 * 0.1),
        {"1 times, softly": 0.4 * 0.21 / ((1 - 0.6**7) * 0.24)},
    ),
    "hidden_state": (None, {}, 0.05581265, {}),
    "two_bits": (None, {}, 1.0, {"00": 0.36, "01": 0.04, "10": 0.3, "11": 0.3}),
}


def test_every_program_has_a_golden_check():
    assert {p.stem for p in Path("programs").glob("*.fk")} == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_exact_on_a_table(name):
    rows, parameters, z, posterior = GOLDEN[name]
    model = TableModel("golden", rows) if rows else None
    result = fkdsl.load(f"programs/{name}.fk")(**parameters).exact(model=model)
    assert abs(math.exp(result.log_z) - z) <= 1e-12
    for value, p in posterior.items():
        assert abs(result.probability(value) - p) <= 1e-12
    assert abs(sum(a.probability for a in result.posterior) - 1.0) <= 1e-12


@pytest.mark.parametrize("name", GOLDEN)
def test_sampling_agrees_on_a_table(name):
    """The mean of Z_hat over thirty runs, within six standard errors; and these are small enough to tell."""
    rows, parameters, z, _ = GOLDEN[name]
    model = TableModel("golden", rows) if rows else None
    program = fkdsl.load(f"programs/{name}.fk")(**parameters)
    n = 100
    estimates = [math.exp(program.run("smc", particles=n, model=model, seed=s).log_z) for s in range(30)]
    mean = sum(estimates) / len(estimates)
    spread = math.sqrt(sum((e - mean) ** 2 for e in estimates) / (len(estimates) - 1) / len(estimates))
    assert abs(mean - z) <= 6 * spread + 1e-9
    assert spread <= 0.25 * z
