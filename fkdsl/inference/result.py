"""The result of a run: the posterior over return values, log Z, and the weighted particles that
they are computed from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import field
from typing import Any, TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import Floats, effective_sample_size
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng
from fkdsl.base.shown import LEAST_SHOWN, probability_text, shown
from fkdsl.base.value_keys import value_key
from fkdsl.inference.assess.blame import Blame
from fkdsl.inference.assess.uncertainty import Islands, Uncertainty, Unknown
from fkdsl.inference.interface import FeynmanKac, KeepsEvidence, Level, Step
from fkdsl.inference.methods import METHODS
from fkdsl.inference.tables import data_frame, data_tree, html_table

S = TypeVar("S")
SHOWN = 20
"""Values that a printed result shows at most."""


EVERY = object()
"""The answer of `Result.evidence` where it is not about one."""


@dataclass(frozen=True)
class Answer:
    """A return value and its posterior probability. low, high: certain bounds on the probability,
    where only bounds are known."""

    value: Any
    probability: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Estimate:
    """A posterior mean or quantile. se: its standard error, None where there is no estimate of it.
    interval: of islands, an interval that should cover the true figure 19 times in 20; its ends may
    be infinite, where the islands differ too much."""

    mean: float
    se: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class WeightedValue:
    """A particle's return value. log_weight: nats, not normalised (the weights sum to Z_hat).
    weight: normalised. evidence: what the value rests on, such as documents."""

    value: Any
    log_weight: float
    weight: float
    evidence: tuple[Hashable, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Something that answers rest on, such as a document: the posterior probability that it was
    drawn, with its standard error."""

    value: Any
    probability: float
    se: float | None


