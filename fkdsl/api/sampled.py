"""Expectations where exact figures cannot be had: independent runs of the file's method, until
every line is decided or the time is over.

Z and each P(...) have confidence sequences (fkdsl.inference.assess.sequential), which all hold but
for a probability of FALSE_ALARM. A line is decided when it holds for all figures in their
intervals, or for none. E(...) has no bound, so lines with it stay undecided. One returned value can
make `all(... for v in support)` fail.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Mapping
from typing import Any

from fkdsl.api.called_program import DEFAULT_METHOD, CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.outcomes import ExpectLine, TestSettings, shown_figures
from fkdsl.api.queries import number_of
from fkdsl.api.request import RunRequest
from fkdsl.api.steering import steering_model
from fkdsl.api.unbiasedness import FALSE_ALARM
from fkdsl.base.logspace import linear
from fkdsl.base.random import KeyedRng
from fkdsl.base.value_keys import value_key
from fkdsl.inference.assess.sequential import interval, ratio_interval
from fkdsl.inference.interface import Step
from fkdsl.inference.methods import check_method
from fkdsl.inference.run import steps_of
from fkdsl.ir.pure import PureFunctions
from fkdsl.language.check.intervals import Interval, decided
from fkdsl.language.check.tests import SUPPORT
from fkdsl.language.expectations import Expectation, Expectations
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.values import show


class _Sums:
    """Z_hat of every run, sum_i w_i f(x_i) of every event f, and the values that were returned."""

    def __init__(self, expected: Expectations, functions: PureFunctions) -> None:
        self.functions = functions
        self.events = [f for f in expected.figures if f.kind == "P"]
        self.Z: list[float] = []
        self.of: dict[str, list[float]] = {f.function: [] for f in self.events}
        self.values: dict[Hashable, Any] = {}

    def take(self, model: Any, last: Step[Any]) -> None:
        weighted = [
            (model.value(x), linear(w))
            for x, w in zip(last.states, last.log_weights, strict=True)
            if w > -math.inf
        ]
        self.Z.append(math.fsum(w for _, w in weighted))
        for value, _ in weighted:
            self.values.setdefault(value_key(value), value)
        for f in self.events:
            masses = []
            for v, w in weighted:
                note = f"where the returned value is {show(v)}"
                holds = self.functions.call(f.function, v, note=note)
                if number_of(f.expression, holds, v, event=True):
                    masses.append(w)
            self.of[f.function].append(math.fsum(masses))

    def intervals(self, bound: float | None) -> dict[str, Interval]:
        """Those of Z, log_Z and each event; they all hold at all times but for a probability of
        FALSE_ALARM. bound: of Z_hat, None where there is none."""
        if not all(map(math.isfinite, self.Z)):  # a float cannot hold an estimate: nothing is known
            return {
                "Z": (0.0, math.inf),
                "log_Z": (-math.inf, math.inf),
                **{f.function: (0.0, 1.0) for f in self.events},
            }
        alpha = FALSE_ALARM / (1 + len(self.events))
        low, high = interval(self.Z, bound, alpha)
        log_low, log_high = (math.log(z) if z > 0.0 else -math.inf for z in (low, high))
        result: dict[str, Interval] = {"Z": (low, high), "log_Z": (log_low, log_high)}
        for f in self.events:
            result[f.function] = (0.0, 1.0)
            if bound is not None and any(self.Z):
                result[f.function] = ratio_interval(self.of[f.function], self.Z, bound, alpha)
        return result


def sampled_lines(
    program: CalledProgram,
    engines: Engines,
    expected: Expectations,
    functions: PureFunctions,
    bound: float | None,
    settings: TestSettings,
) -> tuple[ExpectLine, ...]:
    """The `expect` lines, each decided by sampling or not at all. bound: of a product of
    potentials, None where none is known."""
    method, options = program.method
    if not check_method(method).checks.bounded:
        method, options = DEFAULT_METHOD, {}
    # What is bounded is a product of potentials, which look-ahead would take apart.
    request = RunRequest.of(program, method, options, engines=engines, lookahead="none")
    model = steering_model(request, engines)
    sums, began, n, look = _Sums(expected, functions), time.monotonic(), 0, 1
    lines: tuple[ExpectLine, ...] = ()
    while True:
        rng = KeyedRng(settings.seed).split("sample", n)
        *_, last = steps_of(
            model, rng, request.call, max_steps=request.max_steps, merge=request.merge
        )
        assert isinstance(last, Step)
        sums.take(model, last)
        n += 1
        over = n >= settings.runs or time.monotonic() - began > settings.seconds
        if n >= look or over:
            look = math.ceil(1.25 * n)
            lines = tuple(_line(line, sums, sums.intervals(bound)) for line in expected.lines)
            if over or all(line.outcome != "undecided" for line in lines):
                return lines


def _line(line: Expectation, sums: _Sums, known: Mapping[str, Interval]) -> ExpectLine:
    shown = shown_figures(line, known)
    note = f"sampled, {len(sums.Z)} runs"
    if is_over_support(line.says):
        values = tuple(sums.values.values())
        known_values = {SUPPORT: values}
        arguments = (known_values.get(p, 0.0) for p in line.parameters)
        holds = sums.functions.call(line.function, *arguments)
        return ExpectLine(
            line.written, "undecided" if holds else "failed", shown, f"{note}, {len(values)} values"
        )
    holds = decided(line.says, known)
    outcome: Any = "undecided" if holds is None else "passed" if holds else "failed"
    return ExpectLine(line.written, outcome, shown, note)


def is_over_support(e: tree.Expr) -> bool:
    """Whether it is `all(test for v in support)` and reads no figures, so that one value can refute
    it."""
    match e:
        case tree.Call(
            function=tree.Name(name="all"),
            args=(
                tree.Comprehension(
                    clauses=(tree.Clause(iterable=tree.Name(name=name), conditions=()),)
                ) as inner,
            ),
        ):
            return name == SUPPORT and not reads_figures(inner)
    return False


def reads_figures(e: tree.Expr) -> bool:
    """Whether it reads Z, log_Z, P(...) or E(...)."""
    return any(
        isinstance(n, tree.Name) and (n.name in ("Z", "log_Z") or n.name.startswith("."))
        for n in walk(e)
    )
