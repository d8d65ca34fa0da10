"""Fitting a surrogate: expected counts against enumerated hidden paths, and a fit against the
hidden Markov model that the texts were drawn from."""

from itertools import pairwise, product
from math import log

import numpy as np
import pytest

from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.text_sampling import Sampling, draw_batch, neutral_prompts
from fkdsl.models.registry import load_model
from fkdsl.models.surrogate.ahead import Positions, nats_ahead
from fkdsl.models.surrogate.baselines import bigram_nats, unigram_nats
from fkdsl.models.surrogate.clusters import token_classes
from fkdsl.models.surrogate.counts import (
    Parameters,
    expected_counts,
    nats_per_token,
    unigram_of,
)
from fkdsl.models.surrogate.fitting import Fit, FitSettings, begun, fitted
from fkdsl.models.surrogate.gradient import GradientFit, ascended
from fkdsl.models.surrogate.head import Head
from fkdsl.models.surrogate.head_fitting import head_begun, head_fitted, head_of
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.models.surrogate.refining import refined, refined_model, refinement_begun
from fkdsl.models.surrogate.sample import NONE, SKETCH, Sample, joined
from fkdsl.models.surrogate.shipped import surrogate_for

TRUTH = Surrogate.of(
    [0.7, 0.3, 0.0],
    [[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.85, 0.05, 0.1]],
    [
        [0.60, 0.20, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01],
        [0.02, 0.03, 0.50, 0.30, 0.05, 0.05, 0.03, 0.02],
        [0.01, 0.02, 0.03, 0.04, 0.10, 0.20, 0.25, 0.35],
    ],
    "a fingerprint",
)


