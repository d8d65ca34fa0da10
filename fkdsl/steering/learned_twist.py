"""A learned twist: a guess at the log of the weight that is still to come of a particle, which
`fkdsl tune` has fitted.

    z = clip((x - mean) / scale, -CLIP, CLIP)                            x: features (F,)
    f(x) = bias + linear . z + output . tanh(hidden^T z + offset)        nats
    guess = f(x) between `low` and `high`, to a whole number of GRAINS

A particle is guessed about at the end of each step, by the row that its next draw is made from. So
the row is there when the population is resampled, and is not computed twice: the next step finds it
in the cache. What it costs are the rows of particles that resampling then leaves out.

The measure and Z are those without it, however bad it is (`RunningParticle.guess`): twisted SMC,
Guarniero, Johansen and Lee (2017); for language models Zhao, Brekelmans, Makhzani and Grosse (2024,
arXiv 2404.17546).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import Context
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import ContextState
from fkdsl.steering.twist_features import (
    OWNER,
    cheap_features,
    drawn_context,
    drawn_rows,
    row_features,
)

CLIP = 4.0
"""Standard deviations from its mean at which a feature is cut off."""
LARGEST = 200.0
"""Nats that a guess has at most, of either sign."""
GRAINS = 64
"""Parts of a nat that guesses are rounded to: rows that were computed in other batches differ in
their last digits, and equal states are to have equal guesses, so that they are merged."""


@dataclass(frozen=True, eq=False)
class LearnedTwist:
    """names: of the cheap features, in order. tokens: by model, those whose log-probabilities are
    features, after the cheap ones, one model after the other. mean, scale (F,): of the features,
    scale above 0. hidden (F, H), offset (H,), linear (F,), output (H,): float32. low, high: nats,
    within LARGEST."""

    names: tuple[str, ...]
    tokens: Mapping[str, tuple[int, ...]]
    mean: Floats
    scale: Floats
    hidden: Floats
    offset: Floats
    linear: Floats
    output: Floats
    bias: float
    low: float
    high: float

    @property
    def owner(self) -> str:
        return OWNER

    @property
    def size(self) -> int:
        """F, the number of features."""
        return feature_count(self.names, self.tokens)

    def rows(self, particle: RunningParticle) -> Sequence[tuple[str, Context]]:
        """The row that the next draw is made from, where it is of a context."""
        return drawn_rows(particle, self.tokens)

    def log_weight(self, particle: RunningParticle) -> float:
        """The guess about a particle, nats."""
        x = features_of(particle, self.names, self.tokens)
        return float(self.guesses(x[None, :])[0])

    def standardised(self, x: Floats) -> Floats:
        """z (n, F) of features x (n, F); 0, the mean, for what a particle has not."""
        return np.nan_to_num(np.clip((x - self.mean) / self.scale, -CLIP, CLIP), nan=0.0)

    def guesses(self, x: Floats) -> Floats:
        """The guesses (n,) about particles with features x (n, F), nats."""
        z = self.standardised(x)
        f = self.bias + z @ self.linear + np.tanh(z @ self.hidden + self.offset) @ self.output
        return np.round(np.clip(f, self.low, self.high) * GRAINS) / GRAINS


def feature_count(names: Sequence[str], tokens: Mapping[str, Sequence[int]]) -> int:
    """F: the cheap features and the log-probabilities."""
    return len(names) + sum(map(len, tokens.values()))


def features_of(
    particle: RunningParticle, names: Sequence[str], tokens: Mapping[str, tuple[int, ...]]
) -> Floats:
    """The features (F,) of a particle whose rows are in `particle.rows`; NaN for what it has
    not."""
    context = drawn_context(particle)
    cheap = cheap_features(particle, context)
    parts = [np.array([cheap.get(name, absent(name)) for name in names], dtype=np.float64)]
    for model, ids in tokens.items():
        row = _row(particle, context) if context is not None and context.model == model else None
        parts.append(np.full(len(ids), np.nan) if row is None else row_features(row, ids))
    return np.concatenate(parts)


def absent(name: str) -> float:
    """The value of a feature that a particle has not: 0 for what is 1 where it is so, else NaN."""
    return 0.0 if name.startswith(("at ", "ends ")) else np.nan


def _row(particle: RunningParticle, context: ContextState) -> Floats | None:
    row: Floats | None = particle.rows.get(context.node)
    return row
