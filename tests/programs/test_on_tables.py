"""Every program of programs/ on a small table model, exactly, against figures worked out by
hand."""

import ast
import importlib.util
import math
from pathlib import Path

import pytest

import fkdsl
from fkdsl.models.table import TableModel

PERSON = '{"name": "Ada Byron", "work": "poet", "born": '
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
    # Lives of 37, 62, 135, 160, -115 and -90 years: only those of 1852 count.
    "person_json": (
        {
            "": {PERSON: 0.5, "Ada": 0.5},
            '"born": ': {"1815": 0.6, "1790": 0.4},
            "1815": {', "died": ': 1.0},
            "1790": {', "died": ': 1.0},
            '"died": ': {"1852": 0.7, "1950": 0.2, "1700": 0.1},
            "1852": {"}": 1.0},
            "1950": {"}": 1.0},
            "1700": {"}": 1.0},
            "}": {"\n": 1.0},
        },
        {},
        0.5 * 0.7,
        {PERSON + '1815, "died": 1852}': 0.6, PERSON + '1790, "died": 1852}': 0.4},
    ),
    # A column that no table has, and columns of the other table.
    "sql": (
        {
            "": {"SELECT ": 1.0},
            "SELECT ": {"name": 0.5, "title": 0.3, "size": 0.2},
            "name": {" FROM ": 1.0},
            "title": {" FROM ": 1.0},
            "size": {" FROM ": 1.0},
            " FROM ": {"customers": 0.6, "books": 0.4},
            "customers": {"\n": 1.0},
            "books": {"\n": 1.0},
        },
        {},
        0.5 * 0.6 + 0.3 * 0.4,
        {"SELECT name FROM customers": 0.3 / 0.42, "SELECT title FROM books": 0.12 / 0.42},
    ),
    "arithmetic": (
        {
            "": {"1": 0.5, "2": 0.3, "(1+2)": 0.2},
            "1": {"+": 0.5, "\n": 0.5},
            "2": {"+": 0.5, "\n": 0.5},
            ")": {"*": 0.6, "\n": 0.4},
            "+": {"1": 0.7, "2": 0.3},
            "*": {"1": 0.7, "2": 0.3},
            "+1": {"\n": 1.0},
            "+2": {"\n": 1.0},
            "*1": {"\n": 1.0},
            "*2": {"\n": 1.0},
        },
        {"target": 3},
        0.075 + 0.105 + 0.08 + 0.084,
        {
            "1+2": 0.075 / 0.344,
            "2+1": 0.105 / 0.344,
            "(1+2)": 0.08 / 0.344,
            "(1+2)*1": 0.084 / 0.344,
        },
    ),
    # bob and ada.king are not of the name; "lopez>" is no address.
    "email": (
        {
            "": {"ada.": 0.4, "lopez": 0.3, "bob": 0.3},
            "ada.": {"lopez": 0.6, "king": 0.4},
            "lopez": {"@a.com": 0.9, ">": 0.1},
            "bob": {"@a.com": 1.0},
            "king": {"@a.com": 1.0},
            "@a.com": {">": 1.0},
        },
        {},
        0.216 + 0.27,
        {"ada.lopez@a.com": 0.216 / 0.486, "lopez@a.com": 0.27 / 0.486},
    ),
    # Two names in a row are no expression, and neither is an open bracket.
    "python_expression": (
        {
            "": {"x": 0.5, "(": 0.3, "1 2": 0.2},
            "x": {"\n": 0.6, " x": 0.4},
            " x": {"\n": 1.0},
            "(": {"x": 1.0},
            "(x": {")": 0.9, "\n": 0.1},
            ")": {"\n": 1.0},
            "1 2": {"\n": 1.0},
        },
        {},
        0.5 * 0.6 + 0.3 * 0.9,
        {"x": 0.3 / 0.57, "(x)": 0.27 / 0.57},
    ),
    # No knight goes to c4, no pawn onto another one, and the bishop is in the king's way.
    "chess_move": (
        {
            "": {"Nc3": 0.3, "Bb5": 0.25, "Nc4": 0.2, "e5": 0.15, "O-O": 0.1},
            **{move: {"\n": 1.0} for move in ("Nc3", "Bb5", "Nc4", "e5", "O-O")},
        },
        {},
        0.3 + 0.25,
        {"Nc3": 0.3 / 0.55, "Bb5": 0.25 / 0.55},
    ),
    # 2023 has no 29 February.
    "iso_date": (
        {
            "": {"2023-": 0.6, "2024-": 0.4},
            "2023-": {"02-": 1.0},
            "2024-": {"02-": 1.0},
            "02-": {"29": 0.5, "28": 0.3, "30": 0.2},
            **{day: {"\n": 1.0} for day in ("28", "29", "30")},
        },
        {},
        0.6 * 0.3 + 0.4 * 0.8,
        {"2023-02-28": 0.36, "2024-02-28": 0.24, "2024-02-29": 0.4},
    ),
    # Jonas built the lighthouse says one note, in fog says another: half of either's mass.
    "rag_answer": (
        {
            "": {".": 1.0},
            "Answer:": {" Jonas": 0.5, " In": 0.5},
            " In": {" fog": 1.0},
        },
        {"k": 2},
        0.5,
        {"Oskar": 0.0},
    ),
    "hidden_state": (None, {}, 0.05581265, {}),
    "two_bits": (None, {}, 1.0, {"00": 0.36, "01": 0.04, "10": 0.3, "11": 0.3}),
}


