"""Distributions that are no language model: bernoulli, categorical, uniform, uniform_int, geometric, poisson, normal,
beta.

Discrete ones draw by `rng.choice` alone, so that enumeration sees every outcome; the infinite ones are cut where less
than 1e-15 is left. Probabilities are natural logarithms, -inf outside the support, never NaN.

>>> bernoulli(0.25).log_prob(True) == math.log(0.25), [v for v, _ in uniform_int(1, 3).support()]
(True, [1, 2, 3])
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

from fkdsl.base.random import Rng
from fkdsl.program.signatures import BuiltinError, Parameter, distribution
from fkdsl.program.types import ANY, BOOL, FLOAT, INT, Dist, List, Type
from fkdsl.program.values import Token, show

TAIL = 1e-15
"""Mass beyond the end of an infinite support as it is enumerated."""
MAX_SUPPORT = 100_000


@dataclass(frozen=True)
class Distribution:
    """A distribution over values of the language."""

    def sample(self, rng: Rng) -> Any:
        """A draw."""
        raise NotImplementedError

    def log_prob(self, value: Any) -> float:
        """log-probability, or log-density of a continuous one, in nats."""
        raise NotImplementedError


@dataclass(frozen=True)
class Discrete(Distribution):
    """Values with probabilities that sum to 1, up to a cut tail."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...]
    name: str = ""

    def sample(self, rng: Rng) -> Any:
        return self.values[rng.choice(self.probabilities)]

    def log_prob(self, value: Any) -> float:
        p = math.fsum(p for v, p in zip(self.values, self.probabilities, strict=True) if same(v, value))
        return math.log(p) if p > 0.0 else -math.inf

    def support(self) -> list[tuple[Any, float]]:
        """(value, probability) of every value of positive probability."""
        return [(v, p) for v, p in zip(self.values, self.probabilities, strict=True) if p > 0.0]


def same(a: Any, b: Any) -> bool:
    """Equal as a program compares: true is 1, a token is its text."""
    return bool(a == b) or (isinstance(b, Token) and not b.end and a == b.text)


def _refuse(name: str, what: str, value: Any, wanted: str) -> BuiltinError:
    return BuiltinError(f"{name} with {what} = {show(value)}", f"{what} must be {wanted}")


@distribution("bernoulli", [Parameter("p", FLOAT)], Dist(BOOL))
def bernoulli(p: float) -> Discrete:
    """true with probability p."""
    if not 0.0 <= p <= 1.0:
        raise _refuse("bernoulli", "p", p, "between 0 and 1")
    return Discrete((True, False), (p, 1.0 - p), "bernoulli")


def _item_type(types: Sequence[Type]) -> Type | str:
    first = types[0] if types else ANY
    if isinstance(first, List):
        return Dist(first.item)
    return Dist(ANY) if first == ANY else f"categorical takes a list of values, not {first}"


@distribution("categorical", [Parameter("values", ANY), Parameter("weights", List(FLOAT))], _item_type)
def categorical(values: tuple[Any, ...], weights: tuple[float, ...]) -> Discrete:
    """Each value with probability proportional to its weight."""
    if len(values) != len(weights):
        message = f"categorical with {len(values)} values and {len(weights)} weights"
        raise BuiltinError(message, "give one weight for each value")
    total = math.fsum(weights)
    if not values or min(weights) < 0.0 or not 0.0 < total < math.inf:
        raise _refuse("categorical", "weights", weights, "not negative, and not all zero")
    return Discrete(values, tuple(w / total for w in weights), "categorical")


@distribution("uniform_int", [Parameter("low", INT), Parameter("high", INT)], Dist(INT))
def uniform_int(low: int, high: int) -> Discrete:
    """Each whole number from low to high, both among them."""
    if high < low:
        raise _refuse("uniform_int", "high", high, f"at least low, {low}")
    n = high - low + 1
    if n > MAX_SUPPORT:
        raise BuiltinError(f"uniform_int over {n:,} numbers", f"it takes at most {MAX_SUPPORT:,}")
    return Discrete(tuple(range(low, high + 1)), (1.0 / n,) * n, "uniform_int")


@dataclass(frozen=True)
class Counting(Discrete):
    """Whole numbers 0, 1, 2, ...; the support is cut for drawing, log_prob is exact everywhere."""

    parameter: float = 0.0

    def log_prob(self, value: Any) -> float:
        if isinstance(value, float) and not value.is_integer():
            return -math.inf
        if not isinstance(value, int | float) or value < 0 or value == math.inf:
            return -math.inf
        k, p = int(value), self.parameter
        if self.name == "poisson":
            return k * math.log(p) - p - math.lgamma(k + 1) if p > 0.0 else (0.0 if k == 0 else -math.inf)
        return math.log(p) + k * math.log1p(-p) if p < 1.0 else (0.0 if k == 0 else -math.inf)


