"""Texts of two contexts that a program draws from in turn look ahead each for itself: with its own
power of h, its own credit and its own drift; and the measure is that without."""

import math
import re

import numpy as np
import pytest

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.base.random import KeyedRng
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import steps_of
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.ir import nodes
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals import completion
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure
from tests.steering.test_completion import (
    TABLE,
    ahead,
    as_written,
    model_of,
    surrogate,
)

IN_TURN = """\
program p() -> str:
    one = prompt("")
    other = prompt("b")
    for i in range({n}):
        t ~ one
        condition not contains(one.text, "bb")
        u ~ other
        condition matches(other.text, "a*b*")
    return one.text + "|" + other.text
"""
ENDLESS = """\
model m = table:
    ""  -> "a": 0.5, "b": 0.5
    "a" -> "a": 0.25, "b": 0.75
    "b" -> "a": 0.5, "b": 0.5

"""
PROGRAMS = {
    "two in turn": IN_TURN.format(n=2),
    "one that is given up": """\
program p() -> str:
    one = prompt("")
    other = prompt("b")
    for i in range(3):
        t ~ one
        condition not contains(one.text, "bb")
        if t == "b":
            break
    for i in range(2):
        u ~ other
        condition not contains(other.text, "ab")
    return one.text + "|" + other.text
""",
    "one that goes on in a copy": """\
program p() -> str:
    one = prompt("")
    for i in range(2):
        t ~ one
        condition not contains(one.text, "bb")
    copy = one
    for i in range(4):
        if copy.done:
            break
        u ~ copy
        condition not contains(copy.text, "aa")
    return one.text + "|" + copy.text
""",
    "a draw of another kind between": """\
program p() -> str:
    lm = prompt("")
    n = 0
    for i in range(3):
        t ~ lm
        condition not contains(lm.text, "bb")
        u ~ bernoulli(0.5)
        n = n + 1 if u else n
    return lm.text + str(n)
""",
}


def steps_by(lookahead, program, particles=8, seed=1):
    call = METHODS["smc"].call({"particles": particles})
    return list(steps_of(model_of(program, lookahead), KeyedRng(seed), call))


