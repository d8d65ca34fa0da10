"""The language's distributions other than language models: bernoulli, categorical, uniform,
uniform_int, geometric, poisson, normal, beta.

Discrete ones draw by `rng.choice` alone, so that enumeration can see every outcome. Infinite
supports are cut where less than TAIL_MASS remains. Log-probabilities are in nats, -inf outside the
support, never NaN.

These parameters are refused (`BuiltinError`, FK402): those without such a distribution, NaN and
infinity included; those that no float can hold, or whose draws none could hold; and those with more
than MAX_SUPPORT values to list. For all others draws and densities are correct up to rounding
(tests/values/test_extreme_parameters.py). A drawn number is rounded to a float, and a density at an
end of the support is its limit, which may be inf.

>>> bernoulli(0.25).log_prob(True) == math.log(0.25), [v for v, _ in uniform_int(1, 3).support()]
(True, [1, 2, 3])
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fkdsl.base.lazy import lazy_import
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.values.beta import (
    LOG_SQRT_2PI,
    STIRLING_FROM,
    draw_beta,
    log1p_minus,
    log_density,
    stirling_error,
)
from fkdsl.values.signatures import BuiltinError, Parameter, distribution
from fkdsl.values.types import ANY, BOOL, FLOAT, INT, Dist, List, Type
from fkdsl.values.values import Token, show

if TYPE_CHECKING:
    import statistics
else:
    statistics = lazy_import("statistics")

TAIL_MASS = 1e-15
"""Most mass beyond the end of an infinite support that is cut."""
MAX_SUPPORT = 100_000
"""Most values that a distribution may list."""
FARTHEST = 8.3
"""The most standard deviations between a normal draw and its mean, since the stream has 2^53
numbers."""


@dataclass(frozen=True)
class Distribution:
    """A distribution over values of the language."""

    def sample(self, rng: Rng) -> Any:
        """A draw."""
        raise NotImplementedError

    def log_prob(self, value: Any) -> float:
        """The log-probability (nats) of a value; of a continuous distribution the log-density."""
        raise NotImplementedError


@dataclass(frozen=True)
class Discrete(Distribution):
    """Values with probabilities that sum to 1, but for a tail that was cut off."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...]
    name: str = ""

    def sample(self, rng: Rng) -> Any:
        return self.values[rng.choice(self.probabilities)]

    def log_prob(self, value: Any) -> float:
        return log_sum(
            p for v, p in zip(self.values, self.probabilities, strict=True) if same_value(v, value)
        )

    def support(self) -> list[tuple[Any, float]]:
        """(value, probability) of every value of positive probability."""
        return [(v, p) for v, p in zip(self.values, self.probabilities, strict=True) if p > 0.0]


def log_sum(weights: Iterable[float]) -> float:
    """The logarithm of a sum of weights >= 0; -inf for 0. The sum itself may be larger or smaller
    than any float."""
    terms = tuple(weights)
    largest = max(terms, default=0.0)
    if largest == 0.0:
        return -math.inf
    return math.log(largest) + math.log(math.fsum(w / largest for w in terms))


def same_value(a: Any, b: Any) -> bool:
    """Whether values are equal as in a program: true equals 1, and a token equals its text."""
    return bool(a == b) or (isinstance(b, Token) and not b.end and a == b.text)


def _refuse(name: str, what: str, value: Any, wanted: str) -> BuiltinError:
    return BuiltinError(f"{name} with {what} = {show(value)}", f"{what} must be {wanted}")


