"""States written and read: the same key and the same future, whole or as what they add to the state
before."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.samplers.smc import smc
from fkdsl.machine import state_json as serialise
from fkdsl.machine.places import Places
from fkdsl.machine.state import UNSET, ContextState, ProgramState, Status
from fkdsl.machine.state_json import state_from_json, state_to_json
from fkdsl.machine.value_json import read_value, same, write_value
from fkdsl.models.table import TableModel
from fkdsl.testing import program_texts
from fkdsl.values.values import ContextRef, Record, Token

GROWING = """
model m = table:
    "" -> "a": 0.4, "b": 0.3, "é": 0.3
def line(lm: context, n: int) -> str:
    s = "."
    for i in range(n):
        t ~ lm
        s += t
        factor 0.1 if t == "a" else -0.1
    return s
program p(n: int = 3) -> list[str]:
    lm = prompt("a long prompt")
    other = fork(lm)
    found = ["-"]
    for k in range(2):
        s ~ line(lm, n)
        found = found + [s]
        more ~ continues(other)
        condition more or k < 1
    n ~ uniform_int(1, 3)
    return found
"""


def histories(model, n=4, seed=5):
    """(state, the state that it came from or None) of every particle of every step."""
    before = None
    for step in smc(model, KeyedRng(seed), n, ess=1.0):
        for particle, a in zip(step.particles, step.ancestors, strict=True):
            yield particle.state, before.particles[a].state if before else None
        before = step


def verify_law(model):
    """Each state of a run is itself again, by itself and from its ancestor, and goes on in the same
    way."""
    places = Places.of(model.code)
    for x, base in histories(model):
        for start in (None, base):
            data = json.loads(json.dumps(state_to_json(x, places, start), allow_nan=False))
            again = state_from_json(data, model.engines, places, start)
            assert again.key() == x.key()
            assert (again, again.charges, again.drawn) == (x, x.charges, x.drawn)
            if x.status is Status.RUNNING:
                (a,), (g,) = model.step([KeyedRng(1)], [x])
                (b,), (h,) = model.step([KeyedRng(1)], [again])
                assert (a.key(), g) == (b.key(), h)


@settings(max_examples=25)
@given(program_texts())
def test_a_state_that_is_read_back_has_the_same_key_and_the_same_future(text):
    verify_law(fkdsl.parse(text).feynman_kac())


def test_calls_forks_lists_and_settled_continuations_are_read_back():
    verify_law(fkdsl.parse(GROWING).feynman_kac())


@pytest.mark.parametrize("name", ["hidden_state", "two_bits"])
def test_states_of_the_programs_are_read_back(name):
    verify_law(fkdsl.load(f"programs/{name}.fk").feynman_kac())


def test_a_lost_continuation_is_caught(monkeypatch):
    """A planted bug: `pending` is not read back."""
    real = serialise._read_context
    monkeypatch.setattr(
        serialise, "_read_context", lambda *args: real(*args)._replace(pending=None)
    )
    with pytest.raises(AssertionError):
        verify_law(fkdsl.parse(GROWING).feynman_kac())


def history_size(n):
    model = fkdsl.parse(GROWING)(n=n).feynman_kac()
    places = Places.of(model.code)
    return sum(len(json.dumps(state_to_json(x, places, base))) for x, base in histories(model, 1))


def test_a_history_is_as_long_as_what_happened_in_it():
    """Four times the tokens take four times the room, though a text and a context grow by all of
    them."""
    assert history_size(200) <= 4.2 * history_size(50)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(UNSET)
    | st.builds(Token, st.integers(0, 9), st.text(), st.booleans())
    | st.builds(ContextRef, st.integers(0, 3)),
    lambda inner: st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(), inner, max_size=3).map(Record),
    max_leaves=6,
)  # fmt: skip


@given(values)
def test_values_survive_to_the_last_bit(value):
    again = read_value(json.loads(json.dumps(write_value(value), allow_nan=False)))
    assert same(again, value)


def test_long_integers_infinities_and_signed_zeros_are_kept_apart():
    for value in (10**5000, -(2**60), math.inf, -0.0, (1, 1.0, True)):
        assert same(read_value(json.loads(json.dumps(write_value(value)))), value)
    assert not same(0.0, -0.0)
    assert not same((1,), (True,))
    assert not same(Token(1, "a", False), Token(2, "a", False))


def test_a_context_that_was_taken_back_keeps_what_it_shares():
    """A move on the text already drawn goes back before it goes on."""
    engine = CachedTransformer(TableModel("m", {"": {"a": 0.5, "b": 0.5}}))
    places, node = Places(()), engine.extend(engine.root, (0, 1, 1, 0))
    base = ProgramState(Status.RUNNING, contexts=(ContextState("", node, 1, 1),))
    moved = engine.extend(engine.root, (0, 1, 0, 0))
    x = ProgramState(Status.RUNNING, contexts=(ContextState("", moved, 1, 1, True, False),))
    data = state_to_json(x, places, base)
    assert data["contexts"] == [{"keep": 2, "add": [0, 0], "done": True, "pending": False}]
    assert state_from_json(data, {"": engine}, places, base) == x
