"""Blame: what each line of a program did to the weights and the particles of a run.

    account = Account(model)
    for step in smc(model, rng, observer=account): ...
    account.lines()             # a LineBlame for each place that changed a weight

In step t line l adds c_l to a particle's log weight, and C = sum_l c_l is what the step adds in
all. Over the particles that move and live, by the weights w that they had before the step,

    variance share of l  =  sum_t Cov_w(c_l, C) / sum_t Var_w(C)

so that the shares sum to 1. A share is negative where a line adds weight to the particles that the
other lines make light: it evens the weights out. A potential of zero counts as a death, and not in
the variance.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Generic, TypeVar

from fkdsl.base.arrays import ArrayLike, np
from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.inference.interface import Charge, Charged

S = TypeVar("S")
ROUNDING = 1e-12
"""Share of the mean square of C below which its variance is rounding."""


@dataclass(frozen=True)
class LineBlame:
    """One line of a program and what it did in a run.

    deaths: how many particles it gave weight zero; for `exact`, outcomes. passed: how often a
    particle passed it; 0 where that was not counted. log_weight: nats that it added to a particle,
    mean over the particles of each step, summed over the steps. variance_share: its share of the
    variance of the log weights; None if they did not vary. time_share: its share of the run's time;
    None where that was not measured.
    """

    place: Span
    deaths: int = 0
    passed: int = 0
    log_weight: float = 0.0
    variance_share: float | None = None
    time_share: float | None = None


@dataclass(frozen=True)
class Conflict:
    """Lines that cannot hold together, or one line that can never hold.

    by: `automaton` (no text is in the languages that the lines mean) and `enumeration` (every
    outcome was tried) are certain; `run` says only that no particle of this run passed them all.
    """

    places: tuple[Span, ...]
    by: str

    @property
    def certain(self) -> bool:
        """Whether it holds for every run."""
        return self.by != "run"


@dataclass(frozen=True)
class Blame:
    """What every line of a program did in a run.

    lines: in the order of the program. conflicts: none where some particle lived through every
    line. seconds: of the run. model_share: the language models' share of the time; other_share:
    that of drawing, trying outcomes and resampling. With the lines' shares they sum to 1; None
    where time was not measured.
    """

    lines: tuple[LineBlame, ...]
    conflicts: tuple[Conflict, ...] = ()
    seconds: float | None = None
    model_share: float | None = None
    other_share: float | None = None

    @property
    def deaths(self) -> int:
        """How many particles died in all."""
        return sum(line.deaths for line in self.lines)


@dataclass
class Account(Generic[S]):
    """A MoveObserver that adds up what each place of the source did to the weights of a run.

    deaths, passed: as in `LineBlame`, by place. lethal_lines: by the set of places that killed a
    particle together, how many particles died so. co_passed: the sets of places that one particle
    has passed. populations: how many there have been.
    """

    model: Charged[S]
    deaths: Counter[Span] = field(default_factory=Counter)
    passed: Counter[Span] = field(default_factory=Counter)
    lethal_lines: Counter[frozenset[Span]] = field(default_factory=Counter)
    co_passed: set[frozenset[Span]] = field(default_factory=set)
    populations: int = 0

    def __post_init__(self) -> None:
        # By step: the particles that were charged alike, with the log of their weights' sum.
        self._alike: dict[int, dict[tuple[Charge, ...], float]] = {}
        self._mean: defaultdict[Span, float] = defaultdict(float)
        self._covariance: defaultdict[Span, float] = defaultdict(float)
        # By step and id of a state: the state, which keeps its id taken, and the places it passed.
        self._passed_by: dict[int, dict[int, tuple[S, frozenset[Span]]]] = {}

    def begin(self, states: Sequence[S]) -> None:
        """A population starts at s0, its particles all of one weight."""
        self._close()
        self.populations += 1
        self.moved(0, states, states, np.zeros(len(states)))

    def moved(
        self, t: int, before: Sequence[S], after: Sequence[S], log_weights: ArrayLike
    ) -> None:
        """Enters the parts of log G_t of particles that went from `before` to `after` in step t;
        log_weights (n,): before it, nats. One step may be reported in several parts."""
        alike = self._alike.setdefault(t, {})
        if t not in self._passed_by:
            self._passed_by = {t - 1: self._passed_by.get(t - 1, {}), t: {}}
        earlier, now = self._passed_by.get(t - 1, {}), self._passed_by[t]
        for xp, x, lw in zip(
            before, after, np.asarray(log_weights, dtype=np.float64).tolist(), strict=True
        ):
            charges = self.model.charges(x)
            lethal = [place for place, c in charges if c == -math.inf]
            if lethal:
                self.deaths[lethal[-1]] += 1
                self.lethal_lines[frozenset(lethal)] += 1
            here = [place for place, c in charges if c == 0.0]
            self.passed.update(here)
            passed = earlier.get(id(xp), (xp, frozenset[Span]()))[1].union(here)
            now[id(x)] = (x, passed)
            self.co_passed.add(passed)
            if not lethal:
                key = tuple(c for c in charges if c.log_weight != 0.0)
                alike[key] = float(np.logaddexp(alike.get(key, -math.inf), lw))

    def lines(
        self,
        places: Sequence[Span] = (),
        times: Mapping[Span, float] | None = None,
        seconds: float = 0.0,
    ) -> tuple[LineBlame, ...]:
        """A LineBlame for each of the places, and for every other that changed a weight or took
        time, in the order of the text. times: seconds that a place took; seconds: of the whole
        run."""
        self._close()
        variance = math.fsum(self._covariance.values())
        charged = {*self.deaths, *self.passed, *self._mean, *(times or {})}
        return tuple(
            LineBlame(
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
        return any(passed.issuperset(places) for passed in self.co_passed)

    def _close(self) -> None:
        """Adds the covariances of the steps so far, which are over."""
        for alike in self._alike.values():
            if alike:
                self._add(list(alike), np.array(list(alike.values())))
        self._alike, self._passed_by = {}, {}

    def _add(self, charges: Sequence[tuple[Charge, ...]], log_weights: Floats) -> None:
        """Adds one step: the charges of particles and their log weights before it, (n,) each."""
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
