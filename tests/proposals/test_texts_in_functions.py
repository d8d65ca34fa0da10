"""Texts that functions of the program draw, guided by conditions of whoever calls them: the same
measure as without the optimiser, exactly, and particles that live."""

from random import Random
from unittest.mock import patch

import pytest

import fkdsl
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes import texts
from fkdsl.ir.printed import explain
from fkdsl.testing.laws import assert_same_masses, exact_measure

TABLE = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, "b\\n": 0.1, EOS: 0.1
    "a" -> " ": 0.2, "b": 0.5, "\\n": 0.3
"""
FUNCTIONS = """
def plain(lm: context, most: int = 2) -> str:
    s ~ text(lm, until="\\n", max_tokens=most)
    return s

def stripped(lm: context) -> str:
    s ~ text(lm, until="\\n", max_tokens=2)
    return strip(s)

def lowered(lm: context) -> str:
    s ~ text(lm, max_tokens=2)
    return lower(s)

def dressed(lm: context) -> str:
    s ~ text(lm, until="b", max_tokens=2)
    return f"a{s}b"

def ways(lm: context) -> str:
    s ~ text(lm, max_tokens=2)
    if starts_with(s, "b"):
        return "b"
    if s == "":
        return "a"
    condition s != "aa"
    return s + "a"

def strict(lm: context, first: str) -> str:
    s ~ text(lm, until="\\n", max_tokens=2)
    condition not starts_with(s, first)
    return s

def outer(lm: context) -> str:
    a ~ strict(lm, "b")
    return a

def pair(lm: context) -> list[str]:
    a ~ plain(lm, 1)
    b ~ strict(lm, "a")
    return [a, b]

def named(lm: context) -> record:
    k ~ uniform_int(1, 2)
    a ~ text(lm, until="\\n", max_tokens=k)
    return {"name": a, "rest": ["b", str(k)]}

def many(lm: context) -> list[str]:
    found = []
    for i in range(2):
        s ~ plain(lm, 1)
        found += [s]
    return found

def again(lm: context, n: int) -> str:
    s ~ text(lm, max_tokens=1)
    if n > 1:
        u ~ again(lm, n - 1)
        return s + u
    return s
"""
TEXTS = ["plain(lm)", "plain(lm, 1)", "stripped(lm)", "lowered(lm)", "dressed(lm)", "ways(lm)",
         'strict(lm, "ab")', "outer(lm)", "again(lm, 2)"]  # fmt: skip
PARTS = {"pair(lm)": ["{v}[0]", "{v}[1]"], "named(lm)": ["{v}.name", "{v}.rest[0]"],
         "many(lm)": ["{v}[0]", "{v}[1]"]}  # fmt: skip
TESTS = ['starts_with({v}, "a")', 'not contains({v}, "b")', 'ends_with({v}, "b")', "len({v}) >= 2",
         '{v} in ["ab", "ba", "b", "aa"]', 'matches({v}, "(a|b)+")', '{v} != "a"',
         "len(words({v})) <= 1", 'count({v}, "a") == 1']  # fmt: skip
WHOLE = ["all(len(x) <= 1 for x in {v})", 'any(contains(x, "b") for x in {v})', '"b" in {v}']


def drawn_program(rng):
    body, values = ['    lm = prompt("")'], []
    for name in "xy"[: rng.choice([1, 1, 2])]:
        call = rng.choice([*TEXTS, *PARTS])
        where = rng.choice(["", "", "for", "if"]) if name == "x" else ""
        if where == "for":
            body.append("    for i in range(2):")
        if where == "if":
            body += ["    f ~ bernoulli(0.5)", f'    {name} = "ab"', "    if f:"]
            call = rng.choice(TEXTS)
        indent = "    " if where else ""
        body.append(f"{indent}    {name} ~ {call}")
        parts = [p.format(v=name) for p in PARTS.get(call, ["{v}"])]
        tests = [rng.choice(TESTS).format(v=rng.choice(parts)) for _ in range(rng.choice([1, 2]))]
        if call in ("pair(lm)", "many(lm)") and rng.random() < 0.5:
            tests.append(rng.choice(WHOLE).format(v=name))
        if rng.random() < 0.2:
            tests = [" or ".join(tests)]
        body += [f"{indent}    condition {t}" for t in tests]
        if where != "for":
            values.append(parts[0])
    return f"{TABLE}{FUNCTIONS}\nprogram p() -> list[str]:\n" + "\n".join(
        [*body, f"    return [{', '.join([*values, 'lm.text'])}]"]
    )


def measures(text):
    program = fkdsl.parse(text)
    plain = exact_measure(program.without().feynman_kac())
    try:
        return exact_measure(program.feynman_kac()), plain
    except fkdsl.ProgramError as error:
        if {d.code for d in error.diagnostics} != {"FK502"}:
            raise
        return {}, plain


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_any_wrapped_text_keeps_the_measure(first):
    for seed in range(first, first + 10):
        assert_same_masses(*measures(drawn_program(Random(seed))), 1e-12)


def program_of(call, *conditions, functions=FUNCTIONS):
    body = "".join(f"    condition {c}\n" for c in conditions)
    return (
        f'{TABLE}{functions}\nprogram p() -> list[str]:\n    lm = prompt("")\n    x ~ {call}\n'
        f"{body}    return [lm.text]\n"
    )


def guided(text):
    """Which lines guide each draw of a text by an automaton."""
    return [
        [a.span.text for a in i.plan.absorbed if a.means == "automaton"]
        for f in fkdsl.parse(text).ir().functions.values()
        for i in f.body
        if isinstance(i, ir.Draw) and i.plan is not None and i.plan.completion is not None
    ]


@pytest.mark.parametrize(
    ("call", "condition"),
    [
        ("plain(lm)", 'ends_with(x, "ab")'),
        ("outer(lm)", 'ends_with(x, "ab")'),
        ("pair(lm)", 'x[0] == "a"'),
        ("pair(lm)", 'all(x != "ab" for x in x)'),
        ("named(lm)", 'starts_with(x.name, "ab")'),
    ],
)
def test_the_caller_s_condition_guides_the_text(call, condition):
    text = program_of(call, condition)
    assert any(f"condition {condition}" in lines for lines in guided(text))
    assert_same_masses(*measures(text), 1e-12)


def test_a_condition_behind_a_way_out_guides_the_texts_that_do_not_take_it():
    text = program_of("early(lm)", 'x != "aa"', functions=EARLY)
    assert [sorted(lines) for lines in guided(text)] == [
        ['condition s != "ab"', 'condition x != "aa"']
    ]
    assert_same_masses(*measures(text), 1e-12)


EARLY = """
def early(lm: context) -> str:
    s ~ text(lm, max_tokens=2)
    if starts_with(s, "b"):
        return "b"
    condition s != "ab"
    return s
