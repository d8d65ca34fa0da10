"""Rejection sampling: whole runs, each accepted with probability G_1 G_2 ... G_T. What it accepts
are exact samples. Potentials must be at most 1.

Z_hat is unbiased under both ways to stop (Girshick, Mosteller and Savage 1946): (m - 1) / (n - 1)
where the m-th acceptance came at attempt n, x / n where n attempts ended with x < m accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import Floats, check_log_weights
from fkdsl.base.random import Rng, derive
from fkdsl.inference.assess.uncertainty import Independent, Uncertainty
from fkdsl.inference.interface import FeynmanKac, MoveObserver, Particle, Step
from fkdsl.inference.method import Checks, Count, LoopSettings, Method, Options
from fkdsl.inference.options import MOST, Option
from fkdsl.inference.population import check_steps, initial_states, make_step, mutate

S = TypeVar("S")
SLACK = 1e-9
"""A log weight that is above 0 by no more than this has been rounded."""


def rejection(
    model: FeynmanKac[S],
    rng: Rng,
    samples: int = 16,
    attempts: int = 10_000,
    batch: int = 64,
    max_steps: int | None = None,
    start: Step[S] | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """One Step with the x accepted particles, each of weight Z_hat / x. start: that step, where a
    run is resumed.

    Attempts run in batches and are counted in their order, so the batch's size changes no answer.
    Raises CallError where a run's potentials multiply to more than 1.
    """
    if start is not None:
        yield start
        return
    if samples < 2 or attempts < 1:
        message = (
            "rejection needs at least two samples (one alone has no unbiased Z but 0 or 1) and one "
            "attempt"
        )
        raise CallError(message, "write rejection(samples=16)")
    accepted: list[Particle[S]] = []
    tried, t_last = 0, 0
    while len(accepted) < samples and tried < attempts:
        numbers = range(tried, min(tried + batch, attempts))
        runs, t = _run_batch(model, rng, numbers, max_steps, observer)
        t_last = max(t_last, t)
        for particle, log_G in runs:
            tried += 1
            if log_G > SLACK:
                product = math.exp(min(log_G, 700))
                raise CallError(
                    f"rejection needs potentials of at most 1; one run's multiply to {product:.3g}",
                    "use smc or importance, or make every `factor` negative",
                )
            p = math.exp(min(log_G, 0.0))
            if rng.split("accept", tried).choice([-math.expm1(min(log_G, 0.0)), p]) == 1:
                accepted.append(particle)
                if len(accepted) == samples:
                    break
    x = len(accepted)
    Z_hat = _estimate(x, samples, tried)
    lw = np.full(x, math.log(Z_hat / x) if Z_hat > 0.0 else -math.inf)
    yield make_step(model, t_last, tuple(accepted), lw, range(x), resampled=False)


def _estimate(x: int, m: int, n: int) -> float:
    """Z_hat from x acceptances in n attempts, where the m-th acceptance ends the run."""
    if x < m:
        return x / n
    return (m - 1) / (n - 1)


def _run_batch(
    model: FeynmanKac[S],
    rng: Rng,
    numbers: range,
    max_steps: int | None,
    observer: MoveObserver[S] | None,
) -> tuple[list[tuple[Particle[S], float]], int]:
    """Independent runs to their ends: (particle, log of the product of its potentials) of each, and
    the number of steps of the longest."""
    lineages = [derive(b"attempt", i) for i in numbers]
    states, log_G = initial_states(model, rng, lineages, observer)
    x = tuple(Particle(s, lineage) for s, lineage in zip(states, lineages, strict=True))
    lw = check_log_weights(log_G)
    t = 0
    while any(w > -np.inf and not model.finished(p.state) for p, w in zip(x, lw, strict=True)):
        t += 1
        check_steps(t, max_steps)
        x, lw = mutate(model, rng, t, x, lw, observer)
    return list(zip(x, map(float, lw), strict=True)), t


class _Attempts(Generic[S]):
    """An ErrorEstimator for samples that were accepted independently of each other."""

    def __init__(self, options: Options) -> None:
        self._samples, self._attempts = options["samples"], options["attempts"]
        self._log_Z = -math.inf

    def take(self, step: Step[S], before: Step[S] | None) -> None:
        self._log_Z = step.log_Z

    def uncertainty(self, log_weights: Floats, order: Sequence[int]) -> Uncertainty:
        return Independent.of(len(order), self._samples, self._attempts, self._log_Z)


def _steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return rejection(
        model, rng, max_steps=loop.max_steps, start=loop.start, observer=loop.observer, **options
    )


REJECTION = Method(
    name="rejection",
    doc="whole runs accepted with probability prod G; potentials at most 1",
    options={
        "samples": Option(
            16,
            2,
            MOST,
            doc="accepted runs wanted; of other methods, draws from the posterior to print, "
            "one a line",
        ),
        "attempts": Option(10_000, doc="runs (for alive, draws of a step) tried at most"),
    },
    steps=_steps,
    resumes=True,
    error=lambda model, options, merge: _Attempts(options),
    takes_drafts=True,
    no_draft_weights="whose weights p/q can be above 1",
    checks=Checks(
        variants={
            "rejection": ({"samples": 2, "attempts": 12}, {"samples": 4, "attempts": 12}),
        },
        enumerated={"samples": 2, "attempts": 3},
        bounded=True,
        refuses_above_one=True,
    ),
    # A run that wants more samples than it has attempts makes every one of them.
    count=Count("attempts", others=lambda count: {"samples": count + 1}),
    all_died=lambda n, t, last: (
        "no attempt was accepted: Z_hat = 0",
        "use smc, which weighs step by step, or raise the number of attempts",
    ),
)
