"""Runs to a target error or a budget: a pilot finds how many islands the run needs, and the answer
is made of fresh ones.

Stopping when the error looks small enough would bias Z_hat: populations that missed the mass have
small errors too, and the run would stop at them. Here a pilot of a few islands says what an island
costs and how much it varies; from that the number R of fresh islands is fixed, and Z_hat is the
mean of these only. Given the pilot each of them has mean Z, so E[Z_hat] = Z for any rule.

>>> seconds = (0.2, 0.1, 0.1, 0.1)
>>> pilot = IslandPilot(log_Z=(-0.7, -0.4, -0.6, -0.5), tokens=(50, 20, 20, 20), seconds=seconds)
>>> islands_for(pilot, Aim(target_se=0.02)).islands, islands_for(pilot, Aim(tokens=1000)).islands
(84, 44)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from fkdsl.base.deadline import Deadline, until
from fkdsl.base.errors import BudgetEnded, CallError, PopulationDied
from fkdsl.base.logspace import log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng
from fkdsl.inference.interface import FeynmanKac
from fkdsl.inference.method import MethodCall
from fkdsl.inference.methods import called, check_method
from fkdsl.inference.result import Result
from fkdsl.inference.run import Counts, Observer, Spent, run

S = TypeVar("S")
PILOT = 8
"""Islands of a pilot, at most."""
SHARE = 0.25
"""The share of a budget after which a pilot begins no more islands."""
CAUTION = 2.0
"""How many times the islands that the pilot's variance asks for are run, since that variance is
itself an estimate (docs/inference.md, Runs to a target)."""
LEAST = 4
"""The fewest islands for a target: fewer say little about their error."""
MOST = 1000
"""The most islands of a run."""
OVER = 1.1
"""A note names an overrun of more than this many times the budget."""


@dataclass(frozen=True)
class Aim:
    """What a run should reach, and what it may cost: the standard error of log Z in nats, forwarded
    tokens, seconds; each is None where it does not matter."""

    target_se: float | None = None
    tokens: int | None = None
    seconds: float | None = None

    @property
    def asked(self) -> bool:
        """Whether there is any aim."""
        return (self.target_se, self.tokens, self.seconds) != (None, None, None)

    def check(self, method: str, islands: int = 1, resumed: bool = False) -> None:
        """Raises CallError for an aim that no run can have, or that this method cannot reach."""
        if not self.asked:
            return
        for name, value in (("target error", self.target_se), ("budget of tokens", self.tokens),
                            ("budget of seconds", self.seconds)):  # fmt: skip
            if value is not None and not 0 < value < math.inf:
                raise CallError(
                    f"a {name} is a number above 0, not {value:g}",
                    "write --target-se 0.1 or --budget tokens=20000",
                )
        chosen = check_method(method)
        if not chosen.draws:
            raise CallError(
                f"`{method}` draws nothing: more of it has no smaller error",
                "use smc, or leave it out",
            )
        if not chosen.estimates_z and self.target_se is not None:
            raise CallError(
                f"`{method}` has no log Z, and so no target for its error",
                "use smc, or --budget alone",
            )
        if islands > 1:
            raise CallError(
                "a target or a budget finds the number of islands", "leave --islands out"
            )
        if resumed:
            raise CallError("a run to a target or a budget cannot be resumed", "begin it anew")


@dataclass(frozen=True)
class Before:
    """What a run has taken of its budgets before its first island."""

    tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, spent: Spent) -> Before:
        """What was spent so far."""
        facts = spent.facts()
        return cls(facts["forwarded_tokens"], facts["seconds"])


NOTHING = Before()


@dataclass(frozen=True)
class IslandPilot:
    """The log Z, tokens and seconds of each of a pilot's islands: (k,) each."""

    log_Z: tuple[float, ...]
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def variance(self) -> float | None:
        """The estimated Var(Z_r) / Z^2 of an island; None for fewer than two islands, or where none
        lived."""
        k, log_Z = len(self.log_Z), np.array(self.log_Z)
        if k < 2 or log_Z.max() == -np.inf:
            return None
        return float(np.var(np.exp(log_Z - log_sum_exp(log_Z)) * k, ddof=1))


@dataclass(frozen=True)
class IslandPlan:
    """The number R of fresh islands, and why there are not more; '' where there are as many as the
    target asks for."""

    islands: int
    why: str = ""


def islands_for(
    pilot: IslandPilot, aim: Aim, at_once: int = 1, before: Before = NOTHING
) -> IslandPlan:
    """The number of fresh islands: what the target asks for, or all that the budget has room for.
    at_once: how many are computed at a time, so that seconds go further. Pure."""
    room, why = MOST, f"no run has more than {MOST:,} islands: use more particles"
    for budget, used, other, what, together in (
        (aim.tokens, pilot.tokens, before.tokens, "tokens", 1),
        (aim.seconds, pilot.seconds, before.seconds, "seconds", at_once),
    ):
        # The first island fills the caches that the others then use, so its cost says little about
        # theirs.
        each = float(np.mean(used[1:] or used)) / together
        if budget is not None and room * each > (left := budget - sum(used) - other):
            room, why = (
                max(1, int(left / each)),
                f"the budget of {budget:g} {what} had no room for more",
            )
    if aim.target_se is None:
        return IslandPlan(room, why if room == MOST else "")
    if pilot.variance is None:
        return IslandPlan(min(room, PILOT), "the pilot could not say how much an island varies")
    wanted = max(LEAST, math.ceil(CAUTION * pilot.variance / aim.target_se**2))
    return IslandPlan(wanted) if wanted <= room else IslandPlan(room, why)