@pytest.mark.parametrize("kind", ["random", "bad"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_measure_is_that_without(name, kind):
    program = fkdsl.parse(TABLE + PROGRAMS[name])
    lookahead = ahead(program, surrogate(program, 1, kind), power=0.5)
    model = model_of(program, lookahead)
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    assert lookahead.tilted > 0
    assert_same_masses(found, as_written(program))


def test_two_particles_that_are_resampled_are_unbiased():
    program = fkdsl.parse(TABLE + IN_TURN.format(n=1))
    model = model_of(program, ahead(program, surrogate(program, 3), power=0.5))
    found = expected_measure(model, lambda rng: smc(model, rng, particles=2, ess=0.9))
    assert_same_masses(found, as_written(program))


def test_credit_that_is_lost_and_not_taken_back_is_seen(monkeypatch):
    program = fkdsl.parse(TABLE + PROGRAMS["two in turn"])
    model = model_of(program, ahead(program, surrogate(program, 1), power=0.5))

    def forgets(particle, drawn_from, guess=None):
        look_ahead(particle, drawn_from, guess)
        particle.guesses.pop(completion.OWNER, None)

    look_ahead = completion.look_ahead
    monkeypatch.setattr("fkdsl.proposals.propose.look_ahead", forgets)
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    with pytest.raises(AssertionError):
        assert_same_masses(found, as_written(program))


def test_no_particle_weighs_more_than_another_at_any_time_where_the_surrogate_is_the_model():
    program = fkdsl.parse(ENDLESS + IN_TURN.format(n=4).replace('prompt("b")', 'prompt("")'))
    truth = math.log(sum(as_written(program).values()))
    model = program.engines()["m"].model
    emission = np.zeros((2, model.vocabulary.size))
    emission[range(2), [model.encode(t)[0] for t in "ab"]] = 1.0
    itself = Surrogate.of([0.5, 0.5], [[0.25, 0.75], [0.5, 0.5]], emission, "")
    lookahead = ahead(program, itself, floor=0.0)
    for seed in range(4):
        *steps, last = steps_by(lookahead, program, seed=seed)
        assert abs(last.log_Z - truth) <= 1e-10
        for step in steps[2:]:  # from when both have begun
            assert np.ptp(step.log_weights) <= 1e-10
    assert lookahead.tilted == lookahead.draws


def test_each_has_its_own_power_and_its_own_drift():
    """One is asked what is known from the start, the other what the surrogate exaggerates."""
    program = fkdsl.parse(TABLE + IN_TURN.format(n=4))
    lookahead = ahead(program, surrogate(program, 5), power=0.75, caution=0.01)
    steps = steps_by(lookahead, program)
    powers = {
        tuple(c.guess.power for c in particle.state.contexts if c.guess is not None)
        for step in steps
        for particle in step.particles
    }
    (both,) = {pair for pair in powers if len(pair) == 2}
    assert both[0] != both[1]


def test_one_that_missed_its_turn_counts_no_longer():
    program = fkdsl.parse(TABLE + PROGRAMS["one that is given up"])
    lookahead = ahead(program, surrogate(program, 1))
    for step in steps_by(lookahead, program, particles=16):
        for particle in step.particles:
            x = particle.state
            held = [c.guess.log_h for c in x.contexts if c.guess is not None]
            given = [g.log_weight for g in x.guesses if g.owner == completion.OWNER]
            assert math.isclose(math.fsum(held), math.fsum(given), abs_tol=1e-12)
            if len(x.contexts) == 2 and x.contexts[1].node.length > 2:
                assert held[0] == 0.0


@pytest.mark.parametrize(
    ("other", "draws"),
    [
        ('prompt("b")', 2),
        ("fork(one)", 2),
        ("one", 0),
        ("[one][0]", 0),
        ('prompt("b")\n    one = other', 0),
    ],
)
def test_a_loop_looks_ahead_in_two_contexts_where_they_are_seen_to_be_two(other, draws):
    program = fkdsl.parse(TABLE + IN_TURN.format(n=2).replace('prompt("b")', other))
    plans = [i.plan for i in program.ir().functions["p"].body if isinstance(i, nodes.Draw)]
    assert sum(plan.prefix.stop is not None for plan in plans) == draws


LEFT_EARLY = """\
program p() -> str:
    one = prompt("")
    other = prompt("b")
    for i in range(2):
        t ~ one
        if t == EOS:
            break
        u ~ other
        if u == EOS:
            break
    condition matches(one.text, "a|bb")
    return one.text + "|" + other.text
"""


def test_what_is_appended_to_the_other_leaves_this_one_as_it_is():
    text = IN_TURN.format(n=2).replace("        u ~", "        other += str(t)\n        u ~")
    program = fkdsl.parse(TABLE + text.replace('"a*b*"', '"[ab]*"'))
    plans = [i.plan for i in program.ir().functions["p"].body if isinstance(i, nodes.Draw)]
    assert [plan.prefix is not None and plan.prefix.stop is not None for plan in plans] == [1, 0]


def test_a_loop_that_the_end_of_the_other_text_leaves_may_leave_this_one_anywhere():
    program = fkdsl.parse(TABLE + LEFT_EARLY)
    first, _ = [i.plan for i in program.ir().functions["p"].body if isinstance(i, nodes.Draw)]
    assert first.completion is not None
    assert_same_masses(exact_measure(program.feynman_kac()), as_written(program))


def test_a_trace_has_the_credit_of_each(tmp_path):
    program, path = fkdsl.parse(ENDLESS + IN_TURN.format(n=4)), tmp_path / "run.jsonl"
    guess = surrogate(program, 5)
    whole = program.run("smc", particles=6, seed=4, trace=path, lookahead=guess)
    lines = path.read_text().splitlines(keepends=True)
    assert any('"guess":[' in line for line in lines)
    for kept in range(2, len(lines), 2):
        path.write_text("".join(lines[:kept]))
        again = program.run("smc", particles=6, seed=4, resume=path, lookahead=guess)
        assert (again.particles, again.log_z) == (whole.particles, whole.log_z)
    at = next(k for k, line in enumerate(lines) if '"guess":[' in line)
    for wrong in ('"guess":[2.0,0.0,0]', '"guess":[0.5]', '"guess":[0.5,0.0,-1]'):
        strange = re.sub(r'"guess":\[[^]]*\]', wrong, lines[at])
        path.write_text("".join([*lines[:at], strange, *lines[at + 1 : at + 2]]))
        with pytest.raises(CallError):
            program.run("smc", particles=6, seed=4, resume=path, lookahead=guess)
