"""Blame: what each line of a program did to the weights of a run, and to its particles.

    account = Account(model)
    for step in smc(model, rng, observer=account): ...
    account.lines()             # a Line for each place that was charged

In step t line l adds c_l to a particle's log weight; C = sum_l c_l is what the step adds in all.
Over the particles that move and live, by the weights w that they had before the step,

    variance share of l  =  sum_t Cov_w(c_l, C) / sum_t Var_w(C)

so that shares sum to 1. A share is negative where a line adds to those from whom the others take:
it evens weights out. A potential of zero is a death, not variance.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fkdsl.base.logspace import Floats
from fkdsl.base.spans import Span
from fkdsl.inference.interface import Charge, Charged

S = TypeVar("S")
ROUNDING = 1e-12
"""Share of the mean square of C below which its variance is rounding."""


@dataclass(frozen=True)
class Line:
    """One line of a program and what it did in a run.

    deaths: particles that it gave weight zero; for `exact`, outcomes. passed: particles that came
    past it, counted at each time; 0 where nobody counted. log_weight: nats that it added to a
    particle, mean over the particles of each step, summed over the steps. variance_share: of the
    variance of the log weights; None if they did not vary. time_share: of the run's time; None
    where nobody measured it.
    """

    place: Span
    deaths: int = 0
    passed: int = 0
    log_weight: float = 0.0
    variance_share: float | None = None
    time_share: float | None = None


@dataclass(frozen=True)
class Conflict:
    """Lines that cannot hold together; one line alone can never hold.

    by: `automaton` (no text is in the languages that they say) and `enumeration` (every outcome was
    tried) are certain; `run` says only that no particle of this run ever passed them all.
    """

    places: tuple[Span, ...]
    by: str

    @property
    def certain(self) -> bool:
        return self.by != "run"


@dataclass(frozen=True)
class Blame:
    """lines: in the order of the program. conflicts: none where some particle lived through every
    line. deaths: in all. seconds: of the run. model_share: of its time, that of the language
    models; other_share: what neither they nor the lines took: drawing, trying outcomes, resampling.
    The shares of time sum to 1; None where nobody measured it."""

    lines: tuple[Line, ...]
    conflicts: tuple[Conflict, ...] = ()
    seconds: float | None = None
    model_share: float | None = None
    other_share: float | None = None

    @property
    def deaths(self) -> int:
        return sum(line.deaths for line in self.lines)


@dataclass
class Account(Generic[S]):
    """What a run's steps were charged with, by place. killers: for each set of places that killed
    particles between them, how many. companies: sets of places that one particle has passed."""

    model: Charged[S]
    deaths: Counter[Span] = field(default_factory=Counter)
    passed: Counter[Span] = field(default_factory=Counter)
    killers: Counter[frozenset[Span]] = field(default_factory=Counter)
    companies: set[frozenset[Span]] = field(default_factory=set)
    populations: int = 0

    def __post_init__(self) -> None:
        self._groups: dict[int, dict[tuple[Charge, ...], float]] = {}
        self._mean: defaultdict[Span, float] = defaultdict(float)
        self._covariance: defaultdict[Span, float] = defaultdict(float)
        self._came_past: dict[int, dict[int, tuple[S, frozenset[Span]]]] = {}

    def begin(self, states: Sequence[S]) -> None:
        """A population at s0, all of one weight."""
        self._close()
        self.populations += 1
        self.moved(0, states, states, np.zeros(len(states)))

    def moved(
        self, t: int, before: Sequence[S], after: Sequence[S], log_weights: ArrayLike
    ) -> None:
        """Particles went from `before` to `after` in step t; log_weights (n,): before it, nats. A
        step may be told of in several parts."""
        group = self._groups.setdefault(t, {})
        if t not in self._came_past:
            self._came_past = {t - 1: self._came_past.get(t - 1, {}), t: {}}
        behind, now = self._came_past.get(t - 1, {}), self._came_past[t]
        for xp, x, lw in zip(
            before, after, np.asarray(log_weights, dtype=np.float64).tolist(), strict=True
        ):
            charges = self.model.charges(x)
            killers = [place for place, c in charges if c == -math.inf]
            if killers:
                self.deaths[killers[-1]] += 1
                self.killers[frozenset(killers)] += 1
            here = [place for place, c in charges if c == 0.0]
            self.passed.update(here)
            company = behind.get(id(xp), (xp, frozenset[Span]()))[1].union(here)
            now[id(x)] = (x, company)
            self.companies.add(company)
            if not killers:
                key = tuple(c for c in charges if c.log_weight != 0.0)
                held = group.get(key)
                group[key] = lw if held is None else float(np.logaddexp(held, lw))

    def lines(
        self,
        places: Sequence[Span] = (),
        times: Mapping[Span, float] | None = None,
        seconds: float = 0.0,
    ) -> tuple[Line, ...]:
        """A line for each of the places, and for each other that was charged or took time, in the
        order of the text. times: seconds that a place took; seconds: of the whole run."""
        self._close()
        variance = math.fsum(self._covariance.values())
        charged = {*self.deaths, *self.passed, *self._mean, *(times or {})}
        return tuple(
            Line(
                place,
                self.deaths[place],
                self.passed[place],
                self._mean.get(place, 0.0) / max(self.populations, 1),
                self._covariance.get(place, 0.0) / variance if variance > 0.0 else None,
                times.get(place, 0.0) / seconds if times is not None and seconds > 0.0 else None,
            )
            for place in [
                *places,
                *sorted(charged - {*places}, key=lambda s: (s.source.name, s.start)),
            ]
        )

    def together(self, places: Sequence[Span]) -> bool:
        """Whether one particle has passed all of them."""
        return any(company.issuperset(places) for company in self.companies)

    def _close(self) -> None:
        """Adds the covariances of the steps that are over."""
        for group in self._groups.values():
            if group:
                self._add(list(group), np.array(list(group.values())))
        self._groups, self._came_past = {}, {}

    def _add(self, charges: Sequence[tuple[Charge, ...]], log_weights: Floats) -> None:
        """One step: what particles were charged with, and what they weighed before it, (n,)
        each."""
        W = np.exp(log_weights - log_weights.max())
        W /= W.sum()
        column = {
            place: j
            for j, place in enumerate(dict.fromkeys(c.place for each in charges for c in each))
        }
        c = np.zeros((len(W), len(column)))
        for i, each in enumerate(charges):
            for place, log_weight in each:
                c[i, column[place]] += log_weight
        mean, C = W @ c, c.sum(axis=1)
        centred = C - W @ C
        covariance = (W * centred) @ (c - mean)
        varies = float(W @ centred**2) > ROUNDING * float(W @ C**2)
        for place, j in column.items():
            self._mean[place] += float(mean[j])
            if varies:
                self._covariance[place] += float(covariance[j])