@distribution("geometric", [Parameter("p", FLOAT)], Dist(INT))
@lru_cache(maxsize=64)
def geometric(p: float) -> Counting:
    """Failures before the first success: 0, 1, 2, ... with probability p (1 - p)^k."""
    if not 0.0 < p <= 1.0:
        raise _refuse("geometric", "p", p, "above 0 and at most 1")
    n = 1 if p == 1.0 else math.ceil(math.log(TAIL) / math.log1p(-p))
    if n > MAX_SUPPORT:
        raise _refuse("geometric", "p", p, "at least 0.0004")
    return Counting(tuple(range(n)), tuple(p * (1.0 - p) ** k for k in range(n)), "geometric", p)


@distribution("poisson", [Parameter("rate", FLOAT)], Dist(INT))
@lru_cache(maxsize=64)
def poisson(rate: float) -> Counting:
    """Events in a unit of time at the given rate."""
    if not 0.0 <= rate <= 10_000.0:
        raise _refuse("poisson", "rate", rate, "between 0 and 10,000")
    unit = Counting((), (), "poisson", rate)
    # Twelve standard deviations and some beyond the mean leave less than TAIL at every rate.
    n = math.ceil(rate + 12.0 * math.sqrt(rate) + 30.0)
    return Counting(tuple(range(n)), tuple(math.exp(unit.log_prob(k)) for k in range(n)), "poisson", rate)


@dataclass(frozen=True)
class Uniform(Distribution):
    low: float
    high: float

    def sample(self, rng: Rng) -> float:
        return float(self.low + (self.high - self.low) * float(rng.uniform()))

    def log_prob(self, value: Any) -> float:
        return -math.log(self.high - self.low) if self.low <= value <= self.high else -math.inf


@distribution("uniform", [Parameter("low", FLOAT, 0.0), Parameter("high", FLOAT, 1.0)], Dist(FLOAT))
def uniform(low: float, high: float) -> Uniform:
    """Any number between low and high."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise _refuse("uniform", "high", high, f"above low, {show(low)}")
    return Uniform(float(low), float(high))


@dataclass(frozen=True)
class Normal(Distribution):
    mean: float
    sd: float

    def sample(self, rng: Rng) -> float:
        # The stream gives multiples of 2^-53 in [0, 1): half a step more keeps 0, which has no quantile, out.
        return NormalDist(self.mean, self.sd).inv_cdf(float(rng.uniform()) + 2.0**-54)

    def log_prob(self, value: Any) -> float:
        z = (value - self.mean) / self.sd
        return float(-0.5 * z * z - math.log(self.sd) - 0.5 * math.log(2.0 * math.pi))


@distribution("normal", [Parameter("mean", FLOAT, 0.0), Parameter("sd", FLOAT, 1.0)], Dist(FLOAT))
def normal(mean: float, sd: float) -> Normal:
    """The normal distribution by its mean and standard deviation."""
    if not (math.isfinite(mean) and 0.0 < sd < math.inf):
        raise _refuse("normal", "sd", sd, "above 0")
    return Normal(float(mean), float(sd))


class _Stream(random.Random):
    """The standard library's samplers over one of our streams."""

    def __init__(self, rng: Rng) -> None:
        super().__init__(0)
        self._rng = rng

    def random(self) -> float:
        return float(self._rng.uniform())


@dataclass(frozen=True)
class Beta(Distribution):
    a: float
    b: float

    def sample(self, rng: Rng) -> float:
        return _Stream(rng).betavariate(self.a, self.b)

    def log_prob(self, value: Any) -> float:
        if not 0.0 < value < 1.0:
            return -math.inf
        norm = math.lgamma(self.a + self.b) - math.lgamma(self.a) - math.lgamma(self.b)
        return norm + (self.a - 1.0) * math.log(value) + (self.b - 1.0) * math.log1p(-value)


@distribution("beta", [Parameter("a", FLOAT), Parameter("b", FLOAT)], Dist(FLOAT))
def beta(a: float, b: float) -> Beta:
    """The beta distribution on (0, 1)."""
    if not (0.0 < a < math.inf and 0.0 < b < math.inf):
        raise _refuse("beta", "a and b", (a, b), "above 0")
    return Beta(float(a), float(b))
