"""Whether every inference method gives a program's exact figures on average.

For each figure f of a test, E[sum_i w_i f(x_i)] = Z E[f] and E[Z_hat] = Z. A method's variants are
run many times with few particles, and a sequential test bets against each equation
(fkdsl.inference.assess.sequential). For methods that weigh step by step, it bets against the
equation of each step (fkdsl.inference.assess.lookahead), else against that of the last step. The
bets share the false-alarm rate equally. A value outside the exact support is wrong without a bet.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fkdsl.base.errors import CallError, InternalError
from fkdsl.base.logspace import Floats, linear
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng
from fkdsl.base.value_keys import value_key
from fkdsl.inference.assess.lookahead import LookAhead
from fkdsl.inference.assess.sequential import MeanTest, RoundPlan, smallest_error
from fkdsl.inference.assess.variants import Variant
from fkdsl.inference.interface import FeynmanKac, Step
from fkdsl.inference.run import steps_of
from fkdsl.values.values import show

FALSE_ALARM = 1e-6
"""Probability that a test block is failed although every method is right."""
BROKEN = (ArithmeticError, AssertionError, InternalError, LookupError, TypeError, ValueError)
"""What no correct method raises."""


@dataclass(frozen=True)
class Law:
    """The exact law of a program's values: Z, and functions of the values as mass-weighted means.

    functions: by the key of a value, the functions' values there (k,), each in [0, 1], the first of
    them 1. means: (k,) of Z_hat f: Z first. names: (k,) for reports. probabilities: whether every
    potential is at most 1. lookahead: the expected future of each state, None where it is not
    known. log_scale: nats; means and estimates are divided by its exp, since a float may not hold
    them otherwise.
    """

    functions: Mapping[Hashable, Floats]
    means: Floats
    names: tuple[str, ...]
    probabilities: bool
    lookahead: LookAhead[Any] | None
    log_scale: float = 0.0

    def quotients(
        self, variant: Variant, steps: Sequence[Step[Any]] | None, end: Floats, bounded: bool
    ) -> Iterator[tuple[Floats, Floats | None]]:
        """Quotients with mean 1, each with its upper bound, (k,) each: one for each step, or the
        last estimate over its mean. For a figure of mean 0 the quotient has mean 0."""
        possible = self.means > 0.0
        if steps is not None and self.lookahead is not None:
            for x, bound in self.lookahead.quotients(steps, variant.checks.reduces_after):
                yield np.where(possible, x, x - 1.0), bound
        else:
            means = np.where(possible, self.means, 1.0)
            yield end / means, 1.0 / means if bounded else None


@dataclass(frozen=True)
class Disagreement:
    """A figure on which a method is wrong: its exact mean, the mean over the runs, and the wealth
    of the bet against it."""

    figure: str
    exact: float
    mean: float
    wealth: float


@dataclass(frozen=True)
class MethodCheck:
    """What the runs of one variant showed.

    wrong: the figure that it is wrong on. reason: the same in words, or why it was not run.
    by_step: whether every step was tested. detectable: by figure, the smallest relative error (of a
    step, where steps were tested) that would have been found; None where twice the mean would not.
    one_sided: whether no bound was known, so that only figures that are too large would have been
    found.
    """

    variant: str
    runs: int
    wrong: Disagreement | None
    reason: str
    detectable: Mapping[str, float | None]
    by_step: bool
    one_sided: bool

    @property
    def passed(self) -> bool:
        return self.wrong is None and not (self.reason and self.runs)


def check_variant(
    model: FeynmanKac[Any],
    variant: Variant,
    law: Law,
    *,
    plan: RoundPlan,
    seed: int,
    alpha: float,
    max_steps: int | None = None,
    merge: bool = True,
) -> MethodCheck:
    """Runs a variant as the plan says, or until a figure is wrong at level alpha / k."""
    bets = _Bets(model, variant, law, plan, alpha)
    while plan.goes_on(bets.runs, bets.wealth):
        n = bets.runs
        rng = KeyedRng(seed).split("check", variant.name, n)
        call = variant.calls[n % len(variant.calls)]
        try:
            steps: list[Any] = list(steps_of(model, rng, call, max_steps=max_steps, merge=merge))
        except CallError as error:
            return bets.ended(error.message, 0)
        except BROKEN as error:
            reason = f"it broke in run {n + 1}: {type(error).__name__}: {error}"
            return bets.ended(reason, n + 1)
        if (failed := bets.take(steps)) is not None:
            return failed
    return bets.passed()


class _Bets:
    """A bet against each figure's equation, raised from run to run of a variant. alpha: the level
    of all of them together."""

    def __init__(
        self, model: FeynmanKac[Any], variant: Variant, law: Law, plan: RoundPlan, alpha: float
    ) -> None:
        self.model, self.variant, self.law, self.plan = model, variant, law, plan
        self.by_step = variant.stepwise and law.lookahead is not None
        self.bounded = (
            law.log_scale == 0.0
            and variant.checks.bounded
            and (law.probabilities or variant.checks.refuses_above_one)
        )
        self.one_sided = not self.by_step and not self.bounded
        self.level = alpha / len(law.means)
        self.bets = [
            MeanTest(1.0 if mean > 0.0 else 0.0, own_bounds=not self.one_sided)
            for mean in law.means
        ]
        self.ends: list[Floats] = []
        self.observed: list[tuple[Floats, Floats | None]] = []

    @property
    def runs(self) -> int:
        return len(self.ends)

    @property
    def wealth(self) -> float:
        """That of the bet which has won most."""
        return max(bet.wealth for bet in self.bets)

    def take(self, steps: Sequence[Any]) -> MethodCheck | None:
        """Bets on the steps of one more run; what is wrong, if that is known now."""
        end, stranger = estimates(self.model, steps[-1], self.law)
        self.ends.append(end)
        if stranger:
            return self.ended(stranger, self.runs)
        seen = steps if self.by_step else None
        for x, bound in self.law.quotients(self.variant, seen, end, self.bounded):
            if self.runs <= self.plan.base:
                self.observed.append((x, bound))
            for k, bet in enumerate(self.bets):
                wealth = bet.take(float(x[k]), None if bound is None else float(bound[k]))
                if wealth >= 1.0 / self.level:
                    return self._disagrees(k)
        return None

    def _disagrees(self, k: int) -> MethodCheck:
        mean = float(np.mean([end[k] for end in self.ends]))
        exact, wealth = float(self.law.means[k]), self.bets[k].wealth
        wrong = Disagreement(self.law.names[k], exact, mean, wealth)
        return self.ended(_words(wrong, self.runs, self.law.log_scale), self.runs, wrong)

    def ended(self, reason: str, runs: int, wrong: Disagreement | None = None) -> MethodCheck:
        """The check of a variant that is wrong, or that could not be run."""
        return MethodCheck(self.variant.name, runs, wrong, reason, {}, self.by_step, self.one_sided)

    def passed(self) -> MethodCheck:
        """The check of a variant that no bet has won against, with the errors that one would have
        won against."""
        detectable = {}
        for k, name in enumerate(self.law.names):
            bounds = [float(bound[k]) for _, bound in self.observed if bound is not None]
            detectable[name] = smallest_error(
                [float(x[k]) for x, _ in self.observed],
                self.bets[k].mean,
                None if self.one_sided else bounds,
                self.level,
                self.plan,
            )
        return MethodCheck(
            self.variant.name, self.runs, None, "", detectable, self.by_step, self.one_sided
        )


def estimates(model: FeynmanKac[Any], last: Step[Any], law: Law) -> tuple[Floats, str]:
    """(sum_i w_i f(x_i) for each function (k,), what is wrong with a value outside the support, ''
    where there is none)."""
    total = np.zeros(len(law.means))
    for x, lw in zip(last.states, last.log_weights, strict=True):
        if lw == -math.inf:
            continue
        if not model.finished(x):
            return total, "a particle of positive weight has not returned"
        f = law.functions.get(value_key(model.value(x)))
        if f is None:
            return total, f"it returned {show(model.value(x))!r}, which has probability 0"
        total += linear(lw - law.log_scale) * f
    return total, ""


def _words(wrong: Disagreement, runs: int, log_scale: float) -> str:
    figure = "Z" if wrong.figure == "Z" else f"Z * {wrong.figure}"
    figure += f" / e^{log_scale:.6g}" if log_scale else ""
    odds = f"{min(wrong.wealth, 1e300):.1e}"
    return (
        f"{figure} is {wrong.exact:.6g}, its estimates average {wrong.mean:.6g} in {runs} runs "
        f"(odds {odds} to 1)"
    )


def level_of_each(checks: int) -> float:
    """The false-alarm level of each of `checks` checks of one test."""
    return FALSE_ALARM / max(1, checks)
