"""The values of a particle are bounded together: what is made in loops, comprehensions and
functions, and what is no longer held is not counted."""

import subprocess
import sys
import textwrap

import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.values.faults import Limits

MODEL = 'model m = table:\n    "" -> "a": 0.5, "b": 0.5\n\n'
SMALL_LIMITS = Limits(memory=4 << 20)
"""4 MiB: so that a test makes little."""


def run(body, head="", steps=3, limits=SMALL_LIMITS):
    text = (
        MODEL
        + head
        + 'program p() -> int:\n    lm = prompt("")\n'
        + textwrap.indent(textwrap.dedent(body), "    ")
    )
    model = fkdsl.parse(text).feynman_kac()
    model = SteeringModel(model.code, model.engines, limits=limits)
    rngs = [KeyedRng(0)]
    states, _ = model.initial(rngs)
    for _ in range(steps):
        if model.finished(states[0]):
            break
        states, _ = model.step(rngs, states)
    return states[0]


HEAD = 'def long(i: int) -> str:\n    return "a" * 90000 + str(i)\n\n'
TOO_MUCH = {
    "a list that grows": """
        xs = ["a"]
        for i in range(100):
            xs = xs + ["a" * 90000 + str(i)]
        t ~ lm
        return len(xs)
    """,
    "a list that is added to": """
        xs = ["a"]
        for i in range(100):
            xs += [f"{i} {'a' * 90000}"]
        t ~ lm
        return len(xs)
    """,
    "a comprehension": """
        t ~ lm
        xs = ["a" * 90000 + str(i) for i in range(100)]
        return len(xs)
    """,
    "a comprehension over texts": """
        t ~ lm
        ten = "one two three four five six seven eight nine ten "
        xs = [w + "a" * 90000 for w in words(ten * 9)]
        ys = [w + "b" * 90000 + str(i) for w in words(ten) for i in range(6)]
        return len(xs) + len(ys)
    """,
    "records": """
        t ~ lm
        xs = [{"name": "a" * 90000 + str(i)} for i in range(100)]
        return len(xs)
    """,
    "results of a function": """
        t ~ lm
        xs = [long(i) for i in range(100)]
        return len(xs)
    """,
    "values of JSON": """
        t ~ lm
        s = "[[" + join(["12345"] * 9000, ",") + "]]"
        xs = [parse_json(s) for i in range(60)]
        return len(xs)
    """,
    "many short texts": """
        t ~ lm
        xs = split("ab " * 90000)
        return len(xs)
    """,
    "over many steps": """
        xs = ["a"]
        while len(xs) < 90:
            t ~ lm
            xs = xs + ["a" * 90000 + str(len(xs))]
        return len(xs)
    """,
    "distributions": """
        ds = [categorical(["a" * 90000 + str(i), "b"], [0.5, 0.5]) for i in range(100)]
        s ~ ds[0]
        return len(s)
    """,
    "contexts": """
        lm += "ab" * 20000
        t ~ lm
        return 1
    """,
    "texts of a context": """
        lm += "ab" * 2000
        xs = [""]
        for i in range(1500):
            lm += "a"
            xs += [lm.text]
        t ~ lm
        return len(xs)
    """,
}


