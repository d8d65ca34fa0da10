"""Contradictions: lines that cannot hold together are named, and no others."""

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.api.blame import conflicts
from fkdsl.base.errors import PopulationDied, ProgramError
from fkdsl.ir.build import build
from fkdsl.ir.lines import lines, only
from fkdsl.language.compile import compile_ir
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.testing import exact_measure, program_texts
from tests.steering.blamed import blame_of, program


def told(blame):
    return [([s.text for s in c.places], c.by) for c in blame.conflicts]


def test_a_planted_pair_is_named_and_nothing_else():
    body = [
        "t ~ lm",
        'condition t != "c"',
        'condition t != "a"',
        "u ~ lm",
        'condition lm.text[:1] == "a"',
        "return t",
    ]
    blame = blame_of(program(body), "smc")
    assert told(blame) == [(['condition t != "a"', 'condition lm.text[:1] == "a"'], "enumeration")]


def test_a_line_that_can_never_hold_is_named_alone():
    body = ["t ~ lm", 'condition t != "c"', 'condition len(t) > 1 or t == "z"', "return t"]
    assert told(blame_of(program(body), "smc")) == [
        (['condition len(t) > 1 or t == "z"'], "enumeration")
    ]


def test_three_lines_of_which_any_two_can_hold_are_named_together():
    body = [
        "t ~ lm",
        *(f'condition t != "{x}"' for x in "abc"),
        "condition len(t) == 1",
        "return t",
    ]
    assert told(blame_of(program(body), "smc")) == [
        ([f'condition t != "{x}"' for x in "abc"], "enumeration")
    ]


def test_languages_that_depend_on_a_parameter_are_found_empty_without_enumeration():
    body = [
        "s ~ text(lm, max_tokens=20)",
        "condition starts_with(s, k)",
        'condition not contains(s, "b")',
        "return s",
    ]
    p = program(body, head="program p(k: str) -> str:")
    assert told(blame_of(p(k="ab"), "smc")) == [
        (["condition starts_with(s, k)", body[2]], "automaton")
    ]
    assert blame_of(p(k="a"), "smc").conflicts == ()


def test_observed_text_and_conditions_can_contradict_each_other():
    body = ["t ~ lm", "observe t ~ other", 'condition t == "c"', "return t"]
    p = program(['other = prompt("c")', *body], '"a": 0.5, "b": 0.3, "c": 0.2\n    "c" -> "a": 1.0')
    assert told(blame_of(p, "smc")) == [
        (["observe t ~ other", 'condition t == "c"'], "enumeration")
    ]


def test_what_cannot_be_enumerated_is_told_of_the_run_alone():
    body = ["x ~ normal(0, 1)", "condition x > 0", "condition x < 0", 'return "x"']
    assert told(blame_of(program(body), "smc", seed=1)) == [
        (["condition x > 0", "condition x < 0"], "run")
    ]
    body = ["x ~ normal(0, 1)", "condition x > -100", "condition x > 100", 'return "x"']
    assert told(blame_of(program(body), "smc")) == [(["condition x > 100"], "run")]


def test_bad_luck_is_no_contradiction():
    """One particle, and a text that it is unlikely to draw: the lines have held for others."""
    body = ["t ~ lm", "checkpoint", "u ~ lm", "checkpoint", 'condition lm.text == "cc"', "return t"]
    with pytest.raises(PopulationDied) as died:
        program(body).without().run(particles=1, blame=True)
    assert [c for c in died.value.blame.conflicts if c.certain] == []


EXTRA = (
    'condition lm.text != "a"',
    'condition not starts_with(lm.text, "a")',
    'condition starts_with(lm.text, "a")',
    'condition ends_with(lm.text, "b")',
    "condition lm.tokens > 1",
    "condition lm.tokens < 2",
    'condition count(lm.text, "b") == 1',
)


@settings(max_examples=25)
@given(program_texts(), st.lists(st.sampled_from(EXTRA), min_size=2, max_size=4, unique=True))
def test_certain_conflicts_are_exactly_the_minimal_ones_by_enumeration(text, extra):
    """Every pair and single line without an outcome is named, and whatever is named has none."""
    at = text.rstrip().rfind("\n    return")
    text = text[:at] + "".join(f"\n    {e}" for e in extra) + text[at:]
    p = fkdsl.parse(text)
    engines = p.engines()

    def mass(places):
        off = ("automata", "early", "fuse")
        kept = compile_ir(p.checked, p.name, off, rewrite=lambda written: only(written, places))
        return math.fsum(
            exact_measure(SteeringModel(build(kept, p.environment()), engines)).values()
        )

    try:
        z = {k: mass(k) for n in (0, 1, 2) for k in combinations(lines(p.ir()), n)}
        whole = mass(lines(p.ir()))
    except ProgramError:
        return
    found = {c.places for c in conflicts(p, engines)}
    for places in found:
        assert mass(places) == 0.0
    if whole > 0.0 or z[()] == 0.0:
        assert not found
    else:
        singles = {k for k in z if len(k) == 1 and z[k] == 0.0}
        pairs = {
            k for k in z if len(k) == 2 and z[k] == 0.0 and not any((s,) in singles for s in k)
        }
        assert singles | pairs == {k for k in found if len(k) <= 2}
        assert found