def adaptive_run(
    model: FeynmanKac[S],
    method: str | MethodCall,
    seed: int,
    options: Mapping[str, Any] | None,
    aim: Aim,
    *,
    timeout: float | Deadline | None = None,
    counts: Counts = lambda: (0, 0),
    observer: Observer | None = None,
    at_once: Callable[[], int] = lambda: 1,
    spent: Spent | None = None,
    **others: Any,
) -> Result:
    """The Result of as many islands as the aim asks for.

    observer: is called with the steps of the fresh islands only. timeout: seconds or a Deadline,
    after which the islands that have ended make the answer. at_once: how many islands are computed
    at a time. spent: counts from before the run, where its budget has paid for more. others: as
    `run` takes them. Time, model calls and tokens include the pilot's. Raises what `run` raises
    where not one island ends.
    """
    call = called(method, options)
    aim.check(call.method.name)
    spent = spent if spent is not None else Spent(counts)
    before = Before.of(spent)

    def island(own: int, limit: float | None, **more: Any) -> Result:
        return run(model, call, own, timeout=limit, counts=counts, **others, **more)

    with until(Deadline.of(timeout)):
        pilot, first = _pilot(island, seed, aim, counts, before)
        plan = islands_for(pilot, aim, at_once(), before)
        try:
            result = island(seed, None, islands=plan.islands, partial=True, observer=observer)
        except BudgetEnded:
            if first is None:
                raise
            note = (
                "time ran out before a fresh island ended: this is the pilot's first, and not "
                "exactly unbiased"
            )
            result = replace(first, seed=seed, notes=(note, *first.notes))
    done = replace(result, **spent.facts())
    return replace(done, notes=(*done.notes, *aim_notes(done, plan, aim)))


def _pilot(
    island: Callable[[int, float | None], Result],
    seed: int,
    aim: Aim,
    counts: Counts,
    before: Before,
) -> tuple[IslandPilot, Result | None]:
    """The pilot, and the Result of its first island if that lived. Its islands have seeds of their
    own and run one after the other: at most PILOT of them, and none after they took SHARE of the
    budget. Raises BudgetEnded where the first one does not end."""
    log_Z: list[float] = []
    tokens: list[int] = []
    seconds: list[float] = []
    first: Result | None = None
    # Without a target only the cost is wanted, for which two are enough: the first, which fills the
    # caches, and another.
    while len(log_Z) < (PILOT if aim.target_se is not None else 2):
        taken = before.seconds + sum(seconds)
        spent = max(
            (before.tokens + sum(tokens)) / (aim.tokens or math.inf),
            taken / (aim.seconds or math.inf),
        )
        if spent > SHARE and tokens:
            break
        began, earlier = time.monotonic(), counts()[1]
        own = int.from_bytes(KeyedRng(seed).split("pilot", len(log_Z)).key[:8], "little")
        try:
            result = island(own, None if aim.seconds is None else max(0.0, aim.seconds - taken))
            log_Z.append(result.log_z)
            first = first if log_Z[1:] else result
        except PopulationDied:
            log_Z.append(-math.inf)
        except BudgetEnded as error:
            if log_Z:
                break
            if aim.seconds is None or time.monotonic() - began + taken < aim.seconds:
                raise
            raise BudgetEnded(
                f"one island takes more than the budget of {aim.seconds:g} seconds",
                "use fewer particles, or raise --budget",
            ) from error
        tokens.append(counts()[1] - earlier)
        seconds.append(time.monotonic() - began)
    return IslandPilot(tuple(log_Z), tuple(tokens), tuple(seconds)), first


def aim_notes(result: Result, plan: IslandPlan, aim: Aim) -> list[str]:
    """Where the run did not reach what it should, or cost more than it may."""
    R, se = result.islands, result.log_z_se
    notes: list[str] = []
    short = plan.islands - R
    if short > 0:
        notes.append(
            f"time ran out after {R} of {plan.islands} islands: log Z is of these, and not exactly "
            "unbiased"
        )
    if aim.target_se is not None and (se is None or se > aim.target_se):
        reached = "no standard error is known" if se is None else f"the standard error is {se:.2g}"
        why = f"; {plan.why}" if plan.why and not short else ""
        notes.append(f"the target {aim.target_se:g} was not met: {reached}{why}")
    elif plan.why and not short:
        notes.append(plan.why)
    used = (
        (aim.tokens, result.forwarded_tokens, "tokens"),
        (aim.seconds, result.seconds, "seconds"),
    )
    for budget, spent, what in used:
        if budget is not None and spent > OVER * budget:
            why = (
                "a pilot and one island are the least"
                if R == 1
                else "fresh islands took more than the pilot's"
            )
            notes.append(f"{spent:.4g} {what} were used of a budget of {budget:g}: {why}")
    return notes
