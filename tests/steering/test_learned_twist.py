"""A learned twist is a function of a particle's state; whatever its numbers are, the measure is
that without it."""

import json
import math

import numpy as np
import pytest

import fkdsl
from fkdsl.api.twist_data import Recorder, Scout, log_descendants
from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.smc import smc
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import Status
from fkdsl.steering.learned_twist import GRAINS, LARGEST, LearnedTwist, feature_count, features_of
from fkdsl.steering.twist_features import cheap_features, drawn_context
from fkdsl.testing.laws import (
    assert_same_masses,
    exact_measure,
    expected_measure,
    named_sampler,
)
from tests.steering.test_twist import PROGRAMS, TABLE, without

SEVERAL = """\
def two(lm: context) -> str:
    s ~ text(lm, until="b", max_tokens=2)
    return s

program p() -> str:
    lm = prompt("")
    other = prompt("a")
    c ~ choice(other, ["a", "b"])
    s ~ two(lm)
    more ~ continues(other)
    n ~ uniform_int(0, 1)
    factor 0.7 * len(s) - 0.3 * n
    return c + s + str(more)
"""

LATE = """\
program p() -> str:
    lm = prompt("")
    t ~ lm
    u ~ bernoulli(0.3)
    factor 1.5 if u and t == "a" else -0.5
    return f"{t}{u}"
"""


def random_twist(program, seed=0, hidden=4):
    """A twist of any numbers over the features that the program's particles have."""
    scout = Scout()
    list(smc(program.feynman_kac(guessers=[scout]), KeyedRng(1), 12, ess=0.0))
    names, tokens = scout.names(), scout.tokens()
    size, rng = feature_count(names, tokens), np.random.default_rng(seed)
    return LearnedTwist(
        names, tokens, rng.normal(size=size), rng.uniform(0.5, 2.0, size),
        rng.normal(size=(size, hidden)), rng.normal(size=hidden),
        rng.normal(size=size) / math.sqrt(size), rng.normal(size=hidden), 0.3, -3.0, 3.0,
    )  # fmt: skip


@pytest.mark.parametrize("name", [*PROGRAMS, "several kinds of draws"])
def test_the_measure_is_that_without_it(name):
    program = fkdsl.parse(TABLE + PROGRAMS.get(name, SEVERAL))
    plain = exact_measure(fkdsl.parse(without(TABLE + PROGRAMS.get(name, SEVERAL))).feynman_kac())
    for seed in range(2):
        twist = random_twist(program, seed)
        assert_same_masses(exact_measure(program.feynman_kac(guessers=[twist])), plain, 1e-12)


@pytest.mark.parametrize("method", ["smc", "tempered"])
def test_methods_are_unbiased_with_it(method):
    """All are with any guesses: tests/steering/test_guesses.py."""
    program = fkdsl.parse(TABLE + PROGRAMS["before a draw that looks ahead"])
    model = program.feynman_kac(guessers=[random_twist(program)])
    sampler = named_sampler(model, method, {})
    assert_same_masses(expected_measure(model, sampler), exact_measure(program.feynman_kac()))


def running(program, **options):
    """(model, every running state of a run that guesses nothing)."""
    model = program.feynman_kac(guessers=[Scout()])
    steps = list(smc(model, KeyedRng(2), 20, ess=1.0, **options))
    return model, [x for s in steps[1:] for x in s.states if x.status is Status.RUNNING]


def features(model, x, names, tokens):
    particle = RunningParticle(model.code, model.engines, KeyedRng(0))
    particle.resume(x)
    context = drawn_context(particle)
    if context is not None:
        (row,) = model.engines[context.model].log_probs([context.node])
        particle.rows[context.node] = row
    return particle, features_of(particle, names, tokens)


def test_what_a_twist_sees_is_there_by_name():
    program = fkdsl.parse(TABLE + SEVERAL)
    model, states = running(program)
    seen = set()
    for x in states:
        particle, _ = features(model, x, (), {})
        context = drawn_context(particle)
        cheap = cheap_features(particle, context)
        assert all(math.isfinite(v) for v in cheap.values())
        seen.update(cheap)
        raw = model.engines[""].raw(x.contexts[0].node)
        if context is None:
            assert cheap["text bytes"] == len(raw)
    assert {"tokens", "text vowels", "letter a", "ends letter", "slot p 0"} > {"slot p 0"}
    assert {"tokens", "text vowels", "letter a", "ends letter"} <= seen
    assert any(name.startswith("at two ") for name in seen)


