"""Test blocks run: each `expect` line on exact figures, and every inference method held to the same
figures.

Figures are exact where the program can be enumerated: always on a small table, and on a real model
where few texts are possible. Elsewhere they are estimated with a confidence sequence
(fkdsl.api.sampled), and a line may stay undecided.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.method_checks import Disagreement, Law, MethodCheck, check_variant, share
from fkdsl.api.outcomes import Line, Outcome, Settings, TestRun, shown_figures
from fkdsl.api.request import MAX_STEPS
from fkdsl.api.sampled import sampled_lines
from fkdsl.base.errors import BudgetEnded, CallError, ProgramError
from fkdsl.base.logspace import Floats, linear
from fkdsl.base.value_keys import value_key
from fkdsl.inference.assess.lookahead import LookAhead, look_ahead
from fkdsl.inference.assess.sequential import Plan
from fkdsl.inference.assess.variants import variants
from fkdsl.inference.result import Answer, merged
from fkdsl.inference.search.exact import exact
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import subexpressions
from fkdsl.ir.pure import PureFunctions
from fkdsl.language.check.constants import constant
from fkdsl.language.expectations import Expectation, Expectations, expectations
from fkdsl.language.syntax import tree
from fkdsl.machine.state import ProgramState
from fkdsl.models.table import TableModel
from fkdsl.proposals.propose import Guides
from fkdsl.values.values import show

FAR = 300.0
"""Nats from 0 on which Z and the estimates of it are compared by their ratio to the exact one."""
TABLE_STATES, MODEL_STATES = 20_000, 2_000
"""States that exact enumerates at most, on tables and on other models."""
ROUNDING = 1e-9
"""Relative error that an enumeration's sums may have."""
DENSITIES = ("normal", "uniform", "beta")
"""Distributions whose potential may be above 1."""


def run_test(program: CalledProgram, test: tree.Test, settings: Settings | None = None) -> TestRun:
    """The outcome of a test of the program's file. A mistake that shows as it runs is the outcome
    `error`."""
    settings, began = settings or Settings(), time.monotonic()
    try:
        by, lines, methods = _run(program, test, settings)
    except (ProgramError, CallError, BudgetEnded) as error:
        return TestRun(test, "error", "", (), (), time.monotonic() - began, str(error))
    outcomes = [line.outcome for line in lines]
    failed = "failed" in outcomes or not all(m.passed for m in methods)
    outcome: Outcome = "failed" if failed else "undecided" if "undecided" in outcomes else "passed"
    return TestRun(test, outcome, by, lines, methods, time.monotonic() - began)


def prepared(program: CalledProgram, test: tree.Test) -> tuple[CalledProgram, Engines]:
    """The program with the test's settings, and its models, loaded."""
    given = {k.name: k.value for k in test.settings}
    chosen, table = given.pop("program", None), given.pop("model", None)
    if isinstance(chosen, tree.Name):
        program = program.select(chosen.name)
    program = program(**{name: constant(value) for name, value in given.items()})
    engines = program.engines(table.name if isinstance(table, tree.Name) else None)
    for name in program.model_names():
        _ = engines[name]
    return program, engines


def _run(
    program: CalledProgram, test: tree.Test, settings: Settings
) -> tuple[Literal["exact", "sampling"], tuple[Line, ...], tuple[MethodCheck, ...]]:
    program, engines = prepared(program, test)
    asked = expectations(program.checked, test)
    functions = PureFunctions(asked.functions, program.environment())
    tables = all(isinstance(engines[name].model, TableModel) for name in program.model_names())
    max_states = TABLE_STATES if tables else MODEL_STATES
    # Methods draw by what the optimiser made of the program, so the figures are found without it.
    found = exact_answers(program.without(), engines, max_states) if tables else None
    found = found if found is not None else exact_answers(program, engines, max_states)
    if found is None:
        bound = 1.0 if potentials_are_probabilities(program) else None
        return "sampling", sampled_lines(program, engines, asked, functions, bound, settings), ()
    log_Z, answers = found
    values = figure_values(asked, functions, answers)
    lines = tuple(_exact_line(line, functions, log_Z, answers, values) for line in asked.lines)
    # On a real model each of the methods' many runs would cost its forwards.
    checked = variants(settings.only) if settings.methods and tables else ()
    if not checked:
        return "exact", lines, ()
    end = law_of(asked, functions, log_Z, answers, potentials_are_probabilities(program))
    nothing = np.zeros(len(end.names))
    to_come = ahead(
        program,
        engines,
        lambda v: end.functions.get(value_key(v), nothing),
        len(end.names),
        max_states,
    )
    optimised = () if to_come is None else disagreeing(end, to_come)
    law = end if optimised else replace(end, ahead=to_come)
    model = program.feynman_kac(engines=engines, guides=Guides(force="force" not in program.off))
    alpha, merge = share(len(checked)), "merge" not in program.off
    methods = tuple(
        check_variant(
            model,
            v,
            law,
            plan=Plan(settings.runs),
            seed=settings.seed,
            alpha=alpha,
            max_steps=MAX_STEPS,
            merge=merge,
        )
        for v in checked
    )
    return "exact", lines, (*optimised, *methods)


