"""In which programs a pilot may end before their text does."""

import pytest

import fkdsl
from fkdsl.api.lookahead import constrains_one_text, constrains_texts

DRAWS = {
    "one text": ("", "s ~ text(lm, max_tokens=8)\n    condition len(words(s)) == 2", True),
    "one call": (
        "def line(lm: context) -> str:\n    s ~ text(lm, max_tokens=8)\n"
        "    condition len(words(s)) == 2\n    return s\n",
        "s ~ line(lm)",
        True,
    ),
    "a loop of tokens": (
        "",
        "for i in range(8):\n        t ~ lm\n"
        "        condition all(letters(w) <= 3 for w in words(lm.text))",
        True,
    ),
    "two texts": (
        "",
        "s ~ text(lm, max_tokens=8)\n    condition len(words(s)) == 2\n"
        "    t ~ text(lm, max_tokens=8)\n    condition len(words(t)) == 3",
        False,
    ),
    "a loop of texts": (
        "",
        "for i in range(3):\n        s ~ text(lm, max_tokens=8)\n"
        "        condition len(words(s)) == 2",
        False,
    ),
    "two calls": (
        "def line(lm: context) -> str:\n    s ~ text(lm, max_tokens=8)\n"
        "    condition len(words(s)) == 2\n    return s\n",
        "s ~ line(lm)\n    t ~ line(lm)",
        False,
    ),
    "a function that calls itself": (
        "def line(lm: context, n: int) -> str:\n    s ~ text(lm, max_tokens=8)\n"
        "    condition len(words(s)) == 2\n    if n > 0:\n        t ~ line(lm, n - 1)\n"
        "        return t\n    return s\n",
        "s ~ line(lm, 2)",
        False,
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_pilot_may_end_early_where_no_loop_and_no_second_call_draws_another_text(name):
    functions, body, one = DRAWS[name]
    main = f'program p() -> str:\n    lm = prompt("")\n    {body}\n    return lm.text\n'
    called = fkdsl.parse(f'model "tiny"\n\n{functions}\n{main}')()
    assert constrains_texts(called)
    assert constrains_one_text(called) == one
