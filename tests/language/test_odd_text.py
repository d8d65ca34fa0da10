"""Odd characters, numbers and dead code: each is read as Python reads it, or is the program's
mistake, never ours."""

import pytest

import fkdsl
from fkdsl.base.errors import ProgramError
from fkdsl.base.spans import Source
from fkdsl.language.syntax.parser import parse

DRAW = 'program p() -> str:\n    lm = prompt("")\n    t ~ lm\n    return lm.text\n'


def codes(text):
    try:
        fkdsl.parse(text)
    except ProgramError as error:
        return [d.code for d in error.diagnostics]
    return []


@pytest.mark.parametrize("digit", ["²", "٣", "߁", "①", "½", "४", "Ⅷ"])
@pytest.mark.parametrize(
    "form", [".{}", "{}", "1{}", "0.{}", "1e{}", "x{}", "1_{}", "-{}", "f'{{{}}}'"]
)
def test_digits_of_other_scripts_are_no_numbers(digit, form):
    text = "program p() -> int:\n    x = " + form.format(digit) + "\n    return 1\n"
    if f"a{digit}".isidentifier() and form == "x{}":
        parse(Source("a.fk", text))
        return
    with pytest.raises(ProgramError) as error:
        fkdsl.parse(text)
    assert {d.code for d in error.value.diagnostics} <= {
        "FK104",
        "FK110",
        "FK120",
        "FK112",
        "FK203",
    }


def test_a_name_is_the_same_however_its_letters_are_written():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    program = fkdsl.parse(f"program p() -> int:\n    {composed} = 3\n    return {decomposed}\n")
    assert program.run("exact").posterior[0].value == 3


def test_a_name_that_reads_as_a_reserved_word_is_none():
    assert codes("program p() -> int:\n    \U0001d422\U0001d41f = 3\n    return 1\n") == ["FK104"]


@pytest.mark.parametrize(
    "number",
    ["1" + "0" * 398, "1e400", "-1e400", "1" * 399 + "/3", "1/0", "0/0", "1e-400", "3/1e-320"],
)
def test_a_probability_that_is_no_float_is_refused(number):
    table = f'model m = table:\n    "" -> "a": {number}, "b": -1e400, "c": 1{"0" * 398}\n\n'
    assert set(codes(table + DRAW)) <= {"FK321", "FK320", "FK110"}
    assert codes(table + DRAW)


def test_a_literal_beyond_floats_is_refused():
    assert codes("program p() -> float:\n    return 1e400\n") == ["FK110"]
    assert codes("program p() -> int:\n    return " + "9" * 399 + "\n") == []


HALF = [
    'program p() -> str:\n    return "\\ud800"\n',
    'program p() -> str:\n    return "\\ud83d\\ude00"\n',
    'program p() -> str:\n    return f"{1}\\udfff"\n',
    'model m = table:\n    "" -> "\\ud800": 1.0\n\n' + DRAW,
    'model m = table:\n    "" -> "a": 1.0\n    "\\ud800" -> "a": 1.0\n\n' + DRAW,
    'program p(s: str = "\\ud800") -> str:\n    return s\n',
]


@pytest.mark.parametrize("text", HALF)
def test_half_a_character_is_no_escape(text):
    assert set(codes(text)) == {"FK111"}


def test_a_source_with_half_a_character_is_no_text():
    assert codes(f'program p() -> str:\n    return "{chr(0xD800)}"\n') == ["FK107"]


def test_half_a_character_in_json_becomes_the_replacement_character():
    program = fkdsl.parse(
        'program p() -> str:\n    x = parse_json("{\\"a\\": \\"\\\\ud800!\\"}")\n    return '
        'x["a"]\n'
    )
    assert program.run("exact").posterior[0].value == "\ufffd!"


DEAD = [
    '    return 1\n    condition u == "c"\n    u ~ lm\n',
    '    if t == "a":\n        return 1\n    else:\n        return 2\n    condition v > 1\n    v ~ '
    "uniform_int(0, 9)\n",
    "    while true:\n        return 1\n    x = y\n    y = 3\n",
    "    for i in range(3):\n        return 1\n        condition w\n        w ~ bernoulli(0.5)\n   "
    " return 2\n",
    "    for i in range(3):\n        break\n        factor z\n        z = 1.0\n    return 2\n",
]


@pytest.mark.parametrize("body", DEAD)
def test_what_is_never_reached_has_no_part_in_the_measure(body):
    table = 'model m = table:\n    "" -> "a": 0.5, "b": 0.5\n\n'
    program = fkdsl.parse(table + 'program p() -> int:\n    lm = prompt("")\n    t ~ lm\n' + body)
    for chosen in (program, program.without()):
        assert abs(chosen.run("exact").log_z) <= 1e-12
        assert abs(chosen.run("smc", particles=4).log_z) <= 1e-12