@pytest.mark.parametrize("body", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_is_held_is_bounded_together_with_its_line(body):
    with pytest.raises(fkdsl.ProgramError) as raised:
        run(body, HEAD, steps=100)
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.code == "FK415"
    assert "more than 4 MiB" in diagnostic.message
    assert diagnostic.span.line > 4
    assert diagnostic.help


ENOUGH = {
    "garbage of a loop": """
        n = 0
        for i in range(300):
            s = "a" * 90000 + str(i)
            n = n + len(s)
        t ~ lm
        return n
    """,
    "garbage of a comprehension": """
        t ~ lm
        ns = [len(lower("A" * 90000 + str(i))) for i in range(300)]
        return sum(ns)
    """,
    "garbage of a condition": """
        s = "a b " * 20000
        t ~ lm
        condition all(not contains(lower(s), str(i)) for i in range(300))
        return 1
    """,
    "garbage of a function": """
        t ~ lm
        return counted(300)
    """,
    "one text in many places": """
        s = "a" * 900000
        xs = [s for i in range(1000)]
        t ~ lm
        return len(xs)
    """,
    "garbage of many steps": """
        n = 0
        while n < 90:
            t ~ lm
            s = "a" * 90000 + str(n)
            n = n + 1
        return n
    """,
}
COUNTED = """
def counted(k: int) -> int:
    n = 0
    for i in range(k):
        s = "a" * 90000 + str(i)
        n = n + len([s + "b", s])
    return n

"""


@pytest.mark.parametrize("body", ENOUGH.values(), ids=ENOUGH)
def test_what_is_no_longer_held_is_not_counted(body):
    assert run(body, HEAD + COUNTED, steps=100).value is not None


def test_what_a_look_ahead_takes_is_counted_once():
    """A particle that went on where a fork stood took over the fork's bytes and its own again: 60
    draws made 2^60."""
    result = run(
        """
        for i in range(60):
            t ~ lm
            factor 0.1 if t == "a" else 0.0
            condition not contains(lm.text, "aa")
        return lm.tokens
        """,
        steps=100,
    )
    assert result.value == 60


def test_the_variable_that_holds_most_is_named():
    with pytest.raises(fkdsl.ProgramError, match="most of it `ys`"):
        run("""
            xs = ["a" * 90000]
            ys = ["a"]
            for i in range(100):
                ys = ys + ["a" * 90000 + str(i)]
            t ~ lm
            return len(xs)
        """)


def test_the_whole_stays_near_its_bound():
    """700 texts of 9 MB: a process with 2 GB of address space says which line it is."""
    program = (
        'program p() -> int:\n    xs = ["a"]\n    for i in range(700):\n'
        '        xs = xs + ["a" * 9000000 + str(i)]\n'
    )
    program += "    t ~ bernoulli(0.5)\n    return len(xs) if t else 0\n"
    script = f"""
        import resource
        import fkdsl
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        try:
            fkdsl.parse({program!r}).run()
        except fkdsl.ProgramError as error:
            print(error.diagnostics[0].code, error.diagnostics[0].span.line)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.split() == ["FK415", "4"], done.stderr[-500:]


def test_a_machine_without_memory_is_told_of_with_a_reason(monkeypatch):
    from fkdsl.values import operators

    def full(a, b):
        raise MemoryError

    monkeypatch.setitem(operators.OPERATORS, "add", full)
    with pytest.raises(fkdsl.ProgramError) as raised:
        run('t ~ lm\nreturn len(t + "a")\n')
    assert raised.value.diagnostics[0].code == "FK415"
    assert "no memory left" in raised.value.diagnostics[0].message


def test_no_reason_is_empty(monkeypatch):
    from fkdsl.values import operators

    def silent(a, b):
        raise ValueError

    monkeypatch.setitem(operators.OPERATORS, "add", silent)
    with pytest.raises(fkdsl.ProgramError, match="no result: ValueError"):
        run('t ~ lm\nreturn len(t + "a")\n')


NESTED = {
    "a list in itself": ("[]", "[y]", 600, "deep"),
    "a record in itself": ("{}", '{"a": y}', 600, "deep"),
    "a list twice in itself": ("[]", "[y, y]", 40, "parts"),
    "a record twice in itself": ("{}", '{"a": y, "b": y}', 40, "parts"),
    "a list added to itself": ("[[1, 2, 3]]", "y + y", 25, "parts"),
    "a comprehension of itself": ("[]", "[y for i in range(2)]", 40, "parts"),
}


@pytest.mark.parametrize(("first", "then", "times", "why"), NESTED.values(), ids=NESTED)
def test_a_value_nested_too_deep_or_with_too_many_parts_is_refused_where_it_is_made(
    first, then, times, why
):
    head = (
        f"def nest(n: int):\n    y = {first}\n    for i in range(n):\n        y = {then}\n"
        "    return y\n\n"
    )
    with pytest.raises(fkdsl.ProgramError) as raised:
        run(f"y = nest({times})\nt ~ lm\nreturn len(y)\n", head, limits=Limits())
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.code == "FK415"
    assert why in diagnostic.message
    assert diagnostic.span.line == 7


COMBINED = ("d * lm", "d * d", "(d * lm) ** 0.5", "mixture([d, d], weights=[0.5, 0.5])")


@pytest.mark.parametrize("then", COMBINED)
def test_contexts_combined_in_a_loop_are_refused_beyond_a_bound(then):
    with pytest.raises(fkdsl.ProgramError) as raised:
        run(f"d = lm * lm\nfor i in range(600):\n    d = {then}\nt ~ d\nreturn 1\n")
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.code == "FK415"
    assert diagnostic.span.line == 8


def test_a_hundred_lists_within_each_other_and_a_long_list_of_rows_are_values_like_others():
    head = (
        "def nest(n: int):\n    y = []\n    for i in range(n):\n        y = [y]\n    return y\n\n"
    )
    head += (
        "def twos(n: int):\n    y = []\n    for i in range(n):\n        y = y + [[i, i]]\n"
        "    return y\n\n"
    )
    source = (
        MODEL + head + "program p():\n    y = nest(100)\n    return len(str(y)) + len(twos(1000))\n"
    )
    (answer,) = fkdsl.parse(source).exact().posterior
    assert answer.value == 202 + 1000
