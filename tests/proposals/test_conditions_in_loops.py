"""Conditions in a loop over a list, and pure functions with branches and loops, guide a text as
their `all(...)` would: the same measure as without, exactly, and every particle lives."""

import pytest

import fkdsl
from fkdsl.ir.effects import within
from fkdsl.testing.laws import assert_same_masses, exact_measure

TABLE = """
model m = table:
    "" -> "a": 0.3, "b": 0.2, " ": 0.2, "ab": 0.1, "A": 0.1, EOS: 0.1
    "a" -> "a": 0.1, "b": 0.4, " ": 0.3, EOS: 0.2
"""
PROGRAM = (
    TABLE
    + """
{functions}
program p(keys: list[str] = ["a", "b"], nil: list[str] = [], k: int = 2) -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=3)
{body}
    return s
"""
)
LOOPS = [
    "for w in keys:\n    condition contains(s, w)\ncondition len(s) <= 3",
    "for w in nil:\n    condition contains(s, w)\ncondition len(s) == 2",
    'for w in ["a", "b"]:\n    condition contains(s, w) and starts_with(s, "a")',
    "for w in words(s):\n    condition len(w) < k",
    'for w in words(s):\n    if starts_with(w, "a"):\n        condition len(w) > 1',
    'for c in s:\n    condition c in "ab"',
    'for i, w in enumerate(keys):\n    condition count(s, w) >= i\ncondition s != "b"',
    "for i in range(2):\n    condition contains(s, keys[i])",
    'for w in words(s):\n    for c in keys:\n        condition not starts_with(w, c) or w == "ab"',
    'for w in keys:\n    if w == "a":\n        continue\n    condition not contains(s, w)',
    'for w in keys:\n    if contains(s, w):\n        break\n    condition s == "A"',
    'for w in keys:\n    if s == w:\n        return "!"\n    condition len(s) > 1',
    "n = 0\nfor w in keys:\n    n = n + count(s, w)\n    condition n < 2\ncondition n == 1",
    'if s == "":\n    return "none"\nfor w in keys:\n    condition contains(s, w)',
    'for w in keys:\n    x ~ bernoulli(0.5)\n    condition contains(s, w) or x\ncondition s != "a"',
    'w = "b"\nfor w in nil:\n    condition s == w\ncondition contains(s, w)',
    'for w in keys:\n    t = s + w\n    condition contains(t, "ba")',
    'if contains(s, "b"):\n    condition false\ncondition len(s) == 2',
    'if s == "b" or s == "":\n    condition false\nelif s == "a":\n    condition false\nelse:\n'
    "    condition len(s) < 3",
    "for w in keys:\n    if contains(s, w):\n        condition false\ncondition len(s) < 3",
    "x ~ bernoulli(0.5)\nfor w in keys if x else nil:\n    condition contains(s, w)",
]
FUNCTIONS = {
    "branch": ("if len(s) < 2:\n    return false\nreturn contains(s, 'b')", True),
    "all of a list": (
        "for w in keys:\n    if not contains(s, w):\n        return false\nreturn true",
        True,
    ),
    "any of a list": (
        "for w in keys:\n    if s == w:\n        return true\nreturn len(s) == 2",
        True,
    ),
    "each word": (
        "for w in words(s):\n    if len(w) > 1:\n        return false\nreturn true",
        True,
    ),
    "else": (
        "if s == '':\n    return false\nelif s[0] == 'a':\n"
        "    return len(s) < 3\nelse:\n    return s == 'b'",
        True,
    ),
    "two loops": (
        "for w in words(s):\n    for c in keys:\n"
        "        if starts_with(w, c):\n            return false\n"
        "return s != ''",
        True,
    ),
    "skips": (
        "for w in keys:\n    if w == 'a':\n        continue\n"
        "    if contains(s, w):\n        return false\nreturn true",
        True,
    ),
    "assigns": ("t = lower(s)\nif t == s:\n    t = s + 'x'\nreturn starts_with(t, 'a')", True),
    "counts": (
        "n = 0\nfor w in keys:\n    if contains(s, w):\n        n = n + 1\nreturn n > 1",
        True,
    ),
    "breaks": (
        "seen = false\nfor w in keys:\n    if contains(s, w):\n"
        "        seen = true\n        break\nreturn seen",
        False,
    ),
    "while": (
        "i = 0\nwhile i < len(keys):\n    if contains(s, keys[i]):\n"
        "        return false\n    i = i + 1\nreturn true",
        False,
    ),
    "its own item": (
        "for w in keys:\n    if contains(s, w):\n        return w == 'a'\nreturn false",
        False,
    ),
    "itself": ("if len(s) < 2:\n    return true\nreturn s[0] == 'a' and f(s[1:], keys)", False),
}


