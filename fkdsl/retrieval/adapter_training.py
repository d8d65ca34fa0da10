"""Training an adapter: gradient ascent on the marginal likelihood of answers, the documents and
the generator fixed (Lewis et al. 2020, arXiv 2005.11401, sections 2.1 and 2.4).

    L(A) = mean over questions (x, y) of  log sum_d p_A(d | x) p(y | x, d)
    p_A(d | x) = exp(s_A(d, x) / temperature) / sum over the k best d' of the same
    s_A(d, x) = e(d) . A e(x)

With r(d) = p_A(d | x) p(y | x, d) / sum_d' of the same, the posterior of the documents,

    dL / ds(d, x) = (r(d) - p_A(d | x)) / temperature,      so that
    dL / dA = mean over x of  sum_d dL/ds(d, x) e(d) e(x)^T

exactly, for the k best as they are; these are looked for again as A moves. p(y | x, d) does not
depend on A: each pair is asked of the generator once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import DeadlinePassed, check
from fkdsl.base.logspace import Floats
from fkdsl.retrieval.bm25 import best
from fkdsl.retrieval.dense import Vectors

Places = NDArray[np.int64]
RATE, RATE_OF_SCALE, MOMENTUM = 100.0, 0.05, 0.9
"""Of a step of W, in units of (temperature / a)^2, and of log a; what is kept of the last step."""
SCALES = tuple(float(x) for x in np.linspace(-6.0, 6.0, 49))
"""Values of log a that are tried first."""
MOST_SCALE = (-8.0, 8.0)
LEAST = 1e-6
"""Nats by which one L is better than another."""
PRODUCTS = 1 << 22
"""Products of queries and documents that are made at once, about."""
CHUNK = 256
"""Questions whose documents' vectors are held at once."""


class Likelihoods(Protocol):
    """log p(y | x, d), nats, -inf where d cannot give the answer."""

    def __call__(self, question: int, places: Sequence[int]) -> Floats:
        """(places,) of the question of that number and each of these documents."""
        ...


@dataclass(frozen=True)
class AdapterSettings:
    """k: documents that the sum in training is over. steps: of gradient ascent at most. penalties:
    what half the squared norm of W costs, nats; each is tried, and the validation set chooses.
    every: steps between two looks at that set, where the k best are found anew. patience: looks
    without a better value after which an ascent ends."""

    k: int
    steps: int = 300
    penalties: tuple[float, ...] = (0.3, 0.1, 0.03)
    every: int = 5
    patience: int = 8


@dataclass(frozen=True)
class Marginals:
    """L of some questions. log_marginals: (n,) log sum_d p(d | x) p(y | x, d), nats; -inf where no
    document of the k best can give the answer. gradient: dL/dA (D, D) of the mean of those that
    are finite."""

    log_marginals: Floats
    gradient: Floats

    @property
    def mean(self) -> float:
        """The mean of those that are finite; NaN if none is."""
        finite = self.log_marginals[np.isfinite(self.log_marginals)]
        return float(finite.mean()) if len(finite) else float("nan")


@dataclass(frozen=True)
class Look:
    """A look at how training goes. training: mean log marginal likelihood, nats, of the k documents
    that training sums over; validation: by the program's own k."""

    penalty: float
    step: int
    training: float
    validation: float


@dataclass
class Trained:
    """matrix: the A that was best on the validation set. step, penalty: when it was, 0 for where it
    began. looks: in order. ended: why it ended early, "" if it did not."""

    matrix: Floats
    step: int = 0
    penalty: float = 0.0
    looks: tuple[Look, ...] = ()
    ended: str = ""


def best_places(vectors: Vectors, matrix: Floats, queries: Floats, k: int) -> Places:
    """(n, min(k, passages)) the places of the k best documents of each query (n, D), best first:
    those that a run finds, since each product is made as a run makes it."""
    narrow, found = matrix.astype(np.float32), []
    for query in queries.astype(np.float32):
        check()
        found.append(best(vectors.products(query @ narrow.T), k))
    return np.array(found, np.int64).reshape(len(queries), -1)


