"""Sequential tests of a mean, which may be looked at after every observation and stopped at any
time.

They bet (Waudby-Smith and Ramdas 2023, section 4): if E[X] = m, bets on X at these odds are fair.
For X >= 0 and a stake 0 <= c <= 1 the wealth

    K_n = prod_{i<=n} (1 + c (X_i - m) / m)               grows if E[X] > m
    K_n = prod_{i<=n} (1 - c (X_i - m) / (B - m))         grows if E[X] < m, and needs X <= B

is a nonnegative martingale that begins at 1 if E[X_i | X_1..X_{i-1}] = m; B may differ from X_i to
X_i, as long as it is known before. An average of such wealths, here over a grid of c and both
directions, is one too, and by Ville's inequality it ever reaches 1/alpha with probability at most
alpha. The observations need not have one law, and their number need not be fixed in advance.

    test = MeanTest(mean=0.36, bound=1.0)
    for x in observations:
        if test.take(x) >= 1e6:
            ...             # the mean is not 0.36, at a false-alarm rate of 1e-6
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass

STAKES = (0.9, 0.5, 0.25, 0.12, 0.06, 0.03)
"""The grid of c: large stakes find large errors soon, small ones find small errors later."""
TIGHT = 0.01
"""The least room between the mean and a bound, as a share of the mean: without it, rounding would
break a bound that equals the mean."""
SLACK = 1e-6
"""An observation that is above its bound by no more than this share has been rounded."""


@dataclass
class MeanTest:
    """The wealth of betting against E[X] = mean, for 0 <= X <= bound.

    bound: None where none is known: then there are no bets on a smaller mean, and a mean that is
    too small is not found. An X above its bound makes the wealth infinite. own_bounds: whether each
    X comes with a bound of its own.
    """

    mean: float
    bound: float | None = None
    own_bounds: bool = False
    _over: Floats = field(default_factory=lambda: np.zeros(len(STAKES)))
    _under: Floats = field(default_factory=lambda: np.zeros(len(STAKES)))

    def take(self, x: float, bound: float | None = None) -> float:
        """The wealth after one more observation; bound: its own, where it has one."""
        most = self.bound if bound is None else bound
        over, under = factors(np.array([x]), self.mean, most)
        with np.errstate(divide="ignore"):
            self._over = self._over + np.log(over[0])
            self._under = self._under + np.log(under[0])
        if most is not None and x > most * (1.0 + SLACK):
            self._over = np.full(len(STAKES), math.inf)
        return self.wealth

    @property
    def wealth(self) -> float:
        """The average of all wealths; 1 at the start. Reaching 1/alpha is evidence at level
        alpha."""
        one_sided = self.bound is None and not self.own_bounds
        bets = self._over if one_sided else np.concatenate([self._over, self._under])
        return float(np.exp(np.minimum(bets, 700.0)).mean())


def factors(x: Floats, mean: float, bound: Floats | float | None) -> tuple[Floats, Floats]:
    """What each bet multiplies its wealth by at each observation x (n,): (n, stakes) for the bets
    on a larger mean, and for those on a smaller one. bound: (n,), or one for all.

    Where the mean is 0, an X > 0 is impossible, and the factor infinite.
    """
    c = np.array(STAKES)
    if mean <= 0.0:
        over = np.where(x[:, None] > 0.0, math.inf, 1.0) * np.ones_like(c)
        return over, np.ones_like(over)
    over = 1.0 + c * (x[:, None] - mean) / mean
    if bound is None:
        return over, np.ones_like(over)
    room = np.maximum(np.broadcast_to(bound, x.shape), mean * (1.0 + TIGHT)) - mean
    return over, np.maximum(1.0 - c * (x[:, None] - mean) / room[:, None], 0.0)


def highest(x: Floats, mean: float, bound: Floats | float | None, *, over: bool) -> float:
    """The highest average wealth after any of the observations x (n,), counting the bets of one
    direction alone: those of the other are taken to have lost everything."""
    chosen = factors(x, mean, bound)[0 if over else 1]
    with np.errstate(divide="ignore"):
        wealth = np.exp(np.minimum(np.cumsum(np.log(chosen), axis=0), 700.0)).mean(axis=1)
    return float(wealth.max(initial=1.0)) / (1 if bound is None else 2)


@dataclass(frozen=True)
class RoundPlan:
    """How long a test goes on: a round of `base` runs, then another as long as the wealth has grown
    by the factor `promising` a round on average, at most `times` rounds. The wealth against a wrong
    method grows so; most of the bets against a right one have lost after a round."""

    base: int
    times: int = 10
    promising: float = 1.2

    def goes_on(self, n: int, wealth: float) -> bool:
        """Whether there is another run after n of them."""
        rounds, more = divmod(n, self.base)
        if more != 0 or rounds == 0:
            return True
        return rounds < self.times and wealth >= self.promising**rounds


def smallest_error(
    x: Sequence[float], mean: float, bound: Sequence[float] | None, alpha: float, plan: RoundPlan
) -> float | None:
    """The power of a test that has passed: the smallest relative error that it would have found.

    It is found by scaling the observations x (n,) of the first round to the mean, making them
    larger, or smaller, by that share, and letting later rounds repeat the first. None where not
    even twice the mean would have been found, or the mean is 0. bound: (n,); without it only larger
    observations count.

    >>> round(smallest_error([1.0] * 100, 1.0, [1.0] * 100, 1e-6, RoundPlan(100, times=1)), 2)
    0.2
    """
    if mean <= 0.0:
        return None
    scaled = np.array(x, dtype=np.float64)
    if not scaled.any():
        return None
    scaled *= mean / scaled.mean()
    most = None if bound is None else np.array(bound, dtype=np.float64)

    def would_be_found(factor: float, over: bool) -> bool:
        chosen = factors(scaled * factor, mean, most)[0 if over else 1]
        with np.errstate(divide="ignore"):
            growth = np.log(chosen).sum(axis=0)  # (stakes,) of one round
        first, last = (
            float(np.exp(np.minimum(rounds * growth, 700.0)).mean()) / (1 if most is None else 2)
            for rounds in (1, plan.times)
        )
        return last >= 1.0 / alpha and (plan.times == 1 or first >= plan.promising)

    larger = _first(lambda d: would_be_found(1.0 + d, True))
    if bound is None or larger is None:
        return larger
    smaller = _first(lambda d: would_be_found(1.0 - d, False))
    return None if smaller is None else max(larger, smaller)


def interval(x: Sequence[float], bound: float | None, alpha: float) -> tuple[float, float]:
    """The means that the observations have not ruled out at level alpha: a confidence sequence,
    which may be looked at after every observation. The upper end is inf where there is no bound."""
    seen = np.array(x, dtype=np.float64)
    top = bound if bound is not None else float(seen.max(initial=0.0))
    # The larger the mean that is bet against, the smaller the wealth of bets on a larger one.
    low = _crossing(lambda m: highest(seen, m, bound, over=True) >= 1.0 / alpha, 0.0, top)
    if bound is None:
        return low, math.inf
    high = bound - _crossing(
        lambda r: highest(seen, bound - r, bound, over=False) >= 1.0 / alpha, 0.0, bound
    )
    return low, high


def ratio_interval(
    top: Sequence[float], bottom: Sequence[float], bound: float, alpha: float
) -> tuple[float, float]:
    """The p = E[top] / E[bottom] that pairs 0 <= top <= bottom <= bound have not ruled out. E[top -
    p bottom] = 0 says E[X] = p of X = (top - p bottom) / bound + p, which lies in [0, 1]."""
    a, b = np.array(top, dtype=np.float64) / bound, np.array(bottom, dtype=np.float64) / bound

    def ruled_out(p: float, over: bool) -> bool:
        return highest(a - p * b + p, p, 1.0, over=over) >= 1.0 / alpha

    return _crossing(lambda p: ruled_out(p, True), 0.0, 1.0), 1.0 - _crossing(
        lambda r: ruled_out(1.0 - r, False), 0.0, 1.0
    )


BISECTIONS = 20


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The largest x in [low, high] up to which `holds` is true; low if it is true nowhere."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _first(holds: Callable[[float], bool]) -> float | None:
    """The smallest x in [0, 1] from which on `holds` is true; None if it is not even at 1."""
    return 1.0 - _crossing(lambda r: holds(1.0 - r), 0.0, 1.0) if holds(1.0) else None
