"""A surrogate: its beliefs against enumerated hidden paths, its file, and what is wrong with a
damaged one."""

import json
import zlib
from dataclasses import replace
from itertools import product
from math import exp, log

import numpy as np
import pytest
from safetensors.numpy import load, save

from fkdsl.base.errors import CallError
from fkdsl.models.surrogate import model as surrogates
from fkdsl.models.surrogate.files import FORMATS, _checksum, read, write
from fkdsl.models.surrogate.head import Head
from fkdsl.models.surrogate.model import WINDOW, Surrogate
from fkdsl.models.vocabulary import Vocabulary


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


def test_the_stationary_distribution_is_reached_in_a_few_steps(monkeypatch):
    """float32 rounds the rows of a chain, whose sums are then not quite 1."""
    steps = []
    monkeypatch.setattr(
        surrogates, "range", lambda n: (steps.append(k) or k for k in range(n)), raising=False
    )
    draw = np.random.default_rng(1)
    start, chain = draw.dirichlet(np.ones(5)), draw.dirichlet(np.ones(5), 5)
    surrogate = Surrogate.of(start, chain, np.full((5, 4), 0.25), "")
    settled = np.linalg.matrix_power(chain, 500)[0]
    assert np.abs(surrogate.stationary - settled).max() <= 1e-6
    assert 0 < len(steps) <= 100


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


def with_head(tokens=(2, 0), seed=0):
    """A surrogate of 3 states and 4 tokens with a head, whose weights are of 16 bits."""
    draw = np.random.default_rng(seed)
    weights = draw.normal(size=(len(tokens), 3)).astype(np.float16).astype(np.float32)
    bias = draw.normal(size=3).astype(np.float32)
    return replace(drawn(), head=Head(np.array(tokens), weights, bias, 0.25))


def test_a_head_is_a_softmax_of_some_log_probabilities(tmp_path):
    surrogate, filtered = with_head(), np.array([0.5, 0.375, 0.125], np.float32)
    row = np.log(np.array([0.125, 0.25, 0.5, 0.125]))
    logits = [
        sum(float(w) * x for w, x in zip(surrogate.head.weights[:, h], row[[2, 0]], strict=True))
        + float(surrogate.head.bias[h])
        + 0.25 * log(filtered[h])
        for h in range(3)
    ]
    masses = [exp(logit) for logit in logits]
    expected = [mass / sum(masses) for mass in masses]
    assert np.abs(surrogate.head.belief(row, filtered) - expected).max() <= 1e-6
    # What cannot come is taken for what hardly comes.
    never = row.copy()
    never[2] = -np.inf
    assert np.isfinite(surrogate.head.belief(never, np.array([1, 0, 0], np.float32))).all()


def test_a_file_keeps_a_head(tmp_path):
    surrogate = with_head()
    write(tmp_path / "s", surrogate)
    head = read(tmp_path / "s").head
    assert (head.tokens == surrogate.head.tokens).all()
    assert (head.weights == surrogate.head.weights).all()
    assert (head.bias == surrogate.head.bias).all()
    assert head.share == surrogate.head.share
    write(tmp_path / "plain", drawn())
    assert read(tmp_path / "plain").head is None


@pytest.mark.parametrize("size", [0, 7, 100, -1])
@pytest.mark.parametrize("made", [drawn, with_head])
def test_a_file_that_was_cut_off_is_refused(tmp_path, size, made):
    path = tmp_path / "s"
    write(path, made())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CallError, match="is no surrogate, or was cut off"):
        read(path)


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "s"
    write(path, drawn())
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CallError, match="was changed since it was made"):
        read(path)


