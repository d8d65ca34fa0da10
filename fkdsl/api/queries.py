"""Queries answered from a run's weighted values: posterior means and quantiles, with standard
errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.value_keys import value_key
from fkdsl.inference.assess.quantiles import quantile, quantile_interval, quantile_se
from fkdsl.inference.assess.uncertainty import Unknown
from fkdsl.inference.result import Estimate, Result
from fkdsl.ir.build import Environment
from fkdsl.ir.pure import PureFunctions
from fkdsl.language.check.checker import Checked
from fkdsl.language.queries import Query, lower_queries
from fkdsl.language.syntax import tree
from fkdsl.values.values import show


def answers(
    checked: Checked,
    environment: Callable[[], Environment],
    queries: Sequence[Query],
    result: Result,
    certain: Callable[[Query, float, bool], bool] = lambda query, answer, event: False,
) -> tuple[dict[str, Estimate], list[Diagnostic], tuple[str, ...]]:
    """(answers by name, mistakes, notes): the answers of the queries, in order, then why others
    have none: mistakes for an expression without a value, notes for the run's deadline and for
    answers whose error is 0 because no particle differs. certain: whether the program's conditions
    make an answer certain, or that of an event, of which nothing is to be said then.

    Where exact or beam were ended with bounds on Z, what they found is not the posterior, so the
    answers have no error.
    """
    if not queries:
        return {}, [], ()
    if result.log_z_bounds is not None and result.log_z_bounds[0] < result.log_z_bounds[1]:
        result = replace(result, uncertainty=Unknown())
    numbers = NumbersOf(checked, environment(), queries)
    weights = [p.weight for p in result.particles]
    estimates: dict[str, Estimate] = {}
    mistakes: list[Diagnostic] = []
    notes: list[str] = []
    for q in queries:
        try:
            y = np.array([numbers(q.name, p.value) for p in result.particles])
        except ProgramError as error:
            mistakes.extend(error.diagnostics)
            continue
        except DeadlinePassed as passed:
            notes.append(
                f"the query `{q.name}` has no answer: "
                f"time ran out {passed}, while it was worked out"
            )
            continue
        if q.level is None:
            event = numbers.is_event(q.name)
            estimates[q.name] = result.mean_of(y, event=event)
            by = result.uncertainty.by
            if by == "exact" or (by == "none" and not result.sole) or np.ptp(y) > 0.0:
                continue
            if not certain(q, float(y[0]), event):
                notes.append(_same_everywhere(q.name, event, result))
                if event:
                    around = _rule_of_three(float(y[0]), result)
                    estimates[q.name] = replace(estimates[q.name], interval=around)
        else:
            se = quantile_se(y, weights, q.level, result.uncertainty.mean_se)
            interval = quantile_interval(y, weights, q.level, result.mean_interval)
            estimates[q.name] = Estimate(quantile(y, weights, q.level), se, interval)
    return estimates, mistakes, tuple(notes)


def _same_everywhere(name: str, event: bool, result: Result) -> str:
    """What to say of an answer that all particles give."""
    if result.sole:
        return f"`{name}` is known of one surviving {result.sole} alone, and may be otherwise"
    worth = f"`{name}` is the same for all particles, which are worth {result.ess:.1f} draws"
    low, high = _rule_of_three(1.0, result)
    return f"{worth}: " + (
        f"the truth may be {high - low:.2g} away" if event else "no error is known"
    )


def _rule_of_three(answer: float, result: Result) -> tuple[float, float]:
    """Where the probability of an event lies, 19 times in 20, of which n draws all say the same: at
    most 3/n away (the rule of three, Hanley and Lippman-Hand 1983)."""
    away = 1.0 if result.sole else min(1.0, 3.0 / result.ess)
    return (1.0 - away, 1.0) if answer == 1.0 else (0.0, away)


class NumbersOf:
    """The queries' expressions as functions from returned values to numbers, each computed once for
    equal values."""

    def __init__(
        self, checked: Checked, environment: Environment, queries: Sequence[Query]
    ) -> None:
        self._functions = PureFunctions(lower_queries(checked, queries), environment)
        self._queries: Mapping[str, Query] = {q.name: q for q in queries}
        self._known: dict[tuple[str, Hashable], float] = {}
        self._numbers: set[str] = set()  # the queries that had a number for an answer

    def is_event(self, name: str) -> bool:
        """Whether every answer to the query has been true or false."""
        return name not in self._numbers

    def __call__(self, name: str, value: Any) -> float:
        key = (name, value_key(value))
        if key not in self._known:
            q = self._queries[name]
            result = self._functions.call(
                name, value, note=f"where the returned value is {_short(value)}"
            )
            self._known[key] = number_of(q.expression, result, value, event=q.event)
            if not isinstance(result, bool):
                self._numbers.add(name)
        return self._known[key]


def number_of(expression: tree.Expr, result: Any, value: Any, *, event: bool) -> float:
    """What an expression over a returned value comes to, as a number. event: whether it must be a
    truth value, as inside `P`. Raises ProgramError for any other."""
    if isinstance(result, bool if event else int | float) and math.isfinite(result):
        return float(result)
    expected, mark = "a finite number", "no number"
    help = "test the value first: `a if test else b`"
    if event:
        expected, mark = "a truth value inside `P`", "no event"
        help = "write an event, `P(value.n > 5)`, or `E(...)` for a mean"
    message = f"expected {expected}, found {show(result)!r}"
    note = f"where the returned value is {_short(value)}"
    raise ProgramError([Diagnostic("FK408", message, expression.span, mark, help, (note,))])


def _short(value: Any) -> str:
    text = repr(show(value))
    return text if len(text) <= 60 else text[:57] + "..."
