"""A value of a JSON text, whose type is known only when it is used, is given where a text is
needed: an error with its place, and never a mistake of fkdsl's own."""

import pytest

import fkdsl

CALLS = (
    'starts_with(v, "a")', 'ends_with(v, "a")', 'find(v, "a") == 1', 'count(v, "a") == 7',
    'lower(v) == "a"', 'upper(v) == "a"', 'strip(v) == "a"', 'split(v, "a") == []',
    'replace(v, "a", "b") == "a"', "words(v) == []", 'last_word(v) == "a"', 'lines(v) == ["-"]',
    'sentences(v) == ["-"]', "syllables(v) == 9", "valid_json(v)", 'join(["a"], v) == "b"',
    'edit_distance(v, "a") == 9', "letters(v) == 9", 'matches(v, "a")', "int(v) == 99",
)  # fmt: skip
VALUES = ("null", "true", "1", "1.5", '["a"]', "[[1]]", '{"a": 1}')


def outcome(program):
    """What the program returns, or the mistake that it ends in."""
    try:
        return str(program.exact().posterior[0].value)
    except fkdsl.ProgramError as error:
        return str(error)


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_text_is_said_in_words(call):
    program = fkdsl.parse(f"program p(s: str) -> bool:\n    v = parse_json(s)\n    return {call}\n")
    for value in VALUES:
        said = outcome(program(s=value))
        assert said == "False" or ("FK402" in said and ":3:12" in said)


def test_the_value_is_shown():
    text = 'program p(s: str) -> bool:\n    return starts_with(parse_json(s).a, "x")\n'
    with pytest.raises(fkdsl.ProgramError, match="none is no text"):
        fkdsl.parse(text)(s='{"a": null}').exact()