def forged(path, tensors=None, facts=None):
    """Changes a surrogate's file as a stranger could, who computes the checksum anew."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    kept = header["__metadata__"] | (facts or {})
    del kept["checksum"]
    arrays = load(data) | (tensors or {})
    arrays = {name: t for name, t in arrays.items() if t is not None}
    kept["checksum"] = _checksum(kept, arrays)
    path.write_bytes(save(arrays, kept))


def floats(*shape, value=0.0, dtype=np.float16):
    return np.full(shape, value, dtype=dtype)


BOMB = zlib.compress(bytes(1 << 24))
DAMAGES = {
    "no states": ({}, {"states": "0"}, "0 states over 4 tokens"),
    "too many states": ({}, {"states": "5000"}, "5000 states over 4 tokens"),
    "too large": ({}, {"states": "4096", "tokens": "1000000"}, "are too many"),
    "no number": ({}, {"states": "three"}, "invalid literal"),
    "negative": ({}, {"states": "-3"}, "-3 states"),
    "no about": ({}, {"about": "[]"}, "says nothing of how it was made"),
    "about is no JSON": ({}, {"about": "{"}, "no surrogate that can be used"),
    "about is deep": ({}, {"about": "[" * 100_000}, "no surrogate that can be used"),
    "a tensor is missing": ({"start": None}, {}, "other names"),
    "a tensor too many": ({"more": floats(2)}, {}, "other names"),
    "short start": ({"start": floats(2)}, {}, "start is (2,) of float16"),
    "flat transition": ({"transition": floats(9)}, {}, "transition is (9,)"),
    "long background": ({"background": floats(5)}, {}, "background is (5,)"),
    "wide floats": ({"start": floats(3, dtype=np.float64)}, {}, "start is (3,) of float64"),
    "NaN": ({"start": floats(3, value=np.nan)}, {}, "start has values that are not finite"),
    "infinity": ({"background": floats(4, value=np.inf)}, {}, "background has values that are"),
    "no logarithm": ({"start": floats(3, value=500)}, {}, "that no logarithm"),
    "huge step": ({"step": floats(3, value=1e30, dtype=np.float32)}, {}, "that no logarithm"),
    "huge offset": ({"offset": floats(3, value=-1e9, dtype=np.float32)}, {}, "that no logarithm"),
    "not compressed": ({"emission": np.arange(12, dtype=np.uint8)}, {}, "cannot be unpacked"),
    "other bytes": ({"emission": floats(12)}, {}, "are not compressed bytes"),
    "a bomb": ({"emission": np.frombuffer(BOMB, dtype=np.uint8)}, {}, "of another size"),
    "too few codes": (
        {"emission": np.frombuffer(zlib.compress(bytes(11)), dtype=np.uint8)},
        {},
        "of another size",
    ),
    "something after the codes": (
        {"emission": np.frombuffer(zlib.compress(bytes(12)) + b"x", dtype=np.uint8)},
        {},
        "of another size",
    ),
    "another format": ({}, {"format": "fkdsl surrogate 0"}, "of this version"),
    "no head": ({}, {"format": FORMATS[1]}, "head tokens"),
}
HEAD_DAMAGES = {
    "a head too many": ({}, {"format": FORMATS[0]}, "other names"),
    "no tokens": ({"head tokens": np.zeros(0, np.int32)}, {}, "a head that reads 0 tokens"),
    "a token too far": ({"head tokens": np.array([0, 4], np.int32)}, {}, "the vocabulary has not"),
    "a token below": ({"head tokens": np.array([0, -1], np.int32)}, {}, "the vocabulary has not"),
    "wide tokens": ({"head tokens": np.arange(2)}, {}, "head tokens is (2,) of int64"),
    "too many tokens": (
        {"head tokens": np.zeros(5000, np.int32)},
        {},
        "a head that reads 5000 tokens",
    ),
    "few weights": ({"head weights": floats(3, 3)}, {}, "head weights is (3, 3)"),
    "NaN": ({"head weights": floats(2, 3, value=np.nan)}, {}, "head weights has values that are"),
    "a huge bias": (
        {"head bias": floats(3, value=1e30, dtype=np.float32)},
        {},
        "head bias has values beyond",
    ),
    "no share": ({"head share": None}, {}, "other names"),
    "two shares": ({"head share": floats(2, dtype=np.float32)}, {}, "head share is (2,)"),
}


@pytest.mark.parametrize(
    ("made", "damage"),
    [*((drawn, d) for d in DAMAGES.values()), *((with_head, d) for d in HEAD_DAMAGES.values())],
    ids=[*DAMAGES, *(f"head: {name}" for name in HEAD_DAMAGES)],
)
def test_a_forged_file_is_refused_with_its_damage(tmp_path, made, damage):
    path = tmp_path / "s"
    write(path, made())
    tensors, facts, message = damage
    forged(path, tensors, facts)
    with pytest.raises(CallError) as caught:
        read(path)
    assert message in caught.value.message
    assert caught.value.help == "make it again by fkdsl distil"


def test_no_forged_number_makes_a_row_that_does_not_sum_to_1(tmp_path):
    path = tmp_path / "s"
    write(path, drawn())
    least, most = -60.0, 120.0
    tensors = {
        "start": np.array([least, least, least], dtype=np.float16),
        "transition": floats(3, 3, value=least),
        "background": np.array([least, most, 0, least], dtype=np.float16),
        "step": floats(3, value=most, dtype=np.float32),
        "offset": floats(3, value=-most, dtype=np.float32),
    }
    forged(path, tensors)
    surrogate = read(path)
    for name in ("start", "transition", "emission"):
        assert np.abs(getattr(surrogate, name).sum(-1) - 1).max() <= 1e-5
    assert (surrogate.emission > 0).all()
    assert np.isfinite(surrogate.beliefs([(0, 1, 2, 3) * 6])).all()


def test_a_surrogate_of_another_vocabulary_is_refused(tmp_path):
    path = tmp_path / "s"
    vocabulary = Vocabulary((b"a", b"b", b"c", b""), ends=frozenset({3}))
    other = Vocabulary((b"a", b"b", b"d", b""), ends=frozenset({3}))
    write(path, replace(drawn(), fingerprint=vocabulary.fingerprint))
    assert read(path, vocabulary).states == 3
    with pytest.raises(CallError, match="a surrogate of another vocabulary") as caught:
        read(path, other)
    assert "fkdsl distil" in caught.value.help
    # Equal fingerprints do not make a file of five tokens one of four.
    write(path, replace(drawn(tokens=5), fingerprint=vocabulary.fingerprint))
    with pytest.raises(CallError, match="another vocabulary"):
        read(path, vocabulary)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CallError, match="there is no file") as caught:
        read(tmp_path / "s")
    assert "fkdsl distil MODEL" in caught.value.help
    with pytest.raises(CallError, match="it is a folder, not a file"):
        read(tmp_path)


@pytest.mark.filterwarnings("error")
def test_after_a_token_that_it_holds_to_be_impossible_a_surrogate_knows_nothing():
    surrogate = Surrogate.of(
        [0.2, 0.8], [[0.9, 0.1], [0.3, 0.7]], [[0.5, 0.5, 0.0], [0.1, 0.9, 0.0]], ""
    )
    beliefs = surrogate.beliefs([(0, 2), (0, 1)])
    np.testing.assert_allclose(beliefs[0], surrogate.stationary)
    after = surrogate.after(surrogate.beliefs([(0,), (0,)]), [2, 1])
    np.testing.assert_allclose(after, beliefs)
