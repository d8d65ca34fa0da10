"""Outcomes by rank: likeliest first, the same order however many are held, and a long vocabulary at
the cost of a few."""

import math
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.inference.search import ranked as ranked_module
from fkdsl.inference.search.best_first import best_first
from fkdsl.inference.search.ranked import RankedRng, ranked

WIDE = 50_000


class Vocabulary:
    """Two draws from a long vocabulary, the second only after its likeliest half."""

    def __init__(self):
        p = np.random.default_rng(0).permutation(1.0 / np.arange(1, WIDE + 1) ** 3)
        self.p = (p / p.sum()).astype(np.float32)
        self.steps = 0

    def initial(self, rngs):
        return [()] * len(rngs), np.zeros(len(rngs))

    def step(self, rngs, xp):
        self.steps += len(xp)
        x = [(*s, rng.choice(self.p)) for rng, s in zip(rngs, xp, strict=True)]
        return x, np.array([0.0 if s[-1] % 2 == 0 else -math.inf for s in x])

    def finished(self, x):
        return len(x) == 2

    def value(self, x):
        return x

    def key(self, x):
        return x

    def log_bound(self, x):
        return 0.0

    def describe(self, x):
        return str(x)


def test_a_long_vocabulary_costs_steps_for_what_is_looked_at_only():
    model = Vocabulary()
    began = time.monotonic()
    *_, last = best_first(model, max_states=500)
    even = float(model.p[::2].astype(np.float64).sum() / model.p.astype(np.float64).sum())
    assert model.steps <= 500
    assert time.monotonic() - began < 10
    assert math.exp(last.bounds[0]) <= even**2 <= math.exp(last.bounds[1])
    assert last.gap < 1.0
    # The heaviest pairs are the first that are found.
    order = np.argsort(-np.where(np.arange(WIDE) % 2 == 0, model.p, 0.0), kind="stable")
    assert (int(order[0]), int(order[0])) in last.states


@given(
    st.lists(st.sampled_from((0.0, 0.1, 0.1, 0.4, 0.2)), min_size=1, max_size=9), st.integers(1, 4)
)
def test_outcomes_are_ranked_the_same_however_many_are_asked_for(p, kept):
    p = np.array(p)
    support = int(np.count_nonzero(p))
    if not support:
        return
    before, ranked_module.KEPT = ranked_module.KEPT, kept
    try:
        parts, skip = [], 0
        while skip < support:
            parts.append(ranked(p, 1.0, skip))
            skip = parts[-1].next_rank
    finally:
        ranked_module.KEPT = before
    order = [i for part in parts for i in part.order.tolist()]
    assert order == sorted(np.flatnonzero(p).tolist(), key=lambda i: (-p[i], i))
    for k, part in enumerate(parts):
        rest = order[kept * k :]
        assert np.allclose(
            np.exp(part.log_from), [p[rest[j:]].sum() for j in range(len(part.order))], atol=1e-14
        )


def test_a_weighted_draw_leaves_its_mass_in_the_outcomes():
    rng = RankedRng((1,))
    assert rng.weighted(np.array([0.1, 0.2]), 0.3) == (1, 0.0)
    rng = RankedRng()
    rng.weighted(np.array([0.1, 0.2]), 0.3)
    assert abs(rng.log_p - math.log(0.2)) <= 1e-12