def program_of(body: str, functions: str = "") -> fkdsl.Program:
    lines = "\n".join("    " + line for line in body.split("\n"))
    return fkdsl.parse(PROGRAM.format(body=lines, functions=functions))


def calling(body: str) -> fkdsl.Program:
    lines = "\n".join("    " + line for line in body.replace("'", '"').split("\n"))
    return program_of("condition f(s, keys)", f"def f(s: str, keys: list[str]) -> bool:\n{lines}\n")


def measure(program: fkdsl.Program):
    return exact_measure(program.feynman_kac())


@pytest.mark.parametrize("body", LOOPS)
def test_a_loop_of_conditions_has_the_measure_of_the_program_as_it_is_written(body):
    program = program_of(body)
    assert_same_masses(measure(program), measure(program.without()), 1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_with_branches_and_loops_are_read(name):
    body, is_read = FUNCTIONS[name]
    program = calling(body)
    assert_same_masses(measure(program), measure(program.without()), 1e-12)
    assert ("automaton" in means(program)) == is_read


def means(program: fkdsl.Program) -> list[str]:
    """How draws look ahead."""
    functions = program.ir().functions.values()
    plans = [n for f in functions for n in within(f.body) if type(n).__name__ == "ProposalPlan"]
    return [a.means for plan in plans for a in plan.absorbed]


@pytest.mark.parametrize("at", [0, 1, 3, 4, 8])
def test_a_loop_of_conditions_is_followed_by_an_automaton(at):
    assert "automaton" in means(program_of(LOOPS[at]))


GROWING = {
    "functions that call the next ten times": (
        "".join(
            f"def f{i}(s: str) -> int:\n    return {' + '.join([f'f{i + 1}(s)'] * 10)}\n\n"
            for i in range(8)
        )
        + "def f8(s: str) -> int:\n    return len(s)\n",
        "condition f0(s) > 3",
    ),
    "calls within calls": (
        "def d(s: str) -> str:\n    return s + s\n",
        f"condition len({'d(' * 25}s{')' * 25}) > 3",
    ),
    "tests of tests": (
        "",
        f"condition {'(' * 25}contains(s, 'a')".replace("'", '"')
        + "".join(f') == contains(s, "{i}")' for i in range(25)),
    ),
    "choices of choices": (
        "",
        f'condition {"(s == keys[0] if " * 25}contains(s, "a"){" else false)" * 25}',
    ),
    "doubled behind a loop": (
        "",
        "while not lm.done and lm.tokens < 5:\n    t ~ lm\nx0 = lm.text\n"
        + "".join(f"x{i + 1} = x{i} + x{i}\n" for i in range(25))
        + "condition len(x25) > 3",
    ),
    "doubled behind a draw": (
        "",
        "if lm.done:\n    return s\nt ~ lm\nx0 = lm.text\n"
        + "".join(f"x{i + 1} = x{i} + x{i}\n" for i in range(25))
        + "condition len(x25) > 3",
    ),
}


@pytest.mark.parametrize("name", GROWING)
def test_what_would_double_at_each_step_is_left_in_time(name):
    """Each of these kept `fkdsl check` busy for hours."""
    functions, body = GROWING[name]
    parts = program_of(body, functions).ir().functions.values()
    assert sum(1 for f in parts for _ in within(f.body)) < 50_000