"""
DEEP = program_of("plain(lm, 4)", 'matches(x, "a(a|b)*") and ends_with(x, "bab")')


def alive(program):
    count = 0
    for seed in range(40):
        try:
            program.run("importance", particles=1, seed=seed)
            count += 1
        except fkdsl.PopulationDied:
            pass
    return count


def test_particles_live_that_died_before():
    assert alive(fkdsl.parse(DEEP)) == 40
    assert alive(fkdsl.parse(DEEP).without("texts")) < 20


TWICE = (
    f'{TABLE}{FUNCTIONS}\nprogram p() -> list[str]:\n    lm = prompt("")\n'
    '    x ~ plain(lm)\n    condition starts_with(x, "a")\n'
    '    y ~ plain(lm)\n    condition starts_with(y, "b")\n    return [x, y]\n'
)


def test_each_call_has_its_own_guidance():
    assert guided(TWICE) == [
        ['condition starts_with(x, "a")'], ['condition starts_with(y, "b")']
    ]  # fmt: skip
    assert_same_masses(*measures(TWICE), 1e-12)


def test_the_guidance_of_another_call_would_be_seen():
    """A planted bug: the second call is guided as the first."""
    kept, right = [], texts.guidance_of

    def wrong(*args):
        kept.append(right(*args))
        return kept[0]

    plain = exact_measure(fkdsl.parse(TWICE).without().feynman_kac())
    with patch.object(texts, "guidance_of", wrong):
        program = fkdsl.parse(TWICE)
        found = exact_measure(program.feynman_kac())
    with pytest.raises(AssertionError):
        assert_same_masses(found, plain, 1e-12)


def test_variables_of_a_call_that_is_over_tell_no_states_apart():
    """Two ways to "ab" and the same context are one state behind the call, as without the pass."""
    text = (
        'model m = table:\n    "" -> "a": 0.5, "b": 0.5\n\n'
        "def one(lm: context) -> str:\n    k ~ uniform_int(1, 3)\n"
        '    s ~ text(lm, max_tokens=1)\n    return "c"\n\n'
        'program p() -> str:\n    lm = prompt("")\n    u = lm\n    other = prompt("")\n'
        '    x ~ one(other)\n    condition x == "c"\n    other = lm\n    t ~ lm\n'
        "    return str(t)\n"
    )
    keys = []
    for program in (fkdsl.parse(text), fkdsl.parse(text).without()):
        result = program.exact()
        keys.append(result.states)
    assert keys[0] == keys[1]


def test_explain_blame_and_a_resumed_run_know_the_lines(tmp_path):
    program = fkdsl.parse(TWICE)
    text = explain(program.ir())
    assert "`text` of line 7" in text
    plain, blamed = (program.run("smc", particles=30, seed=3, blame=on) for on in (False, True))
    assert plain.log_z == blamed.log_z
    charged = [line.place.text for line in blamed.blame.lines if line.log_weight < 0.0]
    assert charged == ['condition starts_with(x, "a")', 'condition starts_with(y, "b")']
    path = tmp_path / "run.jsonl"
    program.run("smc", particles=30, seed=3, trace=path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    assert program.run("smc", particles=30, seed=3, resume=path).particles == plain.particles