def disagreeing(law: Law, to_come: LookAhead[ProgramState]) -> tuple[MethodCheck, ...]:
    """A check that failed, where the optimised program does not have the figures of the program as
    it is written."""
    for name, exact_figure, figure in zip(
        law.names, law.means, to_come.total_of_start, strict=True
    ):
        if not abs(exact_figure - figure) <= ROUNDING * max(1.0, exact_figure):
            wrong = Disagreement(name, float(exact_figure), float(figure), math.inf)
            shown = "Z" if name == "Z" else f"Z * {name}"
            reason = f"{shown} is {exact_figure:.6g} as the program is written, {figure:.6g} as it is optimised"
            return (
                MethodCheck(
                    "the optimiser", 1, wrong, f"{reason}: a bug in fkdsl", {}, False, False
                ),
            )
    return ()


# --------------------------------------------------------------------- exactly


def exact_answers(
    program: CalledProgram, engines: Engines, max_states: int
) -> tuple[float, tuple[Answer, ...]] | None:
    """log Z and the posterior, which has no answer where Z is 0; None if there is too much to
    enumerate."""
    model = program.feynman_kac(engines=engines, guides=Guides(rejection=False))
    try:
        *_, last = exact(model, max_states, MAX_STEPS)
    except (BudgetEnded, CallError):
        return None
    weighted = zip(last.states, last.log_weights, strict=True)
    return last.log_Z, merged((model.value(x), math.exp(w - last.log_Z)) for x, w in weighted)


def ahead(
    program: CalledProgram,
    engines: Engines,
    functions: Callable[[Any], Floats],
    k: int,
    max_states: int,
) -> LookAhead[ProgramState] | None:
    """What is to come from each state of the program, for k functions of its value."""
    weighing = {
        i.span
        for f in program.ir().functions.values()
        for i in f.body
        if isinstance(i, ir.Factor | ir.Observe)
    }

    def ceiling(x: ProgramState) -> float:
        # Whatever else was charged is a mass that a draw leaves out: at most 0, and by another
        # kernel another one.
        return math.fsum(c.log_weight for c in x.charges if c.place in weighing)

    model = program.feynman_kac(engines=engines, guides=Guides(rejection=False))
    return look_ahead(model, functions, k, ceiling, max_states, MAX_STEPS)


def potentials_are_probabilities(program: CalledProgram) -> bool:
    """Whether no line can weigh more than 1: no `factor`, and nothing observed where there are
    densities."""
    instrs = [i for function in program.ir().functions.values() for i in function.body]
    if any(isinstance(i, ir.Factor) for i in instrs):
        return False
    densities = any(
        isinstance(e, ir.Builtin) and e.name in DENSITIES for i in instrs for e in subexpressions(i)
    )
    return not densities or not any(isinstance(i, ir.Observe) for i in instrs)


def figure_values(
    asked: Expectations, functions: PureFunctions, answers: tuple[Answer, ...]
) -> dict[str, Floats]:
    """Each figure's function at each value of the posterior, (answers,), by its name."""
    found = {}
    for figure in asked.figures:
        values = [
            functions.call(figure.function, a.value, note=f"where it is {show(a.value)!r}")
            for a in answers
        ]
        found[figure.function] = np.array(values, dtype=np.float64)
    return found


def _exact_line(
    line: Expectation,
    functions: PureFunctions,
    log_Z: float,
    answers: tuple[Answer, ...],
    values: Mapping[str, Floats],
) -> Line:
    known: dict[str, Any] = {
        "Z": linear(log_Z),
        "log_Z": log_Z,
        "support": tuple(a.value for a in answers),
    }
    if line.figures and not answers:
        return Line(
            line.written,
            "failed",
            (("Z", "0"),),
            "Z is 0: nothing is returned, so P and E have no value",
        )
    for figure in line.figures:
        known[figure.function] = math.fsum(
            a.probability * y for a, y in zip(answers, values[figure.function], strict=True)
        )
    holds = functions.call(line.function, *(known[p] for p in line.parameters))
    return Line(line.written, "passed" if holds else "failed", shown_figures(line, known))


def law_of(
    asked: Expectations,
    functions: PureFunctions,
    log_Z: float,
    answers: tuple[Answer, ...],
    probabilities: bool,
) -> Law:
    """What the methods are held to at the end: Z, and each figure, scaled to [0, 1] where it is a
    number; constants say no more than Z."""
    log_scale = log_Z if FAR < abs(log_Z) < math.inf else 0.0
    Z = math.exp(log_Z - log_scale)
    values = figure_values(asked, functions, answers)
    names, columns = ["Z"], [np.ones(len(answers))]
    for figure in asked.figures:
        y = values[figure.function]
        low, high = (
            (0.0, 1.0)
            if figure.kind == "P"
            else (float(y.min(initial=math.inf)), float(y.max(initial=-math.inf)))
        )
        if high > low:
            names.append(figure.text)
            columns.append((y - low) / (high - low))
    f = np.array(columns).T  # (answers, k)
    p = np.array([a.probability for a in answers])
    means = Z * (p @ f) if len(answers) else np.zeros(len(names))
    table: dict[Hashable, Floats] = {
        value_key(a.value): row for a, row in zip(answers, f, strict=True)
    }
    return Law(
        table, np.asarray(means, dtype=np.float64), tuple(names), probabilities, None, log_scale
    )