def places_of_many(vectors: Vectors, matrix: Floats, queries: Floats, k: int) -> Places:
    """As `best_places`, for many queries in a tenth of the time; documents whose scores differ by
    rounding alone may change places."""
    adapted = (queries @ matrix.T).astype(np.float32)
    found = []
    for some in np.array_split(adapted, 1 + len(queries) * len(vectors) // PRODUCTS):
        check()
        found += [best(column, k) for column in vectors.products(some.T).T]
    return np.array(found, np.int64).reshape(len(queries), -1)


def marginals(
    vectors: Vectors,
    matrix: Floats,
    queries: Floats,
    places: Places,
    log_likelihoods: Floats,
    temperature: float,
) -> Marginals:
    """L of queries (n, D), given the places (n, k) of their documents and log p(y | x, d) (n, k),
    with its gradient."""
    n, size = queries.shape
    values, gradient = np.full(n, -np.inf), np.zeros((size, size))
    for start in range(0, n, CHUNK):
        check()
        part = slice(start, start + CHUNK)
        q, at = queries[part], places[part]
        v = vectors.at(at.ravel().tolist()).reshape(*at.shape, size).astype(np.float64)  # (m, k, D)
        scores = np.einsum("mkd,md->mk", v, q @ matrix.T) / temperature
        log_p = scores - _log_sums(scores)[:, None]
        joint = log_p + log_likelihoods[part]
        total = _log_sums(joint)
        values[part] = total
        live = np.isfinite(total)
        r = np.exp(joint[live] - total[live, None])
        g = (r - np.exp(log_p[live])) / temperature
        gradient += np.einsum("mk,mkd->md", g, v[live]).T @ q[live]
    return Marginals(values, gradient / max(1, int(np.isfinite(values).sum())))


def _log_sums(x: Floats) -> Floats:
    """log of the sum of exp over the last axis; -inf where all are."""
    top = x.max(axis=-1)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        result: Floats = shift + np.log(np.exp(x - shift[..., None]).sum(axis=-1))
    return result


def gather(likelihoods: Likelihoods, numbers: Sequence[int], places: Places) -> Floats:
    """log p(y | x, d) (n, k) of questions by their numbers, and the places of their documents."""
    return np.array(
        [likelihoods(i, at.tolist()) for i, at in zip(numbers, places, strict=True)]
    ).reshape(places.shape)


@dataclass(frozen=True)
class Questions:
    """numbers: by which likelihoods are asked. queries: (n, D) their embeddings, float64."""

    numbers: Sequence[int]
    queries: Floats


def evaluate(
    vectors: Vectors,
    matrix: Floats,
    of: Questions,
    likelihoods: Likelihoods,
    k: int,
    temperature: float,
) -> Marginals:
    """L of questions as a program with this k has it: of its own k best documents."""
    places = best_places(vectors, matrix, of.queries, k)
    return marginals(
        vectors, matrix, of.queries, places, gather(likelihoods, of.numbers, places), temperature
    )


def train(
    vectors: Vectors,
    begin: Floats,
    training: Questions,
    validation: Questions,
    likelihoods: Likelihoods,
    k: int,
    temperature: float,
    settings: AdapterSettings,
    report: Callable[[Look], None] = lambda look: None,
) -> Trained:
    """The adapter that is best on the validation set, from (D, D) `begin` on. k, temperature: the
    program's. A deadline that passes ends it with the best so far."""
    trained = Trained(begin)
    best_value = -np.inf
    try:
        for penalty in settings.penalties:
            least, at = -np.inf, 0  # the best of this ascent, and its step
            for look, matrix in _ascent(
                vectors, begin, training, validation, likelihoods, k, temperature, settings, penalty
            ):
                if look.step or not trained.looks:
                    report(look)
                    trained.looks += (look,)
                if look.validation > best_value + LEAST:
                    best_value, trained.matrix = look.validation, matrix
                    trained.step, trained.penalty = look.step, penalty
                if look.validation > least + LEAST:
                    least, at = look.validation, look.step
                elif look.step >= at + settings.patience * settings.every:
                    break
    except DeadlinePassed as passed:
        trained.ended = f"time ran out {passed}"
    return trained


def _ascent(
    vectors: Vectors,
    begin: Floats,
    training: Questions,
    validation: Questions,
    likelihoods: Likelihoods,
    k: int,
    temperature: float,
    settings: AdapterSettings,
    penalty: float,
) -> Iterator[tuple[Look, Floats]]:
    """(what is seen, A) before the first step and every few steps."""
    places = places_of_many(vectors, begin, training.queries, settings.k)
    log_p = gather(likelihoods, training.numbers, places)

    def here(matrix: Floats) -> Marginals:
        return marginals(vectors, matrix, training.queries, places, log_p, temperature)

    def look(step: int, matrix: Floats, training: float) -> tuple[Look, Floats]:
        held = evaluate(vectors, matrix, validation, likelihoods, k, temperature)
        return Look(penalty, step, training, held.mean), matrix

    yield look(0, begin, here(begin).mean)
    log_a = max(SCALES, key=lambda x: _or_least(here(np.exp(x) * begin).mean) - LEAST * abs(x))
    state = Ascent(begin, log_a, temperature, penalty)
    for step in range(1, settings.steps + 1):
        fresh = step % settings.every == 1 and step > 1
        if fresh:
            places = places_of_many(vectors, state.matrix, training.queries, settings.k)
            log_p = gather(likelihoods, training.numbers, places)
        at = here(state.matrix)
        state.move(at, comparable=not fresh)
        if step % settings.every == 0:
            yield look(step, state.matrix, at.mean)


def _or_least(x: float) -> float:
    return x if np.isfinite(x) else -np.inf


class Ascent:
    """Gradient ascent with momentum on L(A) - penalty |W|^2 / 2, A = a (A0 + W), over W and log a.

    The factor a is apart since a temperature that suits the embedding badly is no matter of
    directions. A step of W is of RATE (temperature / a)^2, in which the curvature of L is the same
    at any temperature. Where L has fallen, it begins anew with half the rate (O'Donoghue and
    Candes 2015).
    """

    def __init__(self, begin: Floats, log_a: float, temperature: float, penalty: float) -> None:
        self.begin, self.log_a, self.temperature, self.penalty = begin, log_a, temperature, penalty
        self.w, self.speed, self.speed_a = np.zeros_like(begin), np.zeros_like(begin), 0.0
        self.rate, self.last = 1.0, -np.inf

    @property
    def matrix(self) -> Floats:
        """A."""
        result: Floats = np.exp(self.log_a) * (self.begin + self.w)
        return result

    def move(self, at: Marginals, *, comparable: bool) -> None:
        """One step. at: L and its gradient where it stands. comparable: whether the documents are
        those of the step before."""
        value = at.mean - self.penalty * float((self.w**2).sum()) / 2.0
        if comparable and value < self.last - 1e-9:
            self.rate /= 2.0
            self.speed, self.speed_a = np.zeros_like(self.w), 0.0
        self.last = value
        a = float(np.exp(self.log_a))
        of_w = a * at.gradient - self.penalty * self.w
        of_a = float((at.gradient * self.matrix).sum())
        self.speed = MOMENTUM * self.speed + of_w
        self.speed_a = MOMENTUM * self.speed_a + of_a
        self.w = self.w + self.rate * RATE * (self.temperature / a) ** 2 * self.speed
        change = self.rate * RATE_OF_SCALE * self.speed_a
        self.log_a = float(np.clip(self.log_a + np.clip(change, -0.5, 0.5), *MOST_SCALE))