def load(name):
    return fkdsl.load(f"programs/{name}.fk", allow_extern=name == "python_expression")


SEEING = {"caption", "price_tag"}
"""Programs whose model sees, which no table does: tests/programs/test_on_tiny_vision.py."""


def test_every_program_has_a_golden_check():
    assert {p.stem for p in Path("programs").glob("*.fk")} == set(GOLDEN) | SEEING


@pytest.mark.parametrize("name", GOLDEN)
def test_exact_on_a_table(name):
    rows, parameters, z, posterior = GOLDEN[name]
    model = TableModel("golden", rows) if rows else None
    result = load(name)(**parameters).exact(model=model)
    assert abs(math.exp(result.log_z) - z) <= 1e-12
    for value, p in posterior.items():
        assert abs(result.probability(value) - p) <= 1e-12
    assert abs(sum(a.probability for a in result.posterior) - 1.0) <= 1e-12


@pytest.mark.parametrize("name", GOLDEN)
def test_sampling_agrees_on_a_table(name):
    """The mean of Z_hat over twelve runs, within six standard errors; and these are small enough to
    tell."""
    rows, parameters, z, _ = GOLDEN[name]
    model = TableModel("golden", rows) if rows else None
    program = load(name)(**parameters)
    estimates = [
        math.exp(program.run("smc", particles=24, model=model, seed=s).log_z) for s in range(12)
    ]
    mean = sum(estimates) / len(estimates)
    spread = math.sqrt(
        sum((e - mean) ** 2 for e in estimates) / (len(estimates) - 1) / len(estimates)
    )
    assert abs(mean - z) <= 6 * spread + 1e-9
    assert spread <= 0.25 * z


def test_a_program_with_python_in_it_is_refused_unless_allowed():
    with pytest.raises(fkdsl.CallError, match=r"python_syntax\.py"):
        fkdsl.load("programs/python_expression.fk").exact(
            model=TableModel("golden", {"": {"x": 1.0}})
        )


def test_the_values_of_expressions_are_those_of_python():
    expressions = [
        "2*(3-5)*(1-4)",
        "7-(2-9)*3-(8)",
        "(1-3)*(2-6)-4",
        "((2+3)*4-6)*2",
        "9-8-7",
        "(4-6)-(5-9)*2",
    ]
    rows = {"": dict.fromkeys(expressions, 1 / 6), **{e: {"\n": 1.0} for e in expressions}}
    program = load("arithmetic")
    for e in expressions[::2]:
        result = program(target=eval(e)).exact(model=TableModel("expressions", rows))
        assert [a.value for a in result.posterior] == [
            other for other in expressions if eval(other) == eval(e)
        ]


def test_the_possible_moves_of_the_position_are_the_27_that_chess_has():
    squares = [f + r for f in "abcdefgh" for r in "12345678"]
    kinds = ["", *"NBRQK", *(p + "x" for p in "NBRQKabcdefgh")]
    moves = [kind + square for kind in kinds for square in squares]
    rows = {"": dict.fromkeys([*moves, "O-O"], 1.0), **{s: {"\n": 1.0} for s in [*squares, "O-O"]}}
    result = load("chess_move").exact(model=TableModel("moves", rows))
    pawns = "a3 a4 b3 b4 c3 c4 d3 d4 g3 g4 h3 h4"
    pieces = "Na3 Nc3 Nd4 Nxe5 Ng5 Nh4 Ng1 Be2 Bd3 Bc4 Bb5 Ba6 Qe2 Ke2 Rg1"
    assert {a.value for a in result.posterior} == {*pawns.split(), *pieces.split()}


EXPRESSIONS = """0x1f + 1e5|a != b|a if b else c|lambda x: x|f'{x!r:>{w}}'|x not in y|{**a, **b}
a[1:2, ...]|(yield)|not x is y|rb'x' b"y"|(x := 3)|f(*a, **b)|1_000.5j|a @ b // c
[x async for x in y if x]|'a "b" c'""".replace("\n", "|").split("|")


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_no_beginning_of_a_python_expression_is_refused(text):
    compile(text, "", "eval", ast.PyCF_ONLY_AST)
    spec = importlib.util.spec_from_file_location("python_syntax", "programs/python_syntax.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert all(module.may_become_python(text[:i]) for i in range(len(text) + 1))
    assert not any(
        module.may_become_python(s) for s in ("1 2", ")", "x) + (y", "a..", "x +* y", "if x", "1x ")
    )
