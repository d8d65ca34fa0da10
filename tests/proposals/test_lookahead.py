"""In-place checks: what a condition right behind a draw says of an outcome, without a fork of the
particle that takes it."""

import sys
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.proposals import lookahead
from fkdsl.proposals.lookahead import LookaheadCache, StateAtDraw
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing import assert_same_measure, program_texts

FUSE = sys.modules["fkdsl.ir.passes.fuse"]  # its name is also its function's
TABLE = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2
    "a" -> "a": 0.2, "b": 0.4, EOS: 0.4
    "b" -> "a": 0.6, "b": 0.1, EOS: 0.3
program main() -> str:
    lm = prompt("")
"""
LOOP = TABLE + (
    "    while not lm.done and lm.tokens < 3:\n        t ~ lm\n"
    '        condition t == EOS or lm.text != "ab"\n'
    "    return lm.text\n"
)


def without_checks():
    return patch.object(FUSE, "inline_conditions", lambda program, walk, place: ([], False))


def tried(text):
    """The program as it is where no automaton follows its texts."""
    return fkdsl.parse(text).without("automata")


def plan_of(text):
    """(inline_conditions, exhaustive) of the first draw that has a plan."""
    ops = tried(text)().feynman_kac().code.functions["main"].ops
    return next(
        (op.plan.inline_conditions, op.plan.exhaustive)
        for op in ops
        if getattr(op, "plan", None) is not None
    )


def outcome(text, **options):
    """All that a run leads to, of particles and of those that died."""
    try:
        result = tried(text).run(seed=3, **options)
    except fkdsl.PopulationDied as died:
        return str(died)
    return result.log_z, [(p.value, p.log_weight) for p in result.particles], result.model_calls


@settings(max_examples=80)
@given(program_texts(), st.sampled_from(["smc", "importance", "local"]))
def test_a_run_is_the_same_with_checks_in_place_and_with_forks_alone(text, method):
    checked = outcome(text, method=method, particles=4)
    with without_checks():
        assert checked == outcome(text, method=method, particles=4)


@pytest.mark.parametrize("enumerated", [0, 32])
def test_where_a_check_in_place_is_exhaustive_nothing_is_forked(enumerated):
    assert plan_of(LOOP) == (1, True)
    made = []
    model = tried(LOOP)().feynman_kac(
        proposals=ProposalSettings(enumerated=enumerated, head=2.0, enough=0.0)
    )
    with patch.object(lookahead.Lookahead, "fork_of", lambda self, i: made.append(i)):
        fkdsl.run(model, "smc", particles=5, seed=1)
    assert not made
    assert_same_measure(
        tried(LOOP)().feynman_kac(), fkdsl.parse(LOOP).without()().feynman_kac(), 1e-12
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('    t ~ lm\n    condition lm.text != "a"\n    return t\n', (1, True)),
        ('    t ~ lm\n    condition lm.text != "a"\n    factor -0.5\n    return t\n', (1, False)),
        (
            "    t ~ lm\n    n = len(lm.text)\n    condition n > 0\n"
            '    condition lm.text != "a"\n    return t\n',
            (0, False),
        ),
        ('    t ~ lm\n    condition lm.text != "a" and logprob(lm, "b") < 0\n    return t\n', None),
    ],
)
def test_only_conditions_right_behind_a_draw_are_checked_in_place(body, expected):
    if expected is None:
        ops = fkdsl.parse(TABLE + body)().feynman_kac().code.functions["main"].ops
        assert all(
            op.plan is None or op.plan.inline_conditions == 0 for op in ops if hasattr(op, "plan")
        )
    else:
        assert plan_of(TABLE + body) == expected
        assert_same_measure(
            tried(TABLE + body)().feynman_kac(),
            fkdsl.parse(TABLE + body).without()().feynman_kac(),
            1e-12,
        )


def test_a_check_that_is_wrongly_called_exhaustive_costs_variance_alone():
    """A planted bug: a condition further on is forgotten. It is met behind the draw, where it is
    asked anyway."""
    text = TABLE + (
        "    t ~ lm\n    condition len(lm.text) < 5\n    n = len(lm.text)\n"
        "    condition n != 1 or t == EOS\n"
        "    return lm.text\n"
    )
    assert plan_of(text) == (1, False)
    right, look = tried(text)().feynman_kac(), FUSE.inline_conditions
    with patch.object(FUSE, "inline_conditions", lambda *place: (look(*place)[0], True)):
        wrong = tried(text)().feynman_kac()
    assert_same_measure(right, wrong, 1e-12)
    died = [fkdsl.run(model, "smc", particles=64, seed=1).ess < 63 for model in (right, wrong)]
    assert died == [False, True]


def test_a_condition_that_appends_to_a_context_is_no_matter_of_a_glance():
    """A function that it calls does; what it appends stays."""
    text = (
        'def grown(c) -> int:\n    c += "a"\n    return len(c.text)\n'
        + TABLE
        + "    t ~ lm\n    condition t == EOS or grown(lm) == 2\n    return lm.text\n"
    )
    assert plan_of(text)[0] == 0
    assert_same_measure(
        fkdsl.parse(text)().feynman_kac(), fkdsl.parse(text).without()().feynman_kac(), 1e-12
    )
    assert {p.value for p in fkdsl.parse(text).run("smc", particles=20).particles} == {
        "aa",
        "ba",
        "",
    }


def test_a_comprehension_that_appends_to_a_context_does_so_for_each_item():
    text = (
        "def grown(c, w: str) -> int:\n    c += w\n    return len(c.text)\n"
        + TABLE
        + '    n = sum(grown(lm, w) for w in ["a", "a", "b"])\n    return lm.text\n'
    )
    assert fkdsl.parse(text).run("smc", particles=1).particles[0].value == "aab"


def test_a_mistake_at_a_glance_is_left_for_whoever_draws_the_token():
    text = TABLE + "    t ~ lm\n    condition 1 / (len(lm.text) - 1) < 5\n    return lm.text\n"

    def message():
        with pytest.raises(fkdsl.ProgramError) as raised:
            fkdsl.parse(text).run("smc", particles=50, seed=1)
        return str(raised.value)

    message_in_place = message()
    assert "zero" in message_in_place
    with without_checks():
        assert message_in_place == message()


def test_a_check_in_place_leaves_the_particle_as_it_was():
    seen = []
    of = lookahead.in_place_check

    def watched(*args):
        particle, check = args[0], of(*args)

        def told():
            drawn = list(particle.drawn_values)
            return particle.state().key(), particle.fuel, particle.log_G, drawn

        def checked(token):
            before = told()
            place = check(token)
            seen.append(before == told())
            return place

        return checked

    with patch.object(lookahead, "in_place_check", watched):
        tried(LOOP).run("smc", particles=4, seed=1)
    assert seen
    assert all(seen)


def standing_at(value, context="root"):
    """As much of a particle at a draw as its state is made of."""
    frame = SimpleNamespace(function="main", pc=3, target=0, slots=[value])
    return SimpleNamespace(frames=[frame], contexts=[context], twist=None, guesses={}, evidence=())


def test_many_different_states_at_the_same_contexts_are_not_compared_each_with_each():
    cache, asked, key = LookaheadCache(), [], StateAtDraw.key
    with patch.object(StateAtDraw, "key", lambda state: asked.append(state) or key(state)):
        forks = [cache.of(standing_at(0.5 + i)) for i in range(100)]
    assert len(asked) <= 200
    assert len({id(f) for f in forks}) == 100
    assert all(cache.of(standing_at(0.5 + i)) is forks[i] for i in range(100))
    assert cache.of(standing_at(0.5, "another")) is not forks[0]
