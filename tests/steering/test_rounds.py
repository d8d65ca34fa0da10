"""Draws as requests: the interpreter stops at them, rounds serve them, and each is made once."""

import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.machine import interpreter
from fkdsl.machine.interpreter import DONE, Draw
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import Status
from fkdsl.steering import particle_step
from fkdsl.steering.rounds import Rounds
from fkdsl.values.faults import NeedRows

TABLE = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, "c": 0.2
    "a" -> "a": 0.4, "b": 0.6
"""
TEXT = TABLE + (
    'program main() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=7)\n'
    '    condition not contains(s, "bb")\n    return s\n'
)
TWO = TABLE + (
    'program main() -> str:\n    lm = prompt("")\n    other = prompt("a")\n    x ~ bernoulli(0.5)\n'
    "    if x:\n        t ~ lm\n        return str(t)\n"
    "    y ~ uniform_int(1, 2)\n    u ~ other\n    checkpoint\n    return str(u)\n"
)
ASKING = TABLE + (
    'program main() -> float:\n    lm = prompt("")\n    x ~ bernoulli(0.5)\n'
    '    p = logprob(fork(lm), "ab")\n    t ~ lm\n    return p\n'
)


def first(text):
    """(model, a particle at the beginning of its first step)."""
    model = fkdsl.parse(text)().feynman_kac()
    ((state,), _) = model.initial([KeyedRng(0)])
    particle = RunningParticle(model.code, model.engines, KeyedRng(1), model.limits)
    particle.resume(state)
    return model, particle


def test_a_program_of_n_draws_makes_n_proposals_and_raises_nothing(monkeypatch):
    proposals, raised = [], []
    propose, begin = particle_step.propose, NeedRows.__init__
    monkeypatch.setattr(
        particle_step, "propose", lambda draw: proposals.append(draw.op) or propose(draw)
    )
    monkeypatch.setattr(
        NeedRows, "__init__", lambda self, wanted: raised.append(wanted) or begin(self, wanted)
    )
    fkdsl.parse(TEXT).run("importance", particles=6, seed=2)
    assert len(proposals) == 6 * 7
    assert not raised


def test_the_interpreter_stops_at_a_draw_and_calls_no_model():
    model, particle = first(TEXT)
    draw = interpreter.advance(particle)
    assert isinstance(draw, Draw)
    assert draw.op is particle.op
    assert model.engines[""].stats.model_calls == 0
    assert particle.log_G == 0.0
    assert interpreter.advance(particle) == draw  # it stands where it stood


def test_a_particle_that_has_passed_its_boundary_is_done():
    _, particle = first(TEXT)
    particle.boundary = True
    assert interpreter.advance(particle) is DONE
    particle.status = Status.DEAD
    assert interpreter.advance(particle) is DONE


def test_an_expression_that_asks_a_model_leaves_its_particle_at_the_ops_beginning():
    model, particle = first(ASKING)
    draw = interpreter.advance(particle)
    particle.assign_drawn(particle.frames[-1], draw.op.target, True)
    particle.boundary = False
    contexts = particle.contexts
    with pytest.raises(NeedRows) as first_time:
        interpreter.advance(particle)
    assert particle.contexts is contexts  # the fork that the op made is gone
    with pytest.raises(NeedRows) as again:
        interpreter.advance(particle)
    assert {node for _, node in first_time.value.wanted} == {node for _, node in again.value.wanted}
    while True:
        try:
            draw = interpreter.advance(particle)
            break
        except NeedRows as need:
            nodes = [node for _, node in need.wanted]
            rows = model.engines[""].log_probs(nodes)
            particle.rows |= dict(zip(nodes, rows, strict=True))
    assert isinstance(draw, Draw)
    assert not particle.rows


def test_particles_at_different_draws_are_served_in_one_round(monkeypatch):
    rounds = []
    serve = Rounds.serve

    def watched(self, requests, precomputed=None, first=()):
        rounds.append({step.draw.op.site for step, _ in requests})
        return serve(self, requests, precomputed, first)

    monkeypatch.setattr(Rounds, "serve", watched)
    fkdsl.parse(TWO).run("importance", particles=12, seed=3)
    assert max(len(sites) for sites in rounds) == 2
