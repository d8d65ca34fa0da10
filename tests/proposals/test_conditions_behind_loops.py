"""Conditions that come after a loop of draws guide its tokens: the same measure as without, to the
last digit, and particles that live where they would die."""

import pytest

import fkdsl
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes import tokens_after
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure
from tests.proposals.test_forms_of_conditions import Few

HEADER = """
model m = table:
    "" -> "a": 0.3, "b": 0.2, " ": 0.15, ".": 0.1, "ab": 0.1, EOS: 0.15
    "b" -> "b": 0.3, " ": 0.2, "a. ": 0.1, EOS: 0.4

program p(n: int = 3, keys: list[str] = ["a", "b"]) -> str:
    lm = prompt("")
"""
LOOPS = {
    "over a range": """
    for i in range(n):
        t ~ lm
    condition matches(lm.text, "a+b+a?")
""",
    "over a range, until EOS": """
    for i in range(n):
        t ~ lm
        if t == EOS:
            break
    condition len(words(lm.text)) == 2
""",
    "while tokens are left": """
    while not lm.done and lm.tokens < n:
        t ~ lm
    s = strip(lm.text)
    condition ends_with(s, ".") and count(s, "a") == count(s, "b")
""",
    "until a sign, or no more tokens": """
    while lm.tokens <= n - 1 and not (lm.done or contains(lm.text, ".")):
        t ~ lm
    condition len(lm.text) > 3 or lm.text == "b"
""",
    "until a sign": """
    while true:
        t ~ lm
        if t == EOS or contains(t, ".") or lm.tokens == n:
            break
    condition matches(lm.text, "[ab]*[.]?") and starts_with(lm.text, "b")
""",
    "with a condition inside": """
    for i in range(n):
        t ~ lm
        condition t != EOS and not contains(lm.text, "bb")
    condition lm.text in ["aba", "abab", "ab ", "a a"]
""",
    "with further text": """
    for i in range(n):
        t ~ lm
        lm += "b" if not lm.done else ""
    condition len(lm.text) == 6 and matches(lm.text, "ab.*")
""",
    "with further text, also behind EOS": """
    while lm.tokens < n:
        t ~ lm
        lm += "b"
    condition matches(lm.text, "(ab)+b")
""",
    "two loops": """
    for i in range(2):
        t ~ lm
    condition contains(lm.text, "a")
    while not lm.done and lm.tokens < n + 1:
        t ~ lm
    condition matches(lm.text, "(ab)+[.]?|b+")
""",
    "a loop in a loop": """
    for i in range(2):
        for j in range(2):
            t ~ lm
            if t == EOS:
                break
        if lm.done:
            break
    condition lm.text in ["abb", "a", "ab.a", "bbbb"]
""",
    "a count of the program's own": """
    made = 0
    while made < n and not lm.done:
        t ~ lm
        made += 1
    condition contains(lm.text, ".") or lm.text == "ab"
""",
    "some texts go elsewhere": """
    while not lm.done and lm.tokens < n:
        t ~ lm
    if lm.text == "":
        return "none"
    condition ends_with(lm.text, "a")
""",
    "what changes in the loop": """
    last = "b"
    while not lm.done and lm.tokens < n:
        t ~ lm
        last = "a" if last == "b" else "b"
    condition ends_with(lm.text, last)
""",
    "no two words alike": """
    while not lm.done and lm.tokens < n:
        t ~ lm
    condition len(distinct(words(lm.text))) == len(words(lm.text))
    condition len(words(lm.text)) >= 1
""",
    "beyond what was there before": """
    lm += "b"
    start = len(lm.text)
    for i in range(n):
        t ~ lm
        if t == EOS:
            break
    condition lm.text[start:] in ["ab", "b", "a b"]
""",
    "in a function": """
    s ~ line(lm, n)
    condition s != "a"
""",
}
FUNCTION = """
def line(lm: context, most: int) -> str:
    while not lm.done and lm.tokens < most:
        t ~ lm
    condition matches(lm.text, "[ab]+[.]?")
    return lm.text
"""
UNGUIDED = {"some texts go elsewhere", "what changes in the loop"}


def program_of(name):
    return fkdsl.parse(FUNCTION + HEADER + LOOPS[name] + "    return lm.text\n")


@pytest.mark.parametrize("name", LOOPS)
def test_a_guided_loop_has_the_measure_of_the_plain_one(name):
    program = program_of(name)
    by_automaton = "by an automaton or a grammar" in explain(program.ir())
    assert by_automaton == (name not in UNGUIDED)
    assert bool(program.warnings) == (name in UNGUIDED)
    guided = exact_measure(program.feynman_kac())
    assert guided
    assert_same_masses(guided, exact_measure(program.without().feynman_kac()), 1e-12)


KNOWN = {
    "over a range": True,
    "over a range, until EOS": True,
    "while tokens are left": True,
    "until a sign, or no more tokens": False,
}
"""Loops whose tokens are counted, and whether they are over only when none are left, or at EOS."""


@pytest.mark.parametrize("name", LOOPS)
def test_tokens_are_counted_where_nothing_else_is_written(name):
    counted = "for the tokens that are left" in explain(program_of(name).ir())
    others = {"with a condition inside", "two loops", "no two words alike"}
    others |= {"beyond what was there before", "in a function"}
    assert counted == (name in {*KNOWN, *others})


@pytest.mark.parametrize("name", KNOWN)
def test_a_condition_is_decided_where_the_loop_cannot_end_otherwise(name):
    body = program_of(name).ir().functions["p"].body
    (draw,) = (i for i in body if isinstance(i, ir.Draw))
    assert bool(draw.plan.completion.decided) == KNOWN[name]


@pytest.mark.parametrize("bug", [1, -1])
def test_a_budget_that_is_off_by_one_is_caught(monkeypatch, bug):
    right = tokens_after.TokensAfter

    def wrong(stop, ends_every_way):
        more = ir.Operate(stop.span, "add", (stop, ir.Const(stop.span, bug)))
        return right(more, ends_every_way)

    monkeypatch.setattr(tokens_after, "TokensAfter", wrong)
    program = program_of("over a range")
    guided = exact_measure(program.feynman_kac())
    plain = exact_measure(program.without().feynman_kac())
    if bug < 0:  # texts are refused that could come
        with pytest.raises(AssertionError):
            assert_same_masses(guided, plain, 1e-12)
    else:  # a larger budget refuses less: particles die, and the measure is the same
        assert_same_masses(guided, plain, 1e-12)


RARE = {
    "eight tokens": """
    for i in range(8):
        t ~ lm
        if t == EOS:
            break
    condition words(lm.text) == ["b", "b", "a"]
""",
    "a last word": """
    while not lm.done and lm.tokens < 8:
        t ~ lm
    condition last_word(lm.text) == "bab" and len(words(lm.text)) == 3
""",
    "two loops": """
    for i in range(4):
        t ~ lm
    condition len(lm.text) == 4
    for i in range(4):
        t ~ lm
        if t == EOS:
            break
    condition matches(lm.text, "(b+[.])*")
""",
}


@pytest.mark.parametrize("name", RARE)
def test_particles_live_that_die_without(name):
    text = HEADER + RARE[name] + "    return lm.text\n"

    def lives(program, seed):
        try:
            program.run("importance", model=Few(), particles=1, seed=seed)
        except fkdsl.PopulationDied:
            return 0
        return 1

    program = fkdsl.parse(text)
    guided, plain = (sum(lives(p, s) for s in range(6)) for p in (program, program.without()))
    assert (guided, plain <= 1) == (6, True)
