"""Small Feynman-Kac models with all that goes wrong in large ones: zero potentials, ties, early
finishers, potentials above 1, populations that die out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng

State = tuple[int, int]
"""(t, site)."""


@dataclass(frozen=True)
class Machine:
    """A chain over sites 0..n-1 for at most T steps, as tables.

    M[t][i]: probabilities of the next site. G[t][i][j]: the potential of going from i to j; G0:
    that of the start. stops: sites that end a run at once; at step T every run ends. merge: whether
    equal states may be merged.
    """

    M: tuple[tuple[tuple[float, ...], ...], ...]
    G: tuple[tuple[tuple[float, ...], ...], ...]
    G0: float = 1.0
    stops: frozenset[int] = frozenset()
    merge: bool = True

    @property
    def T(self) -> int:
        """The number of steps, at most."""
        return len(self.M)

    def initial(self, rngs: Sequence[Rng]) -> tuple[list[State], Floats]:
        return [(0, 0)] * len(rngs), np.full(len(rngs), _log(self.G0))

    def step(self, rngs: Sequence[Rng], xp: Sequence[State]) -> tuple[list[State], Floats]:
        x = [(t + 1, rng.choice(self.M[t][i])) for rng, (t, i) in zip(rngs, xp, strict=True)]
        log_G = [_log(self.G[t][i][j]) for (t, i), (_, j) in zip(xp, x, strict=True)]
        return x, np.array(log_G, dtype=np.float64)

    def finished(self, x: State) -> bool:
        return x[0] > 0 and (x[0] >= self.T or x[1] in self.stops)

    def value(self, x: State) -> Any:
        return x

    def key(self, x: State) -> Hashable:
        return x if self.merge else object()

    def log_bound(self, x: State) -> float:
        """The log of the largest product of potentials on any path from x on."""
        best = [1.0] * len(self.G[0])  # by site: the largest product from the next step on
        for t in reversed(range(x[0], self.T)):
            after = [1.0 if j in self.stops else b for j, b in enumerate(best)]
            best = [max(g * b for g, b in zip(row, after, strict=True)) for row in self.G[t]]
        return 0.0 if self.finished(x) else _log(best[x[1]])

    def describe(self, x: State) -> str:
        return f"site {x[1]} at {x[0]}"


def _log(p: float) -> float:
    return math.log(p) if p > 0.0 else -math.inf


WEIGHTS = st.sampled_from((1.0, 0.0, 0.5, 2.0, 1.0, 0.3, 3.7))
"""Ties, zeros, and values above 1; machines shrink towards potentials of 1."""


@st.composite
def machines(draw: st.DrawFn, sites: int = 2, steps: int = 2, bounded: bool = False) -> Machine:
    """Machines of up to the given sizes. bounded: potentials of at most 1, for rejection."""
    n = draw(st.integers(1, sites))
    T = draw(st.integers(1, steps))
    weights = st.sampled_from((1.0, 0.0, 0.25, 0.7)) if bounded else WEIGHTS

    def row() -> tuple[float, ...]:
        p = [draw(st.sampled_from((0.0, 1.0, 2.0, 5.0))) for _ in range(n)]
        if not any(p):
            p[0] = 1.0
        return tuple(x / sum(p) for x in p)

    M = tuple(tuple(row() for _ in range(n)) for _ in range(T))
    G = tuple(tuple(tuple(draw(weights) for _ in range(n)) for _ in range(n)) for _ in range(T))
    G0 = draw(st.sampled_from((1.0, 0.5) if bounded else (1.0, 0.5, 2.5, 0.0)))
    return Machine(
        M, G, G0, frozenset(draw(st.sets(st.integers(0, n - 1), max_size=1))), draw(st.booleans())
    )