def _number(name: str, what: str, value: Any, wanted: str) -> float:
    """A parameter as a float. Raises BuiltinError if it is no finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _refuse(name, what, value, wanted)
    return number


def _observed(value: Any) -> float:
    """An observed value as a float; NaN, which is in no support, if it is no number."""
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@distribution("bernoulli", [Parameter("p", FLOAT)], Dist(BOOL))
def bernoulli(p: float) -> Discrete:
    """true with probability p."""
    p = _number("bernoulli", "p", p, "between 0 and 1")
    if not 0.0 <= p <= 1.0:
        raise _refuse("bernoulli", "p", p, "between 0 and 1")
    return Discrete((True, False), (p, 1.0 - p), "bernoulli")


def _item_type(types: Sequence[Type]) -> Type | str:
    """dist[T] for a list[T] of values."""
    first = types[0] if types else ANY
    if isinstance(first, List):
        return Dist(first.item)
    return Dist(ANY) if first == ANY else f"categorical takes a list of values, not {first}"


@dataclass(frozen=True)
class Weighted(Discrete):
    """Values with weights. log_prob uses the weights, since a probability may be smaller than any
    float."""

    weights: tuple[float, ...] = ()

    def log_prob(self, value: Any) -> float:
        chosen = log_sum(
            w for v, w in zip(self.values, self.weights, strict=True) if same_value(v, value)
        )
        return chosen - log_sum(self.weights)


@distribution(
    "categorical", [Parameter("values", ANY), Parameter("weights", List(FLOAT))], _item_type
)
def categorical(values: tuple[Any, ...], weights: tuple[float, ...]) -> Discrete:
    """Each value with probability proportional to its weight."""
    if len(values) != len(weights):
        message = f"categorical with {len(values)} values and {len(weights)} weights"
        raise BuiltinError(message, "give one weight for each value")
    wanted = "numbers, not negative, and not all zero"
    numbers = tuple(_number("categorical", "weights", w, wanted) for w in weights)
    if not values or min(numbers) < 0.0 or max(numbers) == 0.0:
        raise _refuse("categorical", "weights", weights, wanted)
    largest = max(numbers)
    shares = tuple(w / largest for w in numbers)  # their sum is a float, that of weights may not be
    total = math.fsum(shares)
    return Weighted(values, tuple(w / total for w in shares), "categorical", numbers)


@distribution("uniform_int", [Parameter("low", INT), Parameter("high", INT)], Dist(INT))
def uniform_int(low: int, high: int) -> Discrete:
    """Each whole number from low to high, both included."""
    if high < low:
        raise _refuse("uniform_int", "high", high, f"at least low, {low}")
    n = high - low + 1
    if n > MAX_SUPPORT:
        raise BuiltinError(f"uniform_int over {n:,} numbers", f"it takes at most {MAX_SUPPORT:,}")
    return Discrete(tuple(range(low, high + 1)), (1.0 / n,) * n, "uniform_int")


@dataclass(frozen=True)
class Counting(Discrete):
    """A geometric or Poisson distribution. The support 0, 1, 2, ... is cut for drawing; log_prob is
    exact everywhere. parameter: p or the rate."""

    parameter: float = 0.0

    def log_prob(self, value: Any) -> float:
        k, p = _observed(value), self.parameter
        if not 0.0 <= k < math.inf or not k.is_integer():
            return -math.inf
        if self.name == "poisson":
            return poisson_log_prob(k, p)
        return math.log(p) + k * math.log1p(-p) if p < 1.0 else (0.0 if k == 0.0 else -math.inf)


def poisson_log_prob(k: float, rate: float) -> float:
    """log(rate^k exp(-rate) / k!), nats; -inf where that is below every float."""
    if k == 0.0 or rate == 0.0:
        return -rate if k == 0.0 else -math.inf
    if k < STIRLING_FROM:
        return k * math.log(rate) - rate - math.lgamma(k + 1.0)
    # Near k = rate the terms cancel, so k log(rate/k) + k - rate is computed from their distance
    # (Loader 2000).
    e = (rate - k) / k
    return (
        k * log1p_minus(e, math.log(rate) - math.log(k))
        - stirling_error(k)
        - 0.5 * math.log(k)
        - LOG_SQRT_2PI
    )


@distribution("geometric", [Parameter("p", FLOAT)], Dist(INT))
def geometric(p: float) -> Counting:
    """Failures before the first success: 0, 1, 2, ... with probability p (1 - p)^k."""
    number = _number("geometric", "p", p, "above 0 and at most 1")
    if not 0.0 < number <= 1.0:
        raise _refuse("geometric", "p", p, "above 0 and at most 1")
    n = 1 if number == 1.0 else math.ceil(math.log(TAIL_MASS) / math.log1p(-number))
    if n > MAX_SUPPORT:
        raise _refuse(
            "geometric",
            "p",
            p,
            f"at least 0.0004, or it has more than {MAX_SUPPORT:,} values to list",
        )
    return _counting("geometric", number, n)


@distribution("poisson", [Parameter("rate", FLOAT)], Dist(INT))
def poisson(rate: float) -> Counting:
    """Events in a unit of time at the given rate."""
    number = _number("poisson", "rate", rate, "between 0 and 10,000")
    if not 0.0 <= number <= 10_000.0:
        raise _refuse("poisson", "rate", rate, "between 0 and 10,000")
    # At every rate less than TAIL_MASS lies beyond twelve standard deviations and 30 from the mean.
    return _counting("poisson", number, math.ceil(number + 12.0 * math.sqrt(number) + 30.0))


@lru_cache(maxsize=64)
def _counting(name: str, parameter: float, n: int) -> Counting:
    """The distribution with its first n values listed."""
    unit = Counting((), (), name, parameter)
    return Counting(
        tuple(range(n)), tuple(math.exp(unit.log_prob(k)) for k in range(n)), name, parameter
    )


@dataclass(frozen=True)
class Uniform(Distribution):
    low: float
    high: float

    def sample(self, rng: Rng) -> float:
        u, width = float(rng.uniform()), self.high - self.low
        return self.low + width * u if width < math.inf else self.low * (1.0 - u) + self.high * u

    def log_prob(self, value: Any) -> float:
        if not self.low <= _observed(value) <= self.high:
            return -math.inf
        width = self.high - self.low
        return (
            -math.log(width)
            if width < math.inf
            else -math.log(2.0) - math.log(self.high / 2.0 - self.low / 2.0)
        )


@distribution("uniform", [Parameter("low", FLOAT, 0.0), Parameter("high", FLOAT, 1.0)], Dist(FLOAT))
def uniform(low: float, high: float) -> Uniform:
    """Any number between low and high."""
    ends = (
        _number("uniform", "low", low, "a finite number"),
        _number("uniform", "high", high, "a finite number"),
    )
    if not ends[0] < ends[1]:
        raise _refuse("uniform", "high", high, f"above low, {show(low)}")
    return Uniform(*ends)


@dataclass(frozen=True)
class Normal(Distribution):
    mean: float
    sd: float

    def sample(self, rng: Rng) -> float:
        # The stream gives multiples of 2^-53 in [0, 1). Half a step is added, since 0 has no
        # quantile.
        return statistics.NormalDist(self.mean, self.sd).inv_cdf(float(rng.uniform()) + 2.0**-54)

    def log_prob(self, value: Any) -> float:
        x = _observed(value)
        if not math.isfinite(x):
            return -math.inf
        distance = x - self.mean
        z = distance / self.sd if math.isfinite(distance) else x / self.sd - self.mean / self.sd
        return -0.5 * z * z - math.log(self.sd) - LOG_SQRT_2PI


@distribution("normal", [Parameter("mean", FLOAT, 0.0), Parameter("sd", FLOAT, 1.0)], Dist(FLOAT))
def normal(mean: float, sd: float) -> Normal:
    """The normal distribution by its mean and standard deviation."""
    center, scale = (
        _number("normal", "mean", mean, "a finite number"),
        _number("normal", "sd", sd, "above 0"),
    )
    if scale <= 0.0:
        raise _refuse("normal", "sd", sd, "above 0")
    if abs(center) + FARTHEST * scale == math.inf:
        raise _refuse("normal", "sd", sd, "smaller: no float holds what would be drawn")
    return Normal(center, scale)


@dataclass(frozen=True)
class Beta(Distribution):
    a: float
    b: float

    def sample(self, rng: Rng) -> float:
        return draw_beta(rng, self.a, self.b)

    def log_prob(self, value: Any) -> float:
        return log_density(_observed(value), self.a, self.b)


@distribution("beta", [Parameter("a", FLOAT), Parameter("b", FLOAT)], Dist(FLOAT))
def beta(a: float, b: float) -> Beta:
    """The beta distribution on [0, 1]."""
    left, right = (_number("beta", "a and b", x, "above 0, and finite") for x in (a, b))
    if not (left > 0.0 and right > 0.0):
        raise _refuse("beta", "a and b", (a, b), "above 0, and finite")
    return Beta(left, right)
