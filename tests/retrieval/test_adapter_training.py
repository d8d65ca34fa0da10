"""The gradient of the marginal likelihood, against finite differences of a sum by hand; training
ends with the best that was seen."""

import math

import numpy as np
import pytest

from fkdsl.base.deadline import Deadline, until
from fkdsl.retrieval import adapter_training as training
from fkdsl.retrieval.adapter_training import (
    AdapterSettings,
    Questions,
    best_places,
    evaluate,
    gather,
    marginals,
    places_of_many,
    train,
)
from fkdsl.retrieval.dense import Vectors

N, D, K, TEMPERATURE = 7, 4, 3, 0.3


@pytest.fixture
def world():
    """(vectors (N, D), queries (5, D), log p(y | x, d) (5, N), A (D, D)); one answer that one
    document cannot give, and one that none can."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((N, D)).astype(np.float16).astype(np.float64)
    queries = rng.standard_normal((5, D))
    log_likelihoods = np.log(rng.random((5, N)))
    log_likelihoods[1, 2], log_likelihoods[4] = -math.inf, -math.inf
    return vectors, queries, log_likelihoods, np.eye(D) + 0.3 * rng.standard_normal((D, D))


def by_hand(world, matrix, k):
    """log sum_d p(d | x) p(y | x, d) of each question, a sum at a time."""
    vectors, queries, log_likelihoods, _ = world
    result = []
    for q, log_p in zip(queries, log_likelihoods, strict=True):
        scores = [
            sum(v[i] * matrix[i, j] * q[j] for i in range(D) for j in range(D)) for v in vectors
        ]
        first = sorted(range(N), key=lambda i: (-scores[i], i))[:k]
        total = math.fsum(math.exp(scores[i] / TEMPERATURE) for i in first)
        mass = math.fsum(
            math.exp(scores[i] / TEMPERATURE) / total * math.exp(log_p[i]) for i in first
        )
        result.append(math.log(mass) if mass > 0.0 else -math.inf)
    return result


def by_formula(world, matrix, k):
    vectors, queries, log_likelihoods, _ = world
    held = Vectors(vectors.astype(np.float16))
    places = best_places(held, matrix, queries, k)
    log_p = gather(lambda i, at: log_likelihoods[i, at], range(5), places)
    return marginals(held, matrix, queries, places, log_p, TEMPERATURE)


@pytest.mark.parametrize("k", [K, N])
def test_the_gradient_is_that_of_the_marginal_likelihood(world, k, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", 2)
    matrix, h = world[3], 1e-5
    here = by_formula(world, matrix, k)
    assert here.log_marginals == pytest.approx(by_hand(world, matrix, k), abs=1e-5)
    for i in range(D):
        for j in range(D):
            step = np.zeros((D, D))
            step[i, j] = h
            up, down = (by_hand(world, matrix + s, k)[:4] for s in (step, -step))
            slope = (np.mean(up) - np.mean(down)) / (2 * h)
            assert here.gradient[i, j] == pytest.approx(slope, abs=1e-6)
    assert here.mean == pytest.approx(np.mean(by_hand(world, matrix, k)[:4]), abs=1e-5)


def test_many_queries_find_what_each_finds(world, monkeypatch):
    vectors, queries, _, matrix = world
    held = Vectors(vectors.astype(np.float16))
    for products in (1, 20, 1 << 20):
        monkeypatch.setattr(training, "PRODUCTS", products)
        many = places_of_many(held, matrix, queries, K)
        assert many.tolist() == best_places(held, matrix, queries, K).tolist()


def turned(n=40, seed=0):
    """(vectors, queries, log_likelihoods): questions whose right document the cosine never finds,
    since their embeddings are turned by a rotation that an adapter can take back."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((30, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    turn, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    right = rng.integers(0, 30, n)
    queries = vectors[right] @ turn.T + 0.05 * rng.standard_normal((n, 8))
    log_likelihoods = np.full((n, 30), math.log(0.02))
    log_likelihoods[np.arange(n), right] = math.log(0.8)
    return Vectors(vectors.astype(np.float16)), queries, log_likelihoods


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_training_takes_a_rotation_back_at_any_temperature(temperature):
    vectors, queries, log_likelihoods = turned(120)
    likelihoods = lambda i, at: log_likelihoods[i, at]  # noqa: E731
    learn, stop, held = (
        Questions(list(part), queries[part]) for part in np.split(np.arange(120), [80, 100])
    )
    settings = AdapterSettings(k=10)
    trained = train(vectors, np.eye(8), learn, stop, likelihoods, 3, temperature, settings)
    before = evaluate(vectors, np.eye(8), held, likelihoods, 3, temperature).mean
    after = evaluate(vectors, trained.matrix, held, likelihoods, 3, temperature).mean
    assert before < -3.0
    assert after > -1.5
    best = max(trained.looks, key=lambda look: look.validation)
    assert (trained.step, trained.penalty) == (best.step, best.penalty)
    assert trained.step > 0
    again = evaluate(vectors, trained.matrix, stop, likelihoods, 3, temperature).mean
    assert again == pytest.approx(best.validation)


def test_a_deadline_leaves_the_best_so_far():
    vectors, queries, log_likelihoods = turned()
    asked = []

    def likelihoods(i, at):
        asked.append(i)
        if len(asked) == 200:
            deadline.cancel()
        return log_likelihoods[i, at]

    with until(Deadline()) as deadline:
        of = Questions(list(range(20)), queries[:20])
        stop = Questions(list(range(20, 40)), queries[20:])
        settings = AdapterSettings(k=10)
        trained = train(vectors, np.eye(8), of, stop, likelihoods, 3, 0.1, settings)
    assert "cancelled" in trained.ended
    assert trained.looks
    assert trained.step == max(trained.looks, key=lambda look: look.validation).step


def test_what_cannot_be_learned_is_left_as_it_was():
    vectors, queries, log_likelihoods = turned()
    flat = np.full_like(log_likelihoods, -1.0)
    of = Questions(list(range(20)), queries[:20])
    settings = AdapterSettings(k=10)
    trained = train(vectors, np.eye(8), of, of, lambda i, at: flat[i, at], 3, 0.1, settings)
    assert trained.step == 0
    assert np.array_equal(trained.matrix, np.eye(8))