@dataclass(frozen=True)
class Result:
    """What a run has come to.

    posterior: most probable first, equal values merged. log_z: the log of an unbiased estimate, of
    `exact` log Z itself; of `local` it says nothing (estimated_log_z is None). log_z_se: its
    standard error, nats, None where there is no estimate of it.
    ess: of the final weights. uncertainty: the errors of the run, its particles in the order of
    `particles`. islands: how many independent populations. notes: what a reader must know to trust
    the figures. log_z_bounds: certain bounds where log Z is neither known nor estimated; log_z is
    then the lower one, and the upper one may be inf. states: how many a search has computed. blame:
    what each line did, in a run that asks for it. drafts: where tokens were drafted, counts of
    rounds (blocks verified), tokens drawn, tokens that had a draft, and tokens that were the
    draft's. log_z_interval: of islands, an interval that should cover log Z 19 times in 20. sole:
    "ancestor" or "particle" where the whole population comes from a single one, else "": then a
    single answer's probability of 1 is not known (`is_known`). shown: values at most in its table,
    as `str` and notebooks have it.
    """

    program: str
    method: str
    log_z: float
    log_z_se: float | None
    posterior: tuple[Answer, ...]
    particles: tuple[WeightedValue, ...]
    ess: float
    steps: int
    seconds: float
    seed: int
    model_calls: int = 0
    forwarded_tokens: int = 0
    queries: dict[str, Estimate] = field(default_factory=dict)
    filtering: tuple[tuple[Answer, ...], ...] = ()
    islands: int = 1
    uncertainty: Uncertainty = field(default_factory=Unknown, compare=False, repr=False)
    notes: tuple[str, ...] = ()
    log_z_bounds: tuple[float, float] | None = None
    states: int = 0
    blame: Blame | None = field(default=None, compare=False, repr=False)
    drafts: dict[str, int] | None = None
    log_z_interval: tuple[float, float] | None = None
    sole: str = ""
    shown: int = field(default=SHOWN, compare=False, repr=False)

    @property
    def estimated_log_z(self) -> float | None:
        """log_z, where it says something of Z; None of a method that forgets mass (`local`)."""
        method = METHODS.get(self.method)
        return None if method is not None and method.forgets_mass else self.log_z

    def is_known(self, answer: Answer) -> bool:
        """Whether the answer's probability says more than that a single draw gave it."""
        return not self.sole or answer.probability < 1.0 - LEAST_SHOWN

    def _figure(self, answer: Answer) -> float | None:
        return answer.probability if self.is_known(answer) else None

    def probability(self, value: Any) -> float:
        """The posterior probability of a return value; 1, 1.0 and true are different values.

        Python's lists and tuples are lists, and its dicts are records, whatever the order of their
        fields. It is 0 for a value that no particle has returned (`value in result` is false); only
        an exact result makes that certain. Raises CallError for a value of a type that no answer
        has, such as [True] where the answers are texts.
        """
        key = value_key(_in_order(value))
        masses = [a.probability for a in self.posterior if value_key(_in_order(a.value)) == key]
        kinds = {_kind(a.value) for a in self.posterior}
        if not masses and kinds and _kind(value) not in kinds:
            types = " or ".join(sorted(kinds))
            raise CallError(
                f"no answer is of type {_kind(value)}: they are of type {types}", f"give a {types}"
            )
        return math.fsum(masses)

    def __contains__(self, value: Any) -> bool:
        """Whether some particle has returned the value."""
        return any(
            value_key(_in_order(a.value)) == value_key(_in_order(value)) for a in self.posterior
        )

    def samples(self, n: int) -> list[Any]:
        """n independent draws from the particles by their weights, by the run's seed. They differ
        at most as much as the particles do."""
        rng = KeyedRng(self.seed).split("samples")
        weights = np.array([p.weight for p in self.particles])
        return [self.particles[rng.choice(weights)].value for _ in range(n)]

    def __str__(self) -> str:
        """The posterior as a table of at most `shown` values, then log Z."""
        top = self.posterior[: self.shown]
        lines = [f"{probability_text(self._figure(a))}  {_written(a.value)}" for a in top]
        if more := self.posterior[self.shown :]:
            rest = math.fsum(a.probability for a in more)
            lines.append(f"{probability_text(rest)}  ({len(more)} more values)")
        error = "" if not self.log_z_se else f" ± {self.log_z_se:.2g} ({self.uncertainty.by})"
        if self.log_z_bounds is not None:
            lines.append(
                f"log Z between {self.log_z_bounds[0]:z.4f} and {self.log_z_bounds[1]:z.4f}"
            )
        elif self.estimated_log_z is None:
            lines.append(f"no log Z: {self.method} forgets the mass that it masks")
        else:
            lines.append(f"log Z {self.log_z:z.4f}{error}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As IPython shows it in a terminal: every particle would fill the screen."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """The posterior as a notebook shows it."""
        rows = [(self._figure(a), _written(a.value)) for a in self.posterior[: self.shown]]
        return html_table(rows, str(self).splitlines()[len(rows) :])

    def to_pandas(self, *, particles: bool = False) -> Any:
        """The posterior as a pandas DataFrame: a row for each distinct value, with `probability`,
        most probable first. particles: a row for each particle in its place, with `log_weight`
        (nats), `weight` (normalised) and, of islands, `island`. The fields of records are columns.
        Raises CallError without pandas."""
        if not particles:
            figures: dict[str, list[Any]] = {"probability": [a.probability for a in self.posterior]}
            return data_frame([a.value for a in self.posterior], figures)
        figures = {
            "log_weight": [p.log_weight for p in self.particles],
            "weight": [p.weight for p in self.particles],
        }
        if isinstance(self.uncertainty, Islands):
            figures["island"] = self.uncertainty.island.tolist()
        return data_frame([p.value for p in self.particles], figures)

    def to_arviz(self, draws: int | None = None) -> Any:
        """Draws from the posterior for ArviZ: an xarray DataTree with a group `posterior`, of one
        chain. ArviZ knows no weights, so these are `samples(draws)`, as many as there are particles
        if not said; they differ at most as much as the particles do. Its attributes have log Z, its
        error, the seed and the like. Raises CallError without arviz-base."""
        facts = {
            "inference_library": "fkdsl",
            "program": self.program,
            "method": self.method,
            "seed": self.seed,
            "log_z": self.log_z,
            "log_z_se": self.log_z_se,
            "ess": self.ess,
        }
        n = len(self.particles) if draws is None else draws
        return data_tree(self.samples(n), facts)

    def evidence(self, answer: Any = EVERY) -> tuple[Evidence, ...]:
        """What the answers rest on, such as the documents that were drawn, likeliest first.

        answer: a return value, for what that one rests on: probabilities are then conditional.
        Where a search was ended with bounds on Z, what it found is not the posterior, so there is
        no error.
        """
        wanted = None if answer is EVERY else value_key(_in_order(answer))
        chosen = np.array(
            [wanted is None or value_key(_in_order(p.value)) == wanted for p in self.particles]
        )
        mass = math.fsum(p.weight for p, c in zip(self.particles, chosen, strict=True) if c)
        if mass == 0.0:
            return ()
        bounded = self.log_z_bounds is not None and self.log_z_bounds[0] < self.log_z_bounds[1]
        found: list[Evidence] = []
        drawn = [e for p, c in zip(self.particles, chosen, strict=True) if c for e in p.evidence]
        for value in dict.fromkeys(drawn):
            holds = np.array([value in p.evidence for p in self.particles]) & chosen
            ratio = math.fsum(p.weight for p, h in zip(self.particles, holds, strict=True) if h)
            ratio = min(1.0, ratio / mass)
            # The error of a ratio of means, to first order.
            y = (holds - ratio) * chosen / mass
            se = None if bounded else self.uncertainty.mean_se(y)
            found.append(Evidence(value, ratio, se))
        return tuple(sorted(found, key=lambda e: -e.probability))

    def mean(self, f: Callable[[Any], float]) -> Estimate:
        """The posterior mean of f(value), with its standard error; f is called once for each
        particle. Where f gives true or false, the mean is a probability."""
        y = [f(p.value) for p in self.particles]
        event = all(isinstance(v, bool | np.bool_) for v in y)
        return self.mean_of(np.array(y, dtype=np.float64), event=event)

    def mean_of(self, y: Floats, *, event: bool = False) -> Estimate:
        """The posterior mean of numbers (n,), one a particle, with its standard error. event:
        whether they are 0 and 1, and the mean is a probability."""
        mean = math.fsum(p.weight * v for p, v in zip(self.particles, y, strict=True))
        return Estimate(mean, self.uncertainty.mean_se(y), self.mean_interval(y, event=event))

    def mean_interval(self, y: Floats, *, event: bool = False) -> tuple[float, float] | None:
        """Of islands, an interval that should cover the posterior mean of numbers (n,) 19 times in
        20; else None. event: as in mean_of."""
        if not isinstance(self.uncertainty, Islands):
            return None
        interval = self.uncertainty.mean_interval(y)
        if interval is None or not event:
            return interval
        return max(0.0, interval[0]), min(1.0, interval[1])


def _in_order(value: Any) -> Any:
    """The value with the fields of dicts and records in alphabetical order."""
    if isinstance(value, tuple | list):
        return tuple(map(_in_order, value))
    if isinstance(value, Mapping):
        return {name: _in_order(value[name]) for name in sorted(value, key=str)}
    return value


def _kind(value: Any) -> str:
    """What kind of value it is, in the language's words."""
    if isinstance(value, tuple | list):
        return "list"
    return "record" if isinstance(value, Mapping) else type(value).__name__


def _written(value: Any) -> str:
    """The value on one line."""
    if isinstance(value, str) and value.isprintable() and value:
        return value
    text = json.dumps(
        value, ensure_ascii=False, default=lambda v: dict(v) if isinstance(v, Mapping) else str(v)
    )
    return shown(text)


def merged_answers(pairs: Iterable[tuple[Any, float]]) -> tuple[Answer, ...]:
    """Answers with the probabilities of equal values added, most probable first; what is more than
    1 by rounding is 1."""
    first: dict[Hashable, Any] = {}
    total: dict[Hashable, float] = {}
    for value, p in pairs:
        key = value_key(value)
        first.setdefault(key, value)
        total[key] = total.get(key, 0.0) + p
    return tuple(
        sorted(
            (Answer(first[k], min(p, 1.0)) for k, p in total.items()), key=lambda a: -a.probability
        )
    )


def total_variation(p: Iterable[Answer], q: Iterable[Answer]) -> float:
    """1/2 sum_v |p(v) - q(v)| over the values of both: 0 for equal posteriors, 1 for posteriors
    that share no value.

    >>> p, q = [Answer("a", 0.75), Answer("b", 0.25)], [Answer("a", 0.5), Answer("c", 0.5)]
    >>> total_variation(p, q)
    0.5
    """
    difference: dict[Hashable, float] = {}
    for sign, answers in ((1.0, p), (-1.0, q)):
        for a in answers:
            key = value_key(a.value)
            difference[key] = difference.get(key, 0.0) + sign * a.probability
    return 0.5 * math.fsum(map(abs, difference.values()))


def weighted_values(
    model: FeynmanKac[S], states: Iterable[S], log_weights: Iterable[float]
) -> tuple[list[WeightedValue], list[int]]:
    """The values of the finished states of positive weight, heaviest first, and the index of each
    among the states."""
    live = [
        (i, x, float(w))
        for i, (x, w) in enumerate(zip(states, log_weights, strict=True))
        if w > -math.inf and model.finished(x)
    ]
    live.sort(key=lambda particle: -particle[2])
    top = live[0][2] if live else 0.0
    total = math.fsum(math.exp(w - top) for _, _, w in live)
    values = [
        WeightedValue(
            model.value(x),
            w,
            math.exp(w - top) / total,
            tuple(model.evidence(x)) if isinstance(model, KeepsEvidence) else (),
        )
        for _, x, w in live
    ]
    return values, [i for i, _, _ in live]


def filtering_answers(model: FeynmanKac[S], step: Step[S] | Level[S]) -> tuple[Answer, ...]:
    """The step-t filtering posterior P_t over states, by their descriptions."""
    states = [p.state for p in step.particles] if isinstance(step, Step) else list(step.states)
    log_weights = [float(w) for w in step.log_weights]
    return merged_answers(
        (model.describe(x), math.exp(w - step.log_Z))
        for x, w in zip(states, log_weights, strict=True)
        if w > -math.inf
    )


def final_ess(values: Iterable[WeightedValue]) -> float:
    """The effective sample size of the final weights."""
    return effective_sample_size([v.log_weight for v in values])
