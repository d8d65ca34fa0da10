"""The outcomes of a population's draws, listed, and the method that chooses among them (dpf): by
enumeration the measure is the program's, whatever stands behind a draw and whatever looks ahead."""

import math

import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.inference.samplers import dpf as home
from fkdsl.inference.samplers.dpf import dpf
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure
from tests.steering.test_completion import PROGRAMS as TEXTS
from tests.steering.test_completion import TABLE, ahead, as_written, model_of, surrogate

DRAWS = {
    "what is tried behind a draw": """\
program p() -> str:
    lm = prompt("")
    n = 0
    for i in range(3):
        t ~ lm
        n += 1 if t == "a" else 0
        condition n * n != 1 or i < 1
    return lm.text
""",
    "a choice, a number and a mixture": """\
program p() -> str:
    lm = prompt("")
    other = prompt("b")
    c ~ choice(lm, ["a", "bb"])
    k ~ uniform_int(1, 3)
    factor 0.3 * k
    t ~ mixture([lm, other], weights=[0.5, 0.5])
    condition k < 3 or t != EOS
    return c + str(k) + str(t)
""",
    "draws without a checkpoint between them": """\
program p() -> str:
    lm = prompt("")
    checkpoint
    t ~ lm
    u ~ bernoulli(0.25)
    factor 0.5 if u else 0.0
    checkpoint
    v ~ lm
    condition v != EOS or u
    return str(t) + str(u) + str(v)
""",
    "some return early, some die": """\
program p() -> str:
    lm = prompt("")
    t ~ lm
    if t == EOS:
        factor 1.5
        return "early"
    v ~ lm
    condition v == t
    w ~ lm
    return lm.text
""",
}


@pytest.mark.parametrize("rejection", [True, False])
@pytest.mark.parametrize("particles", [1, 2, 3])
@pytest.mark.parametrize("name", DRAWS)
def test_the_measure_is_the_program_s(name, particles, rejection):
    program = fkdsl.parse(TABLE + DRAWS[name])
    settings = ProposalSettings(rejection=rejection, enumerated=0 if particles == 2 else 32)
    model = program.feynman_kac(proposals=settings)
    found = expected_measure(model, lambda rng: dpf(model, rng, particles))
    assert_same_masses(found, exact_measure(program.without().feynman_kac()))


@pytest.mark.parametrize("use", ["proposal", "twist", "both"])
@pytest.mark.parametrize(
    "name", ["a stop, behind a prompt", "a grammar", "with a twist of its own"]
)
def test_what_is_promised_is_in_no_weight(name, use):
    program = fkdsl.parse(TABLE + TEXTS[name])
    for seed, kind in ((1, "random"), (2, "bad")):
        lookahead = ahead(program, surrogate(program, seed, kind), use)
        model = model_of(program, lookahead)
        found = expected_measure(model, lambda rng, m=model: dpf(m, rng, 2))
        assert_same_masses(found, as_written(program))
        assert lookahead.tilted > 0


@pytest.mark.parametrize("bug", ["kept at its own weight", "weighed by what it promises"])
def test_planted_bugs_are_caught(monkeypatch, bug):
    right = home.reduce_outcomes

    def wrong(rng, scored, N):
        kept = right(rng, scored, N)
        if bug == "kept at its own weight":
            return [k._replace(log_factor=0.0) for k in kept]
        return [k._replace(log_factor=k.log_factor - scored[k.particle].log_scale) for k in kept]

    monkeypatch.setattr(home, "reduce_outcomes", wrong)
    with pytest.raises(AssertionError, match="mass of"):
        test_what_is_promised_is_in_no_weight("a stop, behind a prompt", "both")


def test_nothing_is_left_to_chance_where_all_outcomes_fit():
    program = fkdsl.parse(TABLE + DRAWS["some return early, some die"])
    model = program.feynman_kac()
    log_z = math.log(math.fsum(exact_measure(program.without().feynman_kac()).values()))
    for seed in (1, 2):
        *_, last = dpf(model, KeyedRng(seed), 50)
        assert last.log_Z == pytest.approx(log_z, abs=1e-12)


def test_no_two_particles_are_equal_and_the_number_is_kept():
    model = fkdsl.parse(
        TABLE + TEXTS["a pattern"].replace("max_tokens=3", "max_tokens=8")
    ).feynman_kac()
    for step in list(dpf(model, KeyedRng(3), 6))[1:]:
        living = [x for x, w in zip(step.states, step.log_weights, strict=True) if w > -math.inf]
        assert len({model.key(x) for x in living}) == len(living) <= 6