def drawn_texts(n, length, seed):
    """Texts of TRUTH with sketches and logarithms of its rows, by a filter of its own."""
    draw = np.random.default_rng(seed)
    signs = np.random.default_rng(5).choice([-1.0, 1.0], (8, SKETCH))
    tokens = np.full((n, length), NONE, dtype=np.int32)
    sketch, total = np.zeros((n, length, SKETCH), dtype=np.float16), np.zeros(8)
    read = np.zeros((n, length, 8), dtype=np.float16)
    for i in range(n):
        belief = TRUTH.start.astype(float)
        for k in range(int(draw.integers(length // 2, length + 1))):
            row = belief @ TRUTH.emission
            row /= row.sum()
            total += row
            sketch[i, k], read[i, k] = np.sqrt(row) @ signs, np.log(row)
            token = int(draw.choice(8, p=row))
            tokens[i, k] = token
            belief = (belief * TRUTH.emission[:, token]) @ TRUTH.transition
    return Sample(tokens, np.zeros(n, dtype=np.int32), sketch, read, total)


def bare(tokens, given):
    """A sample of these tokens, without anything of the rows."""
    shape = np.shape(tokens)
    sketch, read = np.zeros((*shape, SKETCH), np.float16), np.zeros((*shape, 2), np.float16)
    return Sample(np.array(tokens, np.int32), np.array(given, np.int32), sketch, read, np.ones(8))


@pytest.fixture(scope="module")
def texts():
    return drawn_texts(500, 30, 1), drawn_texts(200, 30, 2)


def paths(text, law=None):
    """Each hidden path of a text with its probability under TRUTH, in plain Python. law: of the
    first state, if it is not `start`."""
    start, transition, emission = (
        getattr(TRUTH, name).tolist() for name in ("start", "transition", "emission")
    )
    start = law or start
    for path in product(range(3), repeat=len(text)):
        p = start[path[0]]
        for k, token in enumerate(text):
            p *= emission[path[k]][token]
            p *= transition[path[k]][path[k + 1]] if k + 1 < len(text) else 1
        yield path, p


def test_expected_counts_are_sums_over_hidden_paths():
    texts = [(0, 5, 2, 2), (7, 1), (3,), (4, 4, 6)]
    sample = bare([[*t, *[NONE] * (4 - len(t))] for t in texts], [0] * 4)
    counts = expected_counts(Parameters.of(TRUTH), sample, np.array([2, 0, 3, 1]))
    start, transition, emission, log_p = np.zeros(3), np.zeros((3, 3)), np.zeros((8, 3)), 0.0
    for text in texts:
        weighted = list(paths(text))
        mass = sum(p for _, p in weighted)
        log_p += log(mass)
        for path, p in weighted:
            start[path[0]] += p / mass
            for k, token in enumerate(text):
                emission[token, path[k]] += p / mass
                if k:
                    transition[path[k - 1], path[k]] += p / mass
    assert np.abs(counts.start - start).max() <= 1e-5
    assert np.abs(counts.transition - transition).max() <= 1e-5
    assert np.abs(counts.emission - emission).max() <= 1e-5
    assert abs(counts.log_p - log_p) <= 1e-4
    assert abs(nats_per_token(Parameters.of(TRUTH), sample) + log_p / 10) <= 1e-5


def test_the_tokens_of_a_prompt_are_read_and_not_measured():
    sample = bare([[0, 5, 2, 2]], [3])
    whole, prompt = (sum(p for _, p in paths(text)) for text in ((0, 5, 2, 2), (0, 5, 2)))
    expected = log(prompt) - log(whole)
    assert abs(nats_per_token(Parameters.of(TRUTH), sample) - expected) <= 1e-5
    unigram = np.full(8, 1 / 8)
    assert abs(unigram_nats(sample, unigram) - log(8)) <= 1e-12


def test_a_fit_comes_near_to_the_model_that_the_texts_are_from(texts):
    training, held_out = texts
    unigram = unigram_of(training.total)
    settings = FitSettings(states=3, passes=6)
    fit = fitted(
        begun(training, held_out, settings, unigram), training, held_out, settings, unigram
    )
    truth = nats_per_token(Parameters.of(TRUTH), held_out)
    bigram = bigram_nats(training, held_out, unigram)
    # 37 free numbers fitted to about 11,000 tokens cost about 37 / 22,000 nats a token.
    assert truth - 0.003 <= fit.curve[-1] <= truth + 0.015
    assert fit.curve[-1] < fit.curve[0]
    assert truth + 0.03 < bigram < unigram_nats(held_out, unigram)


def test_a_fit_goes_on_from_any_pass_to_the_same_end(texts):
    training, held_out = texts
    unigram, settings = unigram_of(training.total), FitSettings(states=3, passes=3)
    saved = []
    end = fitted(
        begun(training, held_out, settings, unigram),
        training,
        held_out,
        settings,
        unigram,
        save=lambda fit: saved.append({name: t.copy() for name, t in fit.tensors().items()}),
    )
    again = fitted(Fit.of(saved[0]), training, held_out, settings, unigram)
    assert len(saved) == 3
    assert again.curve == end.curve
    for name, tensor in end.tensors().items():
        assert (again.tensors()[name] == tensor).all()


def test_tokens_that_stand_in_the_same_places_have_one_class():
    draw = np.random.default_rng(0)
    # 0 to 3 are followed by 4 to 7, and these by 0 to 3; 8 is in no text.
    first, second = draw.integers(0, 4, (200, 8)), draw.integers(4, 8, (200, 8))
    tokens = np.stack([first, second], axis=2).reshape(200, 16).astype(np.int32)
    classes = token_classes(tokens, 9, 2)
    assert len(set(classes[:4])) == 1
    assert set(classes[4:8]) == {1 - classes[0]}
    assert classes[8] == -1


def test_a_bigram_with_a_class_for_each_token_is_the_bigram(texts):
    training, held_out = texts
    unigram = unigram_of(training.total)
    settings = FitSettings(kind="bigram", states=8)
    fit = begun(training, held_out, settings, unigram)
    counts = fit.counts.transition
    order = token_classes(training.tokens, 8, 8)
    follows = np.zeros((8, 8))
    for text in training.tokens.tolist():
        for a, b in pairwise(text):
            if b != NONE:
                follows[order[a], order[b]] += 1
    assert (counts == follows).all()
    assert abs(fit.curve[0] - bigram_nats(training, held_out, unigram)) <= 0.02
    assert fitted(fit, training, held_out, settings, unigram) is fit


# ----------------------------------------------------- by gradient, and the head


def test_the_likelihood_of_the_next_tokens_is_a_sum_over_hidden_paths():
    """From each drawn position on, of a filter and of a head that says the same anywhere."""
    texts, given = [(0, 5, 2, 2), (7, 1), (4, 4, 6)], [1, 1, 0]
    sample = bare([[*t, *[NONE] * (4 - len(t))] for t in texts], given)
    law = [0.2, 0.5, 0.3]
    head = Head(np.arange(2), np.zeros((2, 3), np.float32), np.log(law).astype(np.float32))
    likelihoods = {None: [], head: []}
    for text, first in zip(texts, given, strict=True):
        for k in range(first, len(text)):
            before = sum(p for _, p in paths(text[:k])) if k else 1.0
            ends = range(k + 1, len(text) + 1)
            likelihoods[None].append([sum(p for _, p in paths(text[:n])) / before for n in ends])
            likelihoods[head].append([sum(p for _, p in paths(text[k:n], law)) for n in ends])
    for by, found in likelihoods.items():
        of_next, of_others = nats_ahead(Parameters.of(TRUTH), sample, by)
        others = sum(len(p) - 1 for p in found)
        # The filter's beliefs are kept in 16 bits.
        assert abs(of_next + np.mean([log(p[0]) for p in found])) <= 1e-3
        assert abs(of_others + sum(log(p[-1] / p[0]) for p in found) / others) <= 1e-3


LAWS = np.array([[0.7, 0.1, 0.2], [0.1, 0.6, 0.3]])
ENTROPY = -(LAWS * np.log(LAWS)).sum(axis=1).mean()


def modes(n, length, seed):
    """Texts all of whose tokens are by one of two laws, which each row tells."""
    draw = np.random.default_rng(seed)
    mode = draw.integers(0, 2, n)
    tokens = np.array([draw.choice(3, length, p=LAWS[z]) for z in mode], np.int32)
    read = np.repeat(np.log(LAWS)[mode][:, None], length, axis=1).astype(np.float16)
    sketch = np.zeros((n, length, SKETCH), np.float16)
    return Sample(tokens, np.zeros(n, np.int32), sketch, read, np.ones(3))


def saving(saved):
    """What has the tensors of each pass put into a list."""
    return lambda fit: saved.append({name: t.copy() for name, t in fit.tensors().items()})


def same(one, other):
    theirs = other.tensors()
    return all((t == theirs[name]).all() for name, t in one.tensors().items())


@pytest.fixture(scope="module")
def in_modes():
    return modes(200, 10, 1), modes(200, 10, 2)


def test_states_become_what_the_rows_tell(in_modes):
    training, held_out = in_modes
    columns = np.array([[0.41, 0.39], [0.34, 0.36], [0.25, 0.25]], np.float32)
    alike = Parameters(*(np.full(s, 0.5, np.float32) for s in (2, (2, 2))), columns)
    begun, saved = refinement_begun(alike, training, unigram_of(training.total)), []
    end = refined(begun, alike.start, training, held_out, 3, 0, save=saving(saved))
    found = refined_model(end, alike.start)
    order = [0, 1] if found.columns[0, 0] > found.columns[0, 1] else [1, 0]
    assert np.abs(found.columns.T[order] - LAWS).max() <= 0.12
    assert np.diag(found.transition).min() >= 0.8
    before = nats_ahead(alike, held_out)[1]
    assert end.curve[-1] == nats_ahead(found, held_out)[1] <= before - 0.05
    # It goes on from any pass to the same end.
    again = refined(GradientFit.of(saved[1]), alike.start, training, held_out, 3, 0)
    assert same(end, again)


def test_a_head_knows_what_rows_tell_and_the_filter_does_not(in_modes):
    training, held_out = in_modes
    truth = Parameters(
        np.array([0.5, 0.5], np.float32), np.eye(2, dtype=np.float32), LAWS.T.astype(np.float32)
    )
    saved = []
    end = head_fitted(head_begun(2, training), truth, training, held_out, 3, 0, save=saving(saved))
    head = head_of(end, np.arange(3))
    of_next, of_others = nats_ahead(truth, held_out, head)
    by_filter = nats_ahead(truth, held_out)
    # The sample's own entropy differs by chance.
    assert abs(of_next - ENTROPY) <= 0.04
    assert of_next <= by_filter[0] - 0.02
    assert of_others <= by_filter[1] - 0.005
    assert end.curve[-1] == of_others
    again = head_fitted(GradientFit.of(saved[0]), truth, training, held_out, 3, 0)
    assert same(end, again)


def test_a_pass_that_makes_held_out_texts_worse_is_undone(in_modes):
    training, _ = in_modes
    fit, figures = head_begun(2, training), iter([1.0, 0.9, 0.95])

    def nothing(numbers, at):
        return sum(n.sum() for n in numbers.values())

    saved, positions = [], Positions.of(training)
    end = ascended(
        fit,
        {"bias": 0.1},
        nothing,
        positions,
        9,
        0,
        measure=lambda fit: next(figures),
        save=saved.append,
    )
    assert (end.passes, end.curve) == (9, (1.0, 0.9, 0.95))
    assert (end.numbers["bias"] == saved[0].numbers["bias"]).all()
    assert (end.numbers["bias"] != fit.numbers["bias"]).all()


def test_a_head_begins_as_the_filter(in_modes):
    training, held_out = in_modes
    model = Parameters(
        np.array([0.3, 0.7], np.float32),
        np.full((2, 2), 0.5, np.float32),
        LAWS.T.astype(np.float32),
    )
    head = head_of(head_begun(2, training), np.arange(3))
    off = np.subtract(nats_ahead(model, held_out, head), nats_ahead(model, held_out))
    assert np.abs(off).max() <= 1e-3  # of beliefs that are kept in 16 bits


def test_samples_of_different_lengths_are_joined():
    a, b = drawn_texts(3, 4, 3), drawn_texts(2, 9, 4)
    both = joined([a, b])
    assert both.tokens.shape == (5, 9)
    assert both.drawn == a.drawn + b.drawn
    assert (both.lengths == [*a.lengths, *b.lengths]).all()
    assert (both.total == a.total + b.total).all()


def test_the_surrogate_that_ships_with_tiny_is_better_than_a_bigram():
    model = load_model("tiny")
    surrogate = surrogate_for(model)
    sampling = Sampling(neutral_prompts(model), 40, 48, seed=12345)
    fresh = draw_batch(CachedTransformer(model), sampling, 0, np.arange(4))
    assert fresh.drawn > 1200
    figures = surrogate.about["nats a held-out token"]
    nats = nats_per_token(Parameters.of(surrogate), fresh)
    # The standard error of a mean over 1,500 bytes is about 0.05 nats.
    assert abs(nats - figures["surrogate"]) <= 0.2
    assert nats <= figures["bigram"] - 0.25
    assert figures["bigram"] < unigram_nats(fresh, unigram_of(fresh.total))
