"""What a loop over the parts of a text leaves in variables guides the text: the same measure as
without, to the last digit, in the program and in a function that it calls."""

import random
from textwrap import indent

import pytest

import fkdsl
from fkdsl.ir.passes import folds
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure

MODEL = """\
model m = table:
    "" -> "a": 0.3, "b": 0.2, " ": 0.2, ".": 0.1, "\\n": 0.1, "ab": 0.05, EOS: 0.05
    "a" -> "b": 0.3, " ": 0.3, ".": 0.1, "\\n": 0.1, EOS: 0.2

"""
IN_PROGRAM = """program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={tokens})
{body}
    condition {condition}
    return s
"""
IN_FUNCTION = """def holds(s: str) -> bool:
{body}
    return {condition}

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={tokens})
    condition holds(s)
    return s
"""
LOOPS = {
    'n = 0; for w in words(s):; if w == "a":; n += 1': "n == 2",
    "n = 3; for w in words(s):; if len(w) > 1:; n = n - 1": "n <= 2",
    'n = 1; for c in s:; if c in "ab":; n = 2 + n': "n > 4",
    "n = 0; for w in words(s):; n += len(w)": "n == 2",
    'n = 0; for c in s:; if c == "a":; n += 1; elif c == "b":; n -= 1': "n == 0",
    'n = 0; for c in s:; if c == "a":; n += 1;< if c == ".":; n += 2': "n == 3",
    "ok = true; for w in words(s):; if len(w) > 1:; ok = false": "ok",
    'ok = false; for w in words(s):; if w == "b":; ok = true': "ok",
    'ok = false; for w in words(s):; ok = ok or w == "b"': "not ok",
    "ok = true; for l in lines(s):; ok = ok and len(l) < 2": "ok",
    'n = 0; for k in ["a", "b", "."]:; if contains(s, k):; n += 1': "n == 2",
    'n = 0; for k in ["a", "b"]:; n += count(s, k)': "n == 2",
    'last = "b"; for w in words(s):; last = w': 'last == "b"',
    "n = 0; for w in words(s):; n = max(n, len(w))": "n == 1",
    "n = 0; for w in words(s):; if len(w) > n:; n = len(w)": "n <= 1",
    "n = 2; for w in words(s):; if n > len(w):; n = len(w)": "n == 1",
    'out = ""; for w in words(s):; out += w[0]': 'out == "ab"',
    "long = []; for w in words(s):; if len(w) > 1:; long = long + [w]": "len(long) == 1",
    'n = 0; m = 0; for c in s:; if c == "a":; n += 1;< if c == "b":; m += 1': "n > m",
    'n = 0; k = "a"; for w in words(s):; if w == k:; n += 1': "n == 1",
    'n = 0; for w in words(s):; t = w + "b"; if t == "ab":; n += 1': "n == 1",
}
"""Behind `;` comes what is in the loop or the `if` before it; behind `;<` what is a level further
out."""
UNREAD = {
    'out = "x"; for w in words(s):; out += w[0]': 'out == "xa"',
    'n = 0; for l in lines(s):; for w in words(l):; if w == "a":; n += 1': "n == 1",
    'n = 0; last = ""; for w in words(s):; if w == last:; n += 1;< last = w': "n == 0",
    "n = 0; for c in s:; if n < 2:; n += 1": "n == 2",
    'n = 1; for c in s:; if c == "a":; n = 2 * n': "n == 2",
    'n = 0; for c in s:; if c == "a":; n += 1;< else:; n = 0': "n == 0",
}
"""Loops of which masks follow nothing: most of their turns depend on those before."""


def lines_of(loop):
    """The statements of a loop, each on its line."""
    lines, depth = [], 1
    for part in loop.split(";"):
        if part.startswith("<") or part.lstrip().startswith(("elif", "else")):
            depth -= 1
        text = part.lstrip("< ")
        lines.append("    " * depth + text)
        depth += text.endswith(":")
    return "\n".join(lines)


def program_of(loop, condition, form=IN_PROGRAM, tokens=3):
    text = form.format(body=lines_of(loop), condition=condition, tokens=tokens)
    return fkdsl.parse(MODEL + text)


def check(loop, condition, form, tokens=3):
    program = program_of(loop, condition, form, tokens)
    guided, plain = (exact_measure(p.feynman_kac()) for p in (program, program.without()))
    assert plain
    assert_same_masses(guided, plain, 1e-12)
    return program


@pytest.mark.parametrize("form", [IN_PROGRAM, IN_FUNCTION], ids=["program", "function"])
@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_loop_leaves_guides(loop, form):
    program = check(loop, LOOPS[loop], form)
    told = explain(program.ir())
    assert "by an automaton" in told or "at every token" in told
    assert not program.warnings


@pytest.mark.parametrize("loop", UNREAD)
def test_what_depends_on_the_items_before_is_left(loop):
    for form in (IN_PROGRAM, IN_FUNCTION):
        assert "by an automaton" not in explain(check(loop, UNREAD[loop], form).ir())


STEPS = ['if w == "a":\n    n += 1', "n += 1", "if len(w) > 1:\n    n -= 1", "m = n",
         'if w == "b":\n    ok = true', 'if w == "a":\n    ok = false', "n = min(n, len(w))",
         "if len(w) > n:\n    n = len(w)", 'if w == "ab":\n    n = 2', "ok = ok or len(w) == 1",
         "if ok:\n    n += 1"]  # fmt: skip
CONDITIONS = ["n == 1", "n > 0", "ok", "not ok and n < 2", "ok or n == 2", "m == 0"]


def test_random_loops_keep_the_measure():
    rng = random.Random(5)
    for _ in range(25):
        first = f"n = {rng.randrange(2)}\nok = {rng.choice(['true', 'false'])}\nm = 0\n"
        steps = indent("\n".join(rng.sample(STEPS, 2)), "    ")
        loop = f"for w in {rng.choice(['words(s)', 'lines(s)', 's'])}:\n"
        body = indent(first + loop + steps, "    ")
        text = IN_PROGRAM.format(body=body, condition=rng.choice(CONDITIONS), tokens=2)
        program = fkdsl.parse(MODEL + text)
        written = exact_measure(program.without()().feynman_kac())
        try:
            assert_same_masses(exact_measure(program().feynman_kac()), written, 1e-12)
        except fkdsl.ProgramError:
            assert not written


def test_a_sum_of_the_wrong_sign_is_caught(monkeypatch):
    right = folds._terms

    def wrong(value, mark):
        terms = right(value, mark)
        return terms and [(term, abs(sign)) for term, sign in terms]

    monkeypatch.setattr(folds, "_terms", wrong)
    loop = 'n = 0; for c in s:; if c == "a":; n += 1; elif c == "b":; n -= 1'
    with pytest.raises(AssertionError):
        check(loop, LOOPS[loop], IN_PROGRAM)
