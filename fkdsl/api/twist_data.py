"""What a learned twist is fitted to: particles of recorded runs, with their features, and what
their descendants weighed in the end.

A `Recorder` guesses as the twist so far does, or nothing, and keeps the features of every particle
that it is asked about. `flock_of` goes back through the steps of a run: the descendants of a
particle weigh what the final particles that come from it weigh together. That is unbiased for the
particle's weight times what was still to come of it, under any resampling, so long as every
particle is its parent's child: runs for a fit merge nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng, StepRng
from fkdsl.engine.cached_transformer import Context
from fkdsl.inference.assess.twist_fit import Flock, tempered
from fkdsl.inference.interface import Step
from fkdsl.inference.population import stream
from fkdsl.machine.particle import RunningParticle
from fkdsl.machine.state import ProgramState, Status
from fkdsl.steering.learned_twist import LearnedTwist, features_of
from fkdsl.steering.twist_features import OWNER, cheap_features, drawn_context, drawn_rows

MOST_NAMES = 256
"""Cheap features of a twist at most: those that were there most often."""
MOST_TOKENS = 128
"""Tokens of a model whose log-probabilities are features at most: the most probable ones."""
MOST_MODELS = 4
"""Models whose rows are features at most."""
ENOUGH = 3.0
"""Paths that should have a share in what a step teaches; see `tempered`."""


@dataclass
class Scout:
    """A guesser that guesses nothing and sees what there is: which cheap features vary, and which
    tokens are probable."""

    owner: str = OWNER
    values: dict[str, set[float]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    mass: dict[str, Floats] = field(default_factory=dict)

    def rows(self, particle: RunningParticle) -> Sequence[tuple[str, Context]]:
        context = drawn_context(particle)
        return () if context is None else ((context.model, context.node),)

    def log_weight(self, particle: RunningParticle) -> float:
        context = drawn_context(particle)
        for name, value in cheap_features(particle, context).items():
            self.seen[name] += 1
            if len(values := self.values.setdefault(name, set())) < 3:
                values.add(value)
        if context is not None and context.node in particle.rows:
            row = np.exp(particle.rows[context.node].astype(np.float64))
            if context.model in self.mass or len(self.mass) < MOST_MODELS:
                self.mass[context.model] = self.mass.get(context.model, 0.0) + row
        return 0.0

    def names(self) -> tuple[str, ...]:
        """The features that are not the same for all particles, in alphabetical order."""
        total = max(self.seen.values(), default=0)
        varying = [
            name for name, n in self.seen.most_common() if len(self.values[name]) > 1 or n < total
        ]
        return tuple(sorted(varying[:MOST_NAMES]))

    def tokens(self) -> dict[str, tuple[int, ...]]:
        """By model, the tokens that were most probable in its rows."""
        return {
            model: tuple(int(i) for i in np.sort(np.argsort(-mass, kind="stable")[:MOST_TOKENS]))
            for model, mass in self.mass.items()
        }


@dataclass
class Recorder:
    """A guesser that guesses as a twist does, None for nothing, and keeps features by the key of a
    particle's stream in the step."""

    names: tuple[str, ...]
    tokens: Mapping[str, tuple[int, ...]]
    twist: LearnedTwist | None
    owner: str = OWNER
    features: dict[bytes, NDArray[np.float32]] = field(default_factory=dict)

    def rows(self, particle: RunningParticle) -> Sequence[tuple[str, Context]]:
        return drawn_rows(particle, self.tokens)

    def log_weight(self, particle: RunningParticle) -> float:
        x = features_of(particle, self.names, self.tokens)
        if isinstance(particle.rng, StepRng):
            self.features[particle.rng.key] = x.astype(np.float32)
        return 0.0 if self.twist is None else float(self.twist.guesses(x[None, :])[0])


def log_descendants(steps: Sequence[Step[Any]]) -> list[Floats]:
    """Of each step and each of its particles, the log of what the final particles that come from it
    weigh together, nats; -inf for one without any.

    E[sum_i d_i g(x_i)] = E_M[ prod_s G_s g(X_t) ] for every t and g: given the particles up to step
    t, d_i has mean w_i h(x_i), h what is still to come.
    """
    log_d = np.array(steps[-1].log_weights)
    result = [log_d]
    for step, after in zip(reversed(steps[:-1]), reversed(steps[1:]), strict=True):
        parents = np.full(len(step.particles), -np.inf)
        np.logaddexp.at(parents, np.array(after.ancestors), log_d)
        log_d = parents
        result.append(log_d)
    return result[::-1]


def flock_of(
    steps: Sequence[Step[ProgramState]],
    recorder: Recorder,
    rng: KeyedRng,
    run: int,
    log_scale: float,
) -> tuple[Flock, float]:
    """(the particles of a run that were guessed about, the least power that their ratios were
    raised to). log_w is without the guess that was held. Both weights are times N exp(-log_scale);
    with the log of a mean Z_hat for log_scale, descendants come to N a step. rng: the run's."""

    def key_of(step: Step[ProgramState], i: int) -> bytes:
        of_step = stream(rng, step.particles[i].lineage, step.t)
        assert isinstance(of_step, StepRng)
        return of_step.key

    x: list[NDArray[np.float32]] = []
    log_w: list[float] = []
    descendants: list[Floats] = []
    least, scale_of_n = 1.0, np.log(len(steps[0].particles))
    for step, log_d in zip(steps, log_descendants(steps), strict=True):
        kept = [
            i
            for i, p in enumerate(step.particles)
            if p.state.status is Status.RUNNING
            and step.log_weights[i] > -np.inf
            and key_of(step, i) in recorder.features
        ]
        if not kept:
            continue
        weights = np.exp(step.log_weights[kept] - step.log_Z)
        d, power = tempered(np.exp(log_d[kept] - step.log_Z), weights, ENOUGH)
        least = min(least, power)
        descendants.append(d * np.exp(step.log_Z - log_scale) * len(step.particles))
        for i in kept:
            x.append(recorder.features[key_of(step, i)])
            guesses = step.particles[i].state.guesses
            held = sum(g.log_weight for g in guesses if g.owner == OWNER)
            log_w.append(float(step.log_weights[i]) - held - log_scale + scale_of_n)
    size = len(recorder.names) + sum(map(len, recorder.tokens.values()))
    flock = Flock(
        np.array(x, dtype=np.float64).reshape(-1, size),
        np.array(log_w),
        np.concatenate(descendants) if descendants else np.zeros(0),
        np.full(len(log_w), run),
    )
    return flock, least