def test_looking_at_a_particle_leaves_it_as_it_is():
    program = fkdsl.parse(TABLE + SEVERAL)
    model, states = running(program)
    for x in states:
        particle, _ = features(model, x, (), {})
        assert particle.state().key() == x.key()
        assert particle.state().unmeasured == x.unmeasured


def test_equal_states_have_equal_guesses_and_guesses_are_bounded_and_grained():
    program = fkdsl.parse(TABLE + PROGRAMS["by each token"])
    twist = random_twist(program)
    model = program.feynman_kac(guessers=[twist])
    by_key = {}
    for step in smc(model, KeyedRng(5), 30, ess=1.0):
        for x in step.states:
            for guess in x.guesses:
                assert -3.0 <= guess.log_weight <= 3.0
                assert (guess.log_weight * GRAINS).is_integer()
                place = (x.frames, x.contexts)
                assert by_key.setdefault(place, guess.log_weight) == guess.log_weight
    assert len(by_key) >= 5
    assert LARGEST >= 3.0


def test_a_run_with_and_without_a_small_cache_is_the_same():
    program = fkdsl.parse(TABLE + SEVERAL)
    twist = random_twist(program)

    def figures(memory):
        engines = program.engines(cache_memory=memory)
        model = program.feynman_kac(engines=engines, guessers=[twist])
        return [s.log_weights.tolist() for s in smc(model, KeyedRng(4), 9, ess=0.7)]

    assert figures(None) == figures(64)


def test_no_draw_is_made_by_a_guess():
    """Recording features, or guessing 0, changes no particle."""
    program = fkdsl.parse(TABLE + SEVERAL)
    scout = Scout()
    list(smc(program.feynman_kac(guessers=[scout]), KeyedRng(1), 5))
    recorder = Recorder(scout.names(), scout.tokens(), None)
    runs = [
        [
            (s.log_weights.tolist(), [model.describe(x) for x in s.states])
            for s in smc(model, KeyedRng(8), 9)
        ]
        for model in (program.feynman_kac(), program.feynman_kac(guessers=[recorder]))
    ]
    assert runs[0] == runs[1]
    assert recorder.features


def test_descendants_weigh_what_is_to_come_on_average():
    """E[sum_i d_i 1{x_i = x}] is the mass of all paths through x, for resampling at every step."""
    program = fkdsl.parse(TABLE + LATE)
    plain, t = program.feynman_kac(), 1
    twisted = program.feynman_kac(guessers=[random_twist(program)])

    def through(model, n):
        found = {}

        def run(rng):
            return list(smc(model, rng, n, ess=1.0, merge=False))

        for p, steps in enumerate_outcomes(run, 400_000):
            for x, d in zip(steps[t].states, log_descendants(steps)[t], strict=True):
                if d > -math.inf:
                    place = x.contexts[0].node.tokens
                    found[place] = found.get(place, 0.0) + p * math.exp(d)
        return found

    truth = through(plain, 1)
    assert len(truth) > 1
    assert_same_masses(through(twisted, 2), truth)


def test_a_trace_with_a_learned_twist_is_read_back(tmp_path):
    program = fkdsl.parse(TABLE + PROGRAMS["by each token"])
    path = tmp_path / "run.jsonl"
    from fkdsl.api.twist_file import identity, write_twist

    file = tmp_path / "p.twist"
    engines = program.engines()
    write_twist(file, random_twist(program), identity(program, engines), {})
    whole = program.run(particles=6, seed=4, trace=path, twist=file)
    lines = path.read_text().splitlines(keepends=True)
    assert json.loads(lines[0])["twist"]
    assert any('"guesses":{"learned":' in line.replace(" ", "") for line in lines)
    path.write_text("".join(lines[:3]))
    assert program.run(particles=6, seed=4, resume=path, twist=file).particles == whole.particles
    path.write_text("".join(lines[:3]))
    with pytest.raises(fkdsl.CallError, match="learned twist"):
        program.run(particles=6, seed=4, resume=path)
