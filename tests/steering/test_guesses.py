"""Guesses of fkdsl's own weigh particles at the end of each step and are taken back: the measure is
that without them, whatever they say and however many owners they have."""

import json
import math
from hashlib import blake2b

import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.inference.run import run
from fkdsl.inference.samplers.smc import smc
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.places import Places
from fkdsl.machine.state_json import state_from_json, state_to_json
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.testing.laws import (
    assert_same_masses,
    exact_measure,
    expected_measure,
    named_sampler,
    unbiased_methods,
)
from tests.steering.test_twist import PROGRAMS, TABLE, without


class Drawn:
    """A guesser that says any number, of 0.5 nats and a multiple, by the particle's state."""

    def __init__(self, owner, salt=b""):
        self.owner, self.salt = owner, salt

    def rows(self, particle):
        return [(c.model, c.node) for c in particle.contexts if not c.done][:1]

    def log_weight(self, particle):
        assert all(node in particle.rows for _, node in self.rows(particle))
        contexts = [c.node.tokens for c in particle.contexts]
        values = [[v for v in f.slots if isinstance(v, bool | int | str)] for f in particle.frames]
        digest = blake2b(repr((self.salt, contexts, values)).encode()).digest()
        return digest[0] % 9 / 2 - 2.0


def guessed(program, *owners):
    model = program.feynman_kac()
    guessers = [Drawn(owner, owner.encode()) for owner in owners]
    return SteeringModel(model.code, model.engines, model.arguments, guessers=guessers)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_measure_is_that_without_guesses_and_twists(name):
    plain = exact_measure(fkdsl.parse(TABLE + without(PROGRAMS[name])).feynman_kac())
    for program in (
        fkdsl.parse(TABLE + PROGRAMS[name]),
        fkdsl.parse(TABLE + PROGRAMS[name]).without(),
    ):
        for owners in (("b",), ("a", "b")):
            assert_same_masses(exact_measure(guessed(program, *owners)), plain, 1e-12)


@pytest.mark.parametrize("method", sorted(unbiased_methods()))
def test_every_method_is_unbiased_with_guesses(method):
    program = fkdsl.parse(TABLE + PROGRAMS["before a draw that looks ahead"])
    model = guessed(program, "a", "b")
    sampler = named_sampler(model, method, {})
    assert_same_masses(expected_measure(model, sampler), exact_measure(program.feynman_kac()))


def never(particle, owner, log_weight):
    if log_weight != 0.0:
        particle.weigh(log_weight, particle.code.functions[particle.code.entry].span)


def twice(particle, owner, log_weight):
    before = particle.guesses.pop(owner, 0.0)
    particle.guesses[owner] = log_weight
    returned = 2.0 if log_weight == 0.0 else 1.0
    place = particle.code.functions[particle.code.entry].span
    particle.weigh(log_weight - returned * before, place)


@pytest.mark.parametrize("bug", [never, twice])
def test_a_guess_that_is_not_taken_back_once_is_caught(monkeypatch, bug):
    monkeypatch.setattr(RunningParticle, "guess", bug)
    with pytest.raises(AssertionError, match="mass of"):
        test_the_measure_is_that_without_guesses_and_twists("by each token")


def test_a_state_with_guesses_is_read_back():
    model = guessed(fkdsl.parse(TABLE + PROGRAMS["by each token"]), "a", "b")
    places = Places.of(model.code)
    held = 0
    for step in smc(model, KeyedRng(3), 6, ess=1.0):
        for x in step.states:
            data = json.loads(json.dumps(state_to_json(x, places)))
            again = state_from_json(data, model.engines, places)
            assert (again, again.key(), again.charges) == (x, x.key(), x.charges)
            held += len(x.guesses)
    assert held > 6


def test_exact_has_its_bounds_with_guesses():
    text = TABLE + without(PROGRAMS["by each token"])
    program = fkdsl.parse(text)
    log_z = math.log(math.fsum(exact_measure(program.feynman_kac()).values()))
    for states in (5, 6, 8):
        ended = run(guessed(program, "a"), "exact", options={"max_states": states}, lazy=True)
        low, high = ended.log_z_bounds or (ended.log_z, ended.log_z)
        assert low <= log_z + 1e-12 <= high + 2e-12
        assert high <= 1e-12
