"""A surrogate: its beliefs against enumerated hidden paths, its file, and what is wrong with a
damaged one."""

from itertools import product

import numpy as np
import pytest

from fkdsl.models.surrogate.files import read, write
from fkdsl.models.surrogate.model import WINDOW, Surrogate


def drawn(states=3, tokens=4, seed=0):
    """A surrogate of random numbers, with transitions and starts of probability zero."""
    draw = np.random.default_rng(seed)
    transition = draw.dirichlet(np.ones(states), states)
    transition[0, 1] = 0
    start = draw.dirichlet(np.ones(states))
    start[0] = 0
    emission = draw.dirichlet(np.full(tokens, 0.3), states) + 1e-6
    return Surrogate.of(start, transition, emission, "a fingerprint", {"model": "none"})


def enumerated_belief(surrogate, first, tokens):
    """P(z_next | tokens) as a sum over all hidden paths, in plain Python. first: the law of z_1."""
    start = [float(p) for p in first]
    transition = [[float(p) for p in row] for row in surrogate.transition]
    emission = [[float(p) for p in row] for row in surrogate.emission]
    H, masses = len(start), [0.0] * len(start)
    for path in product(range(H), repeat=len(tokens) + 1):
        mass = start[path[0]]
        for k, token in enumerate(tokens):
            mass *= emission[path[k]][token] * transition[path[k]][path[k + 1]]
        masses[path[-1]] += mass
    return [mass / sum(masses) for mass in masses]


def test_a_belief_is_the_sum_over_hidden_paths():
    surrogate = drawn()
    texts = [text for n in range(5) for text in product(range(4), repeat=n)]
    beliefs = surrogate.beliefs(texts)
    for text, belief in zip(texts, beliefs, strict=True):
        expected = enumerated_belief(surrogate, surrogate.start, text)
        assert np.abs(belief - expected).max() <= 1e-6


def test_a_long_text_is_filtered_from_the_stationary_distribution():
    surrogate = drawn(states=2)
    stationary = np.linalg.matrix_power(surrogate.transition.astype(float), 2000)[0]
    text = tuple(np.random.default_rng(1).integers(0, 4, WINDOW + 1).tolist())
    expected = enumerated_belief(surrogate, stationary, text[-WINDOW:])
    assert np.abs(surrogate.beliefs([text])[0] - expected).max() <= 1e-6
    other = (*np.random.default_rng(2).integers(0, 4, 30).tolist(), *text[-WINDOW:])
    assert (surrogate.beliefs([other]) == surrogate.beliefs([text])).all()


def test_a_chain_with_a_period_has_its_mean_as_its_stationary_distribution():
    turns = Surrogate.of([1, 0], [[0, 1], [1, 0]], [[0.5, 0.5], [0.5, 0.5]], "")
    assert np.abs(turns.stationary - 0.5).max() <= 1e-6


def test_a_belief_does_not_depend_on_what_is_asked_with_it():
    draw = np.random.default_rng(3)
    surrogate = drawn(states=40, tokens=60)
    lengths = (0, 3, WINDOW, WINDOW + 1, 40, 2, 5, 9, 11, 1)
    texts = [tuple(draw.integers(0, 60, n).tolist()) for n in lengths]
    together = surrogate.beliefs(texts)
    for text, belief in zip(texts, together, strict=True):
        assert (surrogate.beliefs([text])[0] == belief).all()


def test_a_file_gives_back_what_was_written_to_within_its_codes(tmp_path):
    surrogate = drawn(states=5, tokens=300)
    write(tmp_path / "s", surrogate)
    again = read(tmp_path / "s")
    assert again.fingerprint == surrogate.fingerprint
    assert again.about == surrogate.about
    # Half a code, and the rounding of the background to 16 bits.
    span = np.log(surrogate.emission.max() / surrogate.emission.min())
    bound = span / 255 + 0.02
    assert np.abs(np.log(again.emission / surrogate.emission)).max() <= bound
    for name in ("start", "transition"):
        ours, theirs = getattr(again, name), getattr(surrogate, name)
        assert ((ours == 0) == (theirs == 0)).all()
        assert np.abs(ours - theirs).max() <= 0.01
    for name in ("start", "transition", "emission"):
        assert np.abs(getattr(again, name).astype(float).sum(-1) - 1).max() <= 1e-5
    assert (again.emission > 0).all()


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_file_that_was_cut_off_is_refused(tmp_path, size):
    from fkdsl.base.errors import CallError

    path = tmp_path / "s"
    write(path, drawn())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CallError, match="is no surrogate, or was cut off"):
        read(path)
